"""inpaint_song.py: the backing is untouched, regions stay in their borders, takes depend on their seeds."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from conftest import ROOT, last_error, refusal, run_script

import inpaint_song
from riff.audio.io import read_audio, resample, write_audio
from riff.audio.loudness import loudness_against

SONG = "pop-0000"


def flags(folder: Path, song: Path, model: Path, *more: object) -> list[str]:
    quick = ("--steps", 2, "--griffin_lim_iterations", 1)
    return [str(flag) for flag in ("--audio", song, "--model", model, *quick, "--output", folder, *more)]


def sing(folder: Path, song: Path, model: Path, *more: object) -> None:
    inpaint_song.main(flags(folder, song, model, *more))


def samples(path: Path) -> np.ndarray:
    return read_audio(path).waveform


@pytest.fixture(scope="module")
def song(songs: Path) -> Path:
    return songs / SONG / "mixture.wav"


@pytest.fixture(scope="module")
def two_takes(song: Path, tiny_control: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeds 3 and 4."""
    folder = tmp_path_factory.mktemp("takes") / "song"
    run_script("inpaint_song.py", *flags(folder, song, tiny_control, "--num_samples", 2, "--seed", 3))
    return folder


def test_the_mix_is_the_accompaniments_own_samples_and_the_vocal(two_takes: Path, song: Path) -> None:
    accompaniment = samples(two_takes / "accompaniment.wav")
    parts = [samples(song.parent / f"{name}.wav") for name in ("drums", "bass", "other")]
    np.testing.assert_array_equal(accompaniment, np.stack(parts).sum(axis=0))
    manifest = json.loads((two_takes / "manifest.json").read_text())
    vocals = samples(song.parent / "vocals.wav")
    assert manifest["vocal_lu"] == loudness_against(vocals, accompaniment, 44_100)
    assert manifest["song_gain_db"] == 0
    for take in manifest["takes"]:
        mix, vocal = (samples(two_takes / take["files"][name]) for name in ("mix", "vocal"))
        np.testing.assert_array_equal(mix, accompaniment + vocal)
        assert mix.shape == vocal.shape == accompaniment.shape == samples(song).shape
        assert 0.001 < np.abs(vocal).max() <= 1
        assert np.abs(mix).max() <= 1
        if take["limited_db"] == 0 and take["gain_db"] < 12:
            assert loudness_against(vocal, accompaniment, 44_100) == pytest.approx(manifest["vocal_lu"], abs=0.01)


def test_a_take_does_not_depend_on_the_number_of_takes(two_takes: Path, song: Path, tiny_control: Path, tmp_path: Path) -> None:
    sing(tmp_path / "alone", song, tiny_control, "--seed", 4)
    alone, among, other = (
        samples(path) for path in (tmp_path / "alone" / "vocal.wav", two_takes / "vocal-4.wav", two_takes / "vocal-3.wav")
    )
    np.testing.assert_array_equal(alone, among)
    assert np.abs(other - among).max() > 0.01


def test_the_page_has_players_and_the_whole_spectrogram(two_takes: Path) -> None:
    page = (two_takes / "index.html").read_text()
    assert page.count("<audio") == 6
    for link in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert (two_takes / link).is_file(), link
    assert page.count("<img") == 2
    assert page.index("before and after") < page.index("The files add up")  # what is heard before what is measured


def test_outside_the_regions_the_song_is_the_input_sample_for_sample(song: Path, tiny_control: Path, tmp_path: Path) -> None:
    sing(tmp_path / "out", song, tiny_control, "--start", "0:02", "0:07.5", "--end", 4, 9, "--gain_db", 12)
    mix, before = samples(tmp_path / "out" / "mix.wav"), samples(song)
    inside = np.zeros(before.shape[1], bool)
    for start, end in ((2, 4), (7.5, 9)):
        inside[round(start * 44_100) : round(end * 44_100)] = True
    np.testing.assert_array_equal(mix[:, ~inside], before[:, ~inside])
    accompaniment, vocal = (samples(tmp_path / "out" / f"{name}.wav") for name in ("accompaniment", "vocal"))
    np.testing.assert_array_equal(mix, accompaniment + vocal)
    parts = np.sum([samples(song.parent / f"{name}.wav") for name in ("drums", "bass", "other")], axis=0)
    middle = slice(round(2.2 * 44_100), round(3.8 * 44_100))
    np.testing.assert_allclose(accompaniment[:, middle], parts[:, middle], atol=1e-6)  # at its own level
    assert np.abs(mix - before)[:, inside].mean() > 0.005
    borders = np.flatnonzero(np.diff(inside))
    jumps = np.abs(np.diff(mix - before, axis=1)).max(axis=0)
    assert jumps[borders].max() < 0.001  # the difference fades in from nothing


@pytest.mark.slow
def test_a_song_at_another_rate_is_separated_and_keeps_it(tiny_control: Path, song: Path, tmp_path: Path) -> None:
    audio = read_audio(song)
    write_audio(tmp_path / "song.wav", resample(audio.waveform[:1, : 4 * 44_100], 44_100, 48_000), 48_000, subtype="FLOAT")
    sing(tmp_path / "out", tmp_path / "song.wav", tiny_control, "--separator", "repet", "--best_of", 2)
    mix = read_audio(tmp_path / "out" / "mix.wav")
    assert mix.sample_rate == 48_000
    assert mix.waveform.shape == (1, 4 * 48_000)  # shorter than a window, and mono
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["separator"] == "repet"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--start", 20, "--end", 22), "start 20: the song lasts 11.00 s"),
        (("--start", 5, "--end", 30), "end 30: the song lasts"),
        (("--start", 5, "--end", 4), "ends before it begins"),
        (("--start", 1, 2, "--end", 3, 4), "overlaps with"),
        (("--start", 1, 2, "--end", 3), "give as many of each"),
        (("--start", "soon", "--end", 3), "such as 32, 0:32"),
        (("--overlap", 1), "0 to below 1"),
        (("--stream", "--num_samples", 2), "--stream makes one take"),
        (("--gain", "loud"), "-100 to 100 or auto"),
        (("--gain", "nan"), "-100 to 100 or auto"),
        (("--model", "models/riffusion-mini"), "is a base model, and a ControlNet or an edit model is needed"),
    ],
)
def test_bad_flags_end_in_one_line(song: Path, tiny_control: Path, tmp_path: Path, more: tuple, message: str) -> None:
    assert message in refusal(inpaint_song.main, *flags(tmp_path / "out", song, tiny_control, *more))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [("--start", 20, "--end", 22), ("--audio", ROOT / "pyproject.toml"), ("--overlap", 1)])
def test_what_a_song_cannot_be_asked_for_is_refused_before_torch_is_imported(song: Path, tmp_path: Path, more: tuple) -> None:
    given = flags(tmp_path / "out", song, Path("models/riff-cnet-mini"), *more)
    program = "import sys, inpaint_song\ntry:\n    inpaint_song.main(sys.argv[1:])\nfinally:\n    print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, *given], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode != 0, done.stdout.strip()) == (True, "False"), done.stderr


def test_results_are_not_overwritten(two_takes: Path, song: Path, tiny_control: Path) -> None:
    done = run_script("inpaint_song.py", *flags(two_takes, song, tiny_control), code=2)
    assert "--overwrite" in last_error(done)


def test_overwriting_leaves_one_runs_files_and_those_of_others(
    two_takes: Path, song: Path, tiny_control: Path, tmp_path: Path
) -> None:
    listed = json.loads((two_takes / "manifest.json").read_text())["files"]
    assert {*listed, "manifest.json"} == {path.name for path in two_takes.iterdir()}
    assert all(any(fnmatchcase(name, pattern) for pattern in inpaint_song.FILES) for name in listed)
    folder = tmp_path / "song"
    shutil.copytree(two_takes, folder)
    (folder / "notes.txt").write_text("mine")
    sing(folder, song, tiny_control, "--seed", 4, "--overwrite")
    files = set(json.loads((folder / "manifest.json").read_text())["files"])
    assert files == {
        "accompaniment.wav",
        "index.html",
        "mix.wav",
        "original.wav",
        "overview.png",
        "spectrogram.png",
        "vocal.mid",
        "vocal.wav",
    }
    assert {path.name for path in folder.iterdir()} == {*files, "manifest.json", "notes.txt"}
    page = (folder / "index.html").read_text()
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert "original.wav" in links
    assert all((folder / link).is_file() and "/" not in link for link in links)  # the folder can be sent as a whole


def test_a_backing_is_taken_as_it_is(song: Path, tiny_edit: Path, tmp_path: Path) -> None:
    backing = np.stack([samples(song.parent / f"{name}.wav") for name in ("drums", "bass", "other")]).sum(axis=0)[:, : 6 * 44_100]
    write_audio(tmp_path / "backing.wav", backing, 44_100, subtype="FLOAT")
    folder = tmp_path / "as-it-is"
    sing(folder, tmp_path / "backing.wav", tiny_edit, "--separator", "none", "--subtype", "PCM_24", "--reaper")
    assert soundfile.info(folder / "mix.wav").subtype == "PCM_24"
    accompaniment, vocal, mix = (samples(folder / f"{name}.wav") for name in ("accompaniment", "vocal", "mix"))
    np.testing.assert_allclose(accompaniment, backing, atol=2**-23)
    np.testing.assert_array_equal(mix, accompaniment + vocal)
    project = (folder / "song.rpp").read_text()
    assert [line.split()[-1] for line in project.splitlines() if line.strip().startswith("MUTESOLO")] == ["0"] * 4
    assert re.findall(r'FILE "(.+)"', project) == ["original.wav", "accompaniment.wav", "vocal.wav", "vocal.mid"]
    assert project.count("<") == project.count(">")
    sing(tmp_path / "separated", tmp_path / "backing.wav", tiny_edit, "--separator", "repet")
    quieter = samples(tmp_path / "separated" / "accompaniment.wav")
    assert not np.array_equal(quieter, backing)  # what the separator took for a voice is missing


def test_a_stream_plays_what_it_writes(
    song: Path, tiny_edit: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    sing(tmp_path / "out", song, tiny_edit, "--stream")
    played, rate = soundfile.read(io.BytesIO(capsysbinary.readouterr().out), dtype="float32")
    assert rate == 44_100
    np.testing.assert_array_equal(played.T, samples(tmp_path / "out" / "mix.wav"))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["seconds"]["first sound"] > 0
    assert (tmp_path / "out" / "index.html").is_file()


def test_a_player_that_is_closed_early_leaves_no_results(
    song: Path, tiny_edit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as closed, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", SimpleNamespace(buffer=closed, isatty=lambda: False))
        with pytest.raises(BrokenPipeError):
            sing(tmp_path / "out", song, tiny_edit, "--stream")
    assert not (tmp_path / "out").exists()
