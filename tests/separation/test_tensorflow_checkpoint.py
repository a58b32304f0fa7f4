"""A checkpoint that was written by hand reads back; a broken one ends in one line and never in silence."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_bundle import write_bundle

from riff.errors import ModelError
from riff.separation.tensorflow_checkpoint import read_checkpoint, read_index

TENSORS: dict[str, np.ndarray] = {
    "conv2d/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "conv2d/bias": np.array([1.5, -2.5], np.float32),
    "conv2d_1/kernel": np.full((300,), 7.0, np.float64),
    "global_step": np.array(42, np.int64),
    "nothing": np.zeros((0, 3), np.float32),
}


def write(folder: Path) -> Path:
    write_bundle(folder / "model", TENSORS, block_entries=2)
    return folder / "model"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tensors=st.dictionaries(
        st.text("abc/_1", min_size=1, max_size=20),
        st.tuples(st.lists(st.integers(0, 5), max_size=4), st.sampled_from(["float32", "float64", "int32", "int64"])),
        max_size=40,
    ),
    block_entries=st.integers(1, 50),
)
def test_what_is_written_reads_back(tmp_path: Path, tensors: dict, block_entries: int) -> None:
    rng = np.random.default_rng(0)
    expected = {name: rng.integers(-99, 99, shape).astype(kind) for name, (shape, kind) in tensors.items()}
    write_bundle(tmp_path / "model", expected, block_entries)
    read = read_checkpoint(tmp_path / "model")
    assert set(read) == set(expected)
    for name, tensor in expected.items():
        assert read[name].dtype == tensor.dtype
        np.testing.assert_array_equal(read[name], tensor)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_missing_file_is_named(tmp_path: Path, suffix: str) -> None:
    write(tmp_path)
    (tmp_path / f"model{suffix}").unlink()
    with pytest.raises(ModelError, match=f"model{suffix}: cannot be read"):
        read_checkpoint(tmp_path / "model")


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    prefix = write(tmp_path)
    for file in (tmp_path / "model.index", tmp_path / "model.data-00000-of-00001"):
        content = file.read_bytes()
        for length in range(0, len(content), 7):
            file.write_bytes(content[:length])
            with pytest.raises(ModelError, match=file.name):
                read_checkpoint(prefix)
        file.write_bytes(content)
    assert set(read_checkpoint(prefix)) == set(TENSORS)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), which=st.booleans())
def test_every_flipped_bit_is_noticed_or_harmless(tmp_path: Path, place: float, bit: int, which: bool) -> None:
    prefix = write(tmp_path)
    file = tmp_path / ("model.index" if which else "model.data-00000-of-00001")
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    file.write_bytes(bytes(content))
    with contextlib.suppress(ModelError):
        read = read_checkpoint(prefix)
        for name, tensor in TENSORS.items():  # the flipped bit lies where nothing is read: the footer's padding
            np.testing.assert_array_equal(read[name], tensor)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_nonsense_is_refused(tmp_path: Path, content: bytes) -> None:
    magic = bytes.fromhex("57fb808b247547db")
    for end in (b"", magic):
        (tmp_path / "model.index").write_bytes(content + end)
        with contextlib.suppress(ModelError):
            assert read_index(tmp_path / "model.index") == {}


@pytest.mark.parametrize("kind", ["complex64", "bool"])
def test_other_types_are_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorflow_bundle.TYPES", {"complex64": 8, "bool": 10})
    write_bundle(tmp_path / "model", {"x": np.zeros(3, kind)})
    with pytest.raises(ModelError, match="a tensor of type"):
        read_checkpoint(tmp_path / "model")
