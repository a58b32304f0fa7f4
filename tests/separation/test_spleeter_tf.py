"""The original Spleeter in its own process: what goes through the pipe, and every way it can go wrong.

Most of it runs on a stand-in, a `spleeter` package of a few lines in the same worker; the last tests run the real one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import ROOT
from hypothesis import example, given, settings
from hypothesis import strategies as st

from riff.audio.io import write_audio
from riff.errors import ModelError, OptionError, RiffError
from riff.separation import spleeter_tf
from riff.separation.spleeter_tf import SpleeterTensorFlow, find_python, require_checkpoint
from tools import separate_audio

RATE = 44_100

# Vocals are the left channel on both sides, and the first sample of a song can ask for trouble.
STAND_IN = """
import os, sys, time
print("loaded", flush=True)
os.write(1, b"TensorFlow's own voice")
assert not any(folder.rstrip("/").endswith("riff/audio") for folder in sys.path), "its io.py would be found"
with open(os.environ["STARTS"], "a") as file:
    print(os.getpid(), *sys.argv[1:], os.environ["MODEL_PATH"], file=file)


class Separator:
    def __init__(self, configuration, multiprocess):
        assert not multiprocess

    def separate(self, waveform):
        print("INFO: separating", waveform.shape, flush=True)
        assert waveform.dtype == "float32" and waveform.shape[1] == 2
        trouble = round(float(waveform[0, 0]))
        if trouble == 2:
            raise ValueError("no kernel image\\n\\nfor this device")
        if trouble == 3:
            os.kill(os.getpid(), 9)
        if trouble == 4:
            time.sleep(60)
        if trouble == 5:
            return {"vocals": waveform[:-1]}
        left = waveform[:, :1] + 0 * waveform
        return {"vocals": left, "accompaniment": waveform - left}
"""
ERROR, KILLED, HANGING, SHORT = 2.0, 3.0, 4.0, 5.0


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the stand-in, a model, and the log of the processes that were started."""
    return make_stand_in(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpleeterTensorFlow]:
    with pytest.MonkeyPatch.context() as patch:
        with separator(make_stand_in(tmp_path_factory.mktemp("running"), patch)) as spleeter:
            yield spleeter


def make_stand_in(folder: Path, patch: pytest.MonkeyPatch, code: str = STAND_IN) -> Path:
    package = folder / "site" / "spleeter"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "separator.py").write_text(code)
    make_model(folder / "models" / "2stems")
    patch.setenv("PYTHONPATH", str(package.parent))
    patch.setenv("STARTS", str(folder / "starts"))
    return folder


def make_model(folder: Path, name: str = "model") -> Path:
    folder.mkdir(parents=True)
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n')
    for suffix in (".index", ".data-00000-of-00001", ".meta"):
        (folder / f"{name}{suffix}").write_bytes(b"weights")
    return folder


def separator(folder: Path, **options: Any) -> SpleeterTensorFlow:
    return SpleeterTensorFlow(model_dir=folder / "models", python=sys.executable, **options)


def starts(folder: Path) -> list[list[str]]:
    """Process id, configuration and model folder of every worker that was started."""
    return [line.split() for line in (folder / "starts").read_text().splitlines()]


def noise(channels: int = 2, samples: int = 1_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.4, 0.4, (channels, samples)).astype(np.float32)


def song_with(trouble: float) -> np.ndarray:
    song = noise()
    song[:, 0] = trouble
    return song


def is_running(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_many_songs_pass_through_one_process(stand_in: Path) -> None:
    with separator(stand_in) as spleeter:
        for seed in range(5):
            song = noise(samples=1_000 + seed, seed=seed)
            stems = spleeter.separate(song, RATE).parts
            assert list(stems) == ["vocals", "accompaniment"]
            assert all(stem.dtype == np.float32 for stem in stems.values())
            np.testing.assert_array_equal(stems["vocals"], song[[0, 0]])
            np.testing.assert_array_equal(stems["accompaniment"], song - song[[0, 0]])
    ((process, configuration, model_dir),) = starts(stand_in)
    assert (configuration, model_dir) == ("spleeter:2stems", str(stand_in / "models"))
    assert not is_running(int(process))


def test_a_song_larger_than_a_pipe(stand_in: Path) -> None:
    song = noise(samples=20 * RATE)
    with separator(stand_in) as spleeter:
        np.testing.assert_array_equal(spleeter.separate(song, RATE).vocals, song[[0, 0]])


def test_channels_go_in_by_pairs(stand_in: Path) -> None:
    song = noise(channels=5)
    with separator(stand_in) as spleeter:
        vocals = spleeter.separate(song, RATE).vocals
        np.testing.assert_array_equal(vocals, song[[0, 0, 2, 2, 4]])
        np.testing.assert_array_equal(spleeter.separate(song[:1], RATE).vocals, song[:1])


def test_mono_comes_out_as_the_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = STAND_IN.replace("left = waveform[:, :1] + 0 * waveform", "left = waveform * [0.5, 0.25]")
    song = noise(channels=1)
    with separator(make_stand_in(tmp_path, monkeypatch, code)) as spleeter:
        np.testing.assert_allclose(spleeter.separate(song, RATE).vocals, 0.375 * song, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    channels=st.integers(1, 5),
    samples=st.integers(1, 3_000),
    rate=st.sampled_from([8_000, 22_050, 32_000, 44_100, 48_000, 96_000]),
)
@example(channels=2, samples=1, rate=96_000)
@example(channels=1, samples=1, rate=8_000)
def test_any_song_keeps_its_shape_and_is_the_sum(running: SpleeterTensorFlow, channels: int, samples: int, rate: int) -> None:
    song = noise(channels, samples, seed=samples)
    stems = running.separate(song, rate).parts
    assert {name: (stem.shape, stem.dtype) for name, stem in stems.items()} == dict.fromkeys(
        ("vocals", "accompaniment"), (song.shape, np.dtype(np.float32))
    )
    if rate == RATE:
        np.testing.assert_allclose(np.sum(list(stems.values()), axis=0), song, atol=1e-6)


def test_other_rates_are_resampled_there_and_back(running: SpleeterTensorFlow) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(30_000) / 48_000).astype(np.float32)
    vocals = running.separate(0.4 * np.stack([tone, -tone]), 48_000).vocals
    np.testing.assert_allclose(vocals[0, 2_000:-2_000], 0.4 * tone[2_000:-2_000], atol=1e-3)


def test_a_worker_is_replaced_after_its_songs(stand_in: Path) -> None:
    with separator(stand_in, songs_per_worker=2) as spleeter:
        for _ in range(5):
            spleeter.separate(noise(channels=4), RATE)  # two pairs, one song
        assert len({process for process, *_ in starts(stand_in)}) == 3
        assert [is_running(int(process)) for process, *_ in starts(stand_in)] == [False, False, True]


# What goes wrong


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (ERROR, r"ended with status 1: .*ValueError: no kernel image \| for this device"),
        (KILLED, "SIGKILL"),
        (SHORT, r"status 1: .*Spleeter gave \(999, 2\) of vocals for 1000 stereo samples"),
    ],
)
def test_a_worker_that_dies_says_why_and_the_next_song_has_a_new_one(stand_in: Path, trouble: float, says: str) -> None:
    with separator(stand_in) as spleeter:
        spleeter.separate(noise(), RATE)
        with pytest.raises(RiffError, match=says) as caught:
            spleeter.separate(song_with(trouble), RATE)
        assert "\n" not in str(caught.value)
        np.testing.assert_array_equal(spleeter.separate(noise(), RATE).vocals, noise()[[0, 0]])
    assert len(starts(stand_in)) == 2


def test_a_song_that_takes_too_long_is_given_up(stand_in: Path) -> None:
    with separator(stand_in, time_limit_s=3.0) as spleeter:
        with pytest.raises(RiffError, match="no result within the limit of 3 s for a song"):
            spleeter.separate(song_with(HANGING), RATE)
        ((process, *_),) = starts(stand_in)
        assert not is_running(int(process))
        np.testing.assert_array_equal(spleeter.separate(noise(), RATE).vocals, noise()[[0, 0]])


def test_a_wrapper_is_killed_with_what_it_runs(stand_in: Path) -> None:
    wrapper = stand_in / "python"
    wrapper.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    wrapper.chmod(0o755)
    spleeter = SpleeterTensorFlow(model_dir=stand_in / "models", python=wrapper, time_limit_s=3.0)
    with spleeter, pytest.raises(RiffError, match="no result within"):
        spleeter.separate(song_with(HANGING), RATE)
    wait_until(lambda: not is_running(int(starts(stand_in)[0][0])))


def test_a_failing_song_is_named_and_the_others_are_done(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, song in (("a", noise()), ("b", song_with(ERROR)), ("c", noise(seed=1))):
        write_audio(stand_in / "songs" / f"{name}.wav", song, RATE, subtype="FLOAT")
    flags = ["--audio", str(stand_in / "songs"), "--output", str(stand_in / "out"), "--separator", "spleeter-tf"]
    monkeypatch.setenv("SPLEETER_PYTHON", sys.executable)
    assert separate_audio.main([*flags, "--spleeter_model_dir", str(stand_in / "models")]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "b.wav: spleeter-tf: the process" in errors[0]
    assert sorted(path.name for path in (stand_in / "out").iterdir()) == ["a", "c", "songs.json"]


def test_a_worker_that_was_killed_between_songs_is_replaced(stand_in: Path) -> None:
    with separator(stand_in) as spleeter:
        spleeter.separate(noise(), RATE)
        process = spleeter._process
        assert process is not None
        os.kill(int(starts(stand_in)[0][0]), signal.SIGKILL)
        wait_until(lambda: not process.is_alive())
        spleeter.separate(noise(), RATE)
    assert len(starts(stand_in)) == 2


def test_an_interrupted_song_leaves_no_process(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with separator(stand_in) as spleeter:
        spleeter.separate(noise(), RATE)
        with monkeypatch.context() as patch:
            patch.setattr(spleeter._process, "_read_stem", interrupt)
            with pytest.raises(KeyboardInterrupt):
                spleeter.separate(noise(), RATE)
        assert not is_running(int(starts(stand_in)[0][0]))
        np.testing.assert_array_equal(spleeter.separate(noise(seed=1), RATE).vocals, noise(seed=1)[[0, 0]])


def test_a_worker_does_not_outlive_its_parent(stand_in: Path) -> None:
    code = f"""
from pathlib import Path
import numpy as np
from riff.separation.spleeter_tf import SpleeterTensorFlow
SpleeterTensorFlow(model_dir=Path({str(stand_in / "models")!r})).separate(np.full((2, 9), {HANGING}, np.float32), {RATE})
"""
    environment = {**os.environ, "SPLEETER_PYTHON": sys.executable}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment["PYTHONPATH"]])
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    wait_until(lambda: (stand_in / "starts").exists() and bool(starts(stand_in)))
    (worker,) = (int(process) for process, *_ in starts(stand_in))
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_running(worker))


# What is missing


def test_without_the_environment_one_line_says_how_to_make_it(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLEETER_PYTHON", str(stand_in / "nowhere" / "python"))
    with pytest.raises(OptionError, match=r"nowhere/python: .*envs/make_processing_env\.sh.*SPLEETER_PYTHON"):
        SpleeterTensorFlow(model_dir=stand_in / "models")
    with pytest.raises(OptionError, match="elsewhere"):
        SpleeterTensorFlow(model_dir=stand_in / "models", python=stand_in / "elsewhere")


def test_where_the_environment_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spleeter_tf, "ROOT", tmp_path)
    monkeypatch.delenv("SPLEETER_PYTHON", raising=False)
    own = tmp_path / ".venv-spleeter" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.symlink_to(sys.executable)
    assert find_python() == str(own)
    monkeypatch.setenv("SPLEETER_PYTHON", "sh")
    assert find_python() == shutil.which("sh")
    assert find_python(sys.executable) == sys.executable


def test_a_file_that_is_no_program(stand_in: Path) -> None:
    fake = stand_in / "python"
    fake.write_bytes(b"\x00\x01")
    fake.chmod(0o755)
    with (
        SpleeterTensorFlow(model_dir=stand_in / "models", python=fake) as spleeter,
        pytest.raises(OptionError, match="cannot be run"),
    ):
        spleeter.separate(noise(), RATE)


def test_an_environment_without_spleeter(stand_in: Path) -> None:
    shutil.rmtree(stand_in / "site")
    with separator(stand_in) as spleeter, pytest.raises(RiffError, match="No module named 'spleeter'"):
        spleeter.separate(noise(), RATE)


def test_every_number_of_stems_has_its_configuration(stand_in: Path) -> None:
    make_model(stand_in / "models" / "5stems")
    with separator(stand_in, num_stems=5) as spleeter:
        spleeter.separate(noise(), RATE)
    assert starts(stand_in)[0][1] == "spleeter:5stems"


@pytest.mark.parametrize("missing", ["checkpoint", "model.index", "model.data-00000-of-00001"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_model_with_a_hole_is_refused(tmp_path: Path, missing: str, empty: bool) -> None:
    folder = make_model(tmp_path / "2stems")
    require_checkpoint(folder)
    (folder / missing).unlink()
    if empty:
        (folder / missing).touch()
    with pytest.raises(ModelError, match=rf"2stems: {missing} of Spleeter's model is missing or empty"):
        require_checkpoint(folder)


def test_the_model_has_the_name_that_its_checkpoint_says(tmp_path: Path) -> None:
    require_checkpoint(make_model(tmp_path / "2stems", name="model.ckpt-1000"))
    (tmp_path / "2stems" / "checkpoint").write_text('model_checkpoint_path: "/moved/away/model"\n')
    with pytest.raises(ModelError, match=r"model\.index .* missing"):
        require_checkpoint(tmp_path / "2stems")


def test_an_empty_folder_of_models_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "2stems").mkdir()  # what a failed download leaves, and from which Spleeter gives half-mixes
    monkeypatch.setenv("MODEL_PATH", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"weights are not in .*2stems"):
        SpleeterTensorFlow(python=sys.executable)


def test_a_folder_of_another_name_is_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "mine")
    with pytest.raises(ModelError, match="mine: Spleeter wants this folder to be called 2stems"):
        SpleeterTensorFlow(model_dir=folder, python=sys.executable)


def test_no_fitting_python_for_the_environment(tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "basename", "cmp"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")  # answers the question for its version with no
    (tmp_path / "python3").chmod(0o755)
    done = subprocess.run(
        [ROOT / "envs" / "make_processing_env.sh", tmp_path / "new"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "3.12" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()


# The real one


def test_the_real_spleeter(spleeter_reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # where the stand-in lies
    vectors = np.load(spleeter_reference / "reference-2stems.npz")
    with SpleeterTensorFlow(model_dir=spleeter_reference) as spleeter:
        for case in ("stereo-13s", "samples-1", "samples-44101", "mono", "silence"):
            song = vectors[f"{case}/input"]
            stems = spleeter.separate(song, RATE).parts
            assert list(stems) == ["vocals", "accompaniment"]
            for name, stem in stems.items():
                expected = vectors[f"{case}/{name}"]
                expected = expected.mean(axis=0, keepdims=True) if len(song) == 1 else expected
                np.testing.assert_allclose(stem, expected, atol=1e-6)
