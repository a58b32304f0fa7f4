"""The experiment `takes`, and songs from outside: between none, a wrong and the true vocal, whatever the song comes with."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, last_error, run_script

from demo.evaluation import demo_clips
from riff.audio.io import write_audio
from riff.errors import AudioError
from riff.experiments.clips import ReferenceClip
from riff.experiments.experiment import load_evaluation
from riff.experiments.real_songs import EXAMPLE, fetch_example, real_clips
from riff.experiments.takes import BACKING, COMPOSED, EXPERIMENT, MODEL, RANDOM, TRUE
from riff.separation.separator import SeparationOptions
from riff.spectrogram.params import CLIP_SAMPLES

RATE = 44_100


def twice(clip: ReferenceClip) -> ReferenceClip:
    return replace(clip, mix=np.tile(clip.mix, 2), accompaniment=np.tile(clip.accompaniment, 2))


def test_the_true_vocal_is_performed_and_a_wrong_one_fits_by_chance_alone(
    tiny_edit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # without the tagger's weights, whose answer the ladder's tests check
    first, second = demo_clips(4, 2)
    evaluation = load_evaluation(str(tiny_edit), [twice(first), second], steps=1)
    result = EXPERIMENT.measure(evaluation, {})
    means = result.means
    assert list(means) == [BACKING, RANDOM, MODEL, COMPOSED, TRUE]
    assert means[TRUE]["performed"] == means[TRUE]["edited"] == means[RANDOM]["edited"] == 1
    assert means[RANDOM]["performed"] == means[RANDOM]["fits"] < means[TRUE]["fits"]
    assert means[BACKING]["edited"] == 0
    assert means[BACKING]["backing_kept"] == pytest.approx(1)
    assert {"register_obeyed", "seams"} <= set(means[TRUE])
    seams = [one.clip for one in result.scored if "seams" in one.scores]
    assert set(seams) == {first.name}  # the other is one window
    alone = EXPERIMENT.measure(replace(evaluation, clips=evaluation.clips[1:]), {})
    assert RANDOM not in alone.means
    assert "no other song's vocal" in alone.remarks[0]


def test_songs_with_and_without_stems_become_clips(songs: Path, tmp_path: Path) -> None:
    name = sorted(path.name for path in songs.iterdir() if path.is_dir())[0]
    shutil.copytree(songs / name, tmp_path / name)
    shutil.copy(songs / name / "mixture.wav", tmp_path / "bare.wav")
    noise = np.random.default_rng(0).normal(0, 0.1, (2, RATE)).astype(np.float32)
    write_audio(tmp_path / "short.wav", noise, RATE)
    (tmp_path / "text.wav").write_text("no sound")
    lines: list[str] = []
    bare, stems = real_clips(tmp_path, SeparationOptions("auto", spleeter_model_dir=tmp_path / "none"), True, lines.append)
    assert (bare.name, stems.name) == ("bare (separated by repet)", name)
    assert stems.mix.shape[1] > CLIP_SAMPLES
    assert bare.prompt.startswith("Generate a ")
    said = "\n".join(lines)
    assert len(lines) == 3
    assert all(words in said for words in ("with repet", "short (separated by repet): has no 5.11 s", "text.wav")), said
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError, match="holds no songs"):
        real_clips(tmp_path / "empty", SeparationOptions())


def test_without_the_index_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    flags = ("--experiment", "takes", "--songs", "real", "--output", tmp_path / "out")
    line = last_error(run_script("tools/evaluate_samples.py", *flags, code=2))
    assert "HF_HUB_OFFLINE forbids" in line
    assert f"as {EXAMPLE}" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.real
def test_a_real_song_gets_a_vocal_in_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    song = fetch_example() / EXAMPLE
    began = time.perf_counter()
    flags = ("--audio", song, "--model", ROOT / "models/riff-pix2pix-mini", "--steps", 10, "--output", tmp_path / "song")
    run_script("inpaint_song.py", *flags)
    assert time.perf_counter() - began < 60 * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
    manifest = json.loads((tmp_path / "song" / "manifest.json").read_text())
    assert manifest["separator"] == "stems"
    take = manifest["takes"][0]
    assert take["scores"]["backing_kept"] > 0.9
    assert take["fit"]["rhythm"] is not None
