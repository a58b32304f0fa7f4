"""A new vocal for a whole song or regions of it: spans, known frames, and dependence on the seed alone."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from demo.evaluation import demo_clips
from riff.errors import ModelError
from riff.metrics.edit import judge
from riff.models.edit import attach_edit
from riff.models.folders import save_pipeline
from riff.models.loading import load_base
from riff.models.model_types import CONTROL, EDIT, model_type_of
from riff.sampling import song
from riff.sampling.song import SongModel, SongSampler, load_song_model, score_song, spans
from riff.spectrogram.image import SpectrogramImage, waveform_to_image


@pytest.fixture(scope="module")
def tiny_edit(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base widened to an edit model that generates vocals, not trained."""
    folder = tmp_path_factory.mktemp("edit") / "tiny-edit"
    origin = {"base": str(tiny_base), "target": "vocals"}
    save_pipeline(attach_edit(load_base(str(tiny_base))), folder, origin, part_only=True)
    return folder


@pytest.fixture(scope="module", params=["control", "edit"])
def model(request: pytest.FixtureRequest, tiny_control: Path, tiny_edit: Path) -> SongModel:
    return load_song_model(str(tiny_control if request.param == "control" else tiny_edit), steps=2)


def image(frames: int, seed: int) -> SpectrogramImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (512, frames // 16 + 1), dtype=np.uint8).repeat(16, axis=1)[:, :frames]
    return SpectrogramImage(np.ascontiguousarray(pixels), 100.0)


@given(
    st.lists(st.integers(0, 3_000), min_size=2, max_size=12, unique=True),
    st.integers(512, 3_000),
    st.sampled_from([64, 256, 512]),
)
def test_spans_contain_their_regions_with_context(times: list[int], frames: int, width: int) -> None:
    times = sorted({min(time, frames) for time in times})
    regions = list(zip(times[::2], times[1::2], strict=False))
    found = spans(regions, frames, width)
    for first, end in regions:
        assert any(a <= max(0, first - width // 2) and min(frames, end + width // 2) <= b for a, b in found)
    assert all(a >= 0 and b <= frames and b - a >= width for a, b in found)
    assert all(before[1] < after[0] for before, after in pairwise(found))


def test_a_seed_determines_the_whole_song(model: SongModel) -> None:
    backing = image(700, 0)
    sampler = SongSampler(model, backing, "a song")
    steps: list[int] = []
    one, again, other = (sampler.sample(seed, lambda: steps.append(1)) for seed in (1, 1, 2))
    assert one.pixels.shape == backing.pixels.shape
    assert one.max_value > 0
    np.testing.assert_array_equal(one.pixels, again.pixels)
    assert (one.pixels != other.pixels).mean() > 0.5
    assert len(steps) == 3 * sampler.num_steps == 3 * 2


def test_frames_outside_the_regions_are_kept(model: SongModel) -> None:
    backing, known = image(1_200, 0), image(1_200, 1)
    output = SongSampler(model, backing, "a song", known, [(200, 330), (900, 1_000)]).sample(0)
    inside = np.zeros(1_200, bool)
    inside[200:330] = inside[900:1_000] = True
    np.testing.assert_array_equal(output.pixels[:, ~inside], known.pixels[:, ~inside])
    assert (output.pixels[:, inside] != known.pixels[:, inside]).mean() > 0.5


def test_a_song_shorter_than_a_window_is_padded(model: SongModel) -> None:
    assert SongSampler(model, image(90, 0), "a song").sample(0).pixels.shape == (512, 90)


def test_model_types_are_detected(tiny_control: Path, tiny_edit: Path, tiny_base: Path, tmp_path: Path) -> None:
    assert model_type_of(tiny_control) is CONTROL
    assert model_type_of(tiny_edit) is EDIT
    with pytest.raises(ModelError, match="is a base model, and a ControlNet or an edit model is needed"):
        model_type_of(tiny_base)
    with pytest.raises(ModelError, match="no such folder"):
        model_type_of(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="this folder holds nothing"):
        model_type_of(tmp_path)


def test_a_long_song_is_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = demo_clips(4, 1)[0]
    before, after = (waveform_to_image(torch.from_numpy(part)).pixels for part in (clip.accompaniment, clip.mix))
    whole, once = judge("add", before, after), score_song(before, after, np.arange(512))
    np.testing.assert_allclose(once.scores, whole.scores, rtol=1e-12)
    assert once.performed == whole.performed
    monkeypatch.setattr(song, "SCORED_FRAMES", 512)
    silence = np.full_like(before, 255)
    long_before, long_after = (np.concatenate([one, silence, one], axis=1) for one in (before, after))
    found = score_song(long_before, long_after, np.arange(3 * 512))
    assert found.performed
    assert found.scores.melody == pytest.approx(2 / 3 * whole.scores.melody)
    assert found.scores.median_note == pytest.approx(whole.scores.median_note)  # the silence has none
    nothing = score_song(silence, silence, np.arange(512))
    assert np.isnan(nothing.scores.median_note)
    assert not nothing.performed
