"""Which clips a model is measured on: the same for everyone, from either form of the data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import run_script
from stem_files import stem_file_of

from demo.world.compose import compose
from riff.audio.io import read_audio, write_audio
from riff.errors import AudioError
from riff.experiments.clips import clips_of_folder
from riff.experiments.musdb import choose_clips, describe_vocal
from riff.separation.stems import STEM_NAMES
from riff.spectrogram.params import CLIP_SAMPLES

RATE = 44_100


def singing(seconds: int, *stretches: tuple[float, float], level: float = 0.1) -> np.ndarray:
    """A stereo tone that sounds during the stretches."""
    time = np.arange(seconds * RATE) / RATE
    heard = np.zeros(len(time), bool)
    for start, end in stretches:
        heard |= (time >= start) & (time < end)
    return np.tile((level * heard * np.sin(2 * np.pi * 300 * time)).astype(np.float32), (2, 1))


def seconds_of(starts: list[int]) -> list[float]:
    return [start / RATE for start in starts]


def test_the_first_clip_that_is_sung_throughout_in_every_third() -> None:
    backing = singing(60, (0, 60))
    assert seconds_of(choose_clips(singing(60, (0, 60)), backing)) == [0, 20, 40]
    # A clip of 5.11 s from second 2 holds 3.83 s of the singing that begins at 3.2: three quarters, as of 51 frames 39.
    assert seconds_of(choose_clips(singing(60, (3.2, 12), (39, 60)), backing)) == [2, 40]
    assert choose_clips(singing(60, (5, 8)), backing) == []
    assert choose_clips(singing(60), backing) == []


def test_only_relative_levels_and_silence_matter() -> None:
    vocals, backing = singing(30, (2, 9), (15, 30)), singing(30, (0, 20))
    assert choose_clips(vocals, backing) == choose_clips(10 * vocals, 0.1 * backing) == [1 * RATE, 14 * RATE]
    assert choose_clips(vocals, 0 * backing) == []


def test_what_is_too_short_has_no_clips() -> None:
    assert choose_clips(singing(14, (0, 14)), singing(14, (0, 14))) == []
    assert choose_clips(singing(16, (0, 16)), singing(16, (0, 16))) == [0]
    assert choose_clips(singing(18, (0, 18)), singing(18, (0, 18))) == [0, 6 * RATE, 12 * RATE]


@pytest.mark.parametrize(("index", "register"), [(0, "female"), (1, "male")])
def test_a_prompt_says_the_register_that_is_heard(index: int, register: str) -> None:
    song = next(song for number in range(20) if (song := compose(4, number, 8.0)).facts["gender"] == register)
    assert describe_vocal(song.stems["vocals"][:, RATE : RATE + CLIP_SAMPLES]) == f"Generate a {register} vocal melody"
    assert describe_vocal(singing(6)) == "Generate a vocal melody"


def test_both_forms_of_the_data_set_give_the_same_clips(songs: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in songs.iterdir() if path.is_dir())[:2]
    (tmp_path / "files").mkdir()
    for name in names:
        (tmp_path / "folders" / name).mkdir(parents=True)
        for part in ("mixture", *STEM_NAMES):
            (tmp_path / "folders" / name / f"{part}.wav").symlink_to(songs / name / f"{part}.wav")
        stem_file_of(songs / name, tmp_path / "files" / f"{name}.stem.mp4")
    ours, theirs = (clips_of_folder(tmp_path / form) for form in ("folders", "files"))
    assert [clip.name for clip in ours] == [clip.name for clip in theirs] == [f"{name} 0 s" for name in names]
    for one, other in zip(ours, theirs, strict=True):
        assert one.mix.shape == (2, CLIP_SAMPLES)
        assert np.corrcoef(one.mix.ravel(), other.mix.ravel())[0, 1] > 0.98  # AAC is lossy
    (tmp_path / "folders" / "prompt_file.json").write_text(json.dumps({"file": names[0], "prompt": "sing of rain"}))
    chosen = clips_of_folder(tmp_path / "folders", lambda vocals, backing: [0, RATE], lambda vocals: "hum")
    assert [clip.name for clip in chosen] == [f"{name} {second} s" for name in names for second in (0, 1)]
    assert [clip.prompt for clip in chosen] == ["sing of rain", "sing of rain", "hum", "hum"]
    with pytest.raises(AudioError, match="no song there has"):
        clips_of_folder(tmp_path / "folders", lambda vocals, backing: [])
    with pytest.raises(AudioError, match="no such folder"):
        clips_of_folder(tmp_path / "nowhere")


def test_the_list_and_its_sounds_are_the_same_for_everyone(tmp_path: Path) -> None:
    song = compose(4, 2, 20.0)
    for folder in ("one", "other"):
        place = tmp_path / folder / "songs" / "Some One - Song"
        place.mkdir(parents=True)
        for name in STEM_NAMES:
            write_audio(place / f"{name}.wav", song.stems[name], RATE, subtype="FLOAT")
        run_script("benchmarks/musdb_clips.py", "--songs", place.parent, "--output", tmp_path / folder / "out")
    lists = [json.loads((tmp_path / folder / "out" / "clips.json").read_text()) for folder in ("one", "other")]
    assert lists[0]["sha256"] == lists[1]["sha256"]
    assert lists[0]["clips"]
    for clip in lists[0]["clips"]:
        start = int(clip["clip"].removeprefix("Some One - Song ").removesuffix(" s")) * RATE
        sound = read_audio(tmp_path / "one" / "out" / "accompaniment" / f"{clip['clip']}.wav").waveform
        backing = song.mixture - song.stems["vocals"]
        np.testing.assert_allclose(sound, backing[:, start : start + CLIP_SAMPLES], atol=1e-6)
