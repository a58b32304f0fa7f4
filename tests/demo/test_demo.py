"""The demo songs: the same from a seed, stems that sum to the mix, and prompts that are true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from conftest import ROOT, run_script

from demo.composition import MOODS, REGISTERS, STYLES, compose
from demo.voice import Singer, Syllable, sing
from riff.models.sources import read_origin
from riff.sampling.options import options_for


def test_a_song_depends_on_its_seed_and_number_alone() -> None:
    first, again, other = compose(4, 3, 6.0), compose(4, 3, 6.0), compose(4, 8, 6.0)
    np.testing.assert_array_equal(first.mixture, again.mixture)
    assert first.prompt == again.prompt
    assert not np.array_equal(first.mixture, other.mixture)


def fingerprint(index: int) -> str:
    return sha256(compose(4, index, 3.0).mixture.tobytes()).hexdigest()


def test_another_process_in_another_order_makes_the_same_songs() -> None:
    program = "from test_demo import fingerprint; print(*map(fingerprint, reversed(range(5))))"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}{os.pathsep}{Path(__file__).parent}"}
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert elsewhere.stdout.split() == [fingerprint(index) for index in reversed(range(5))]


@pytest.mark.parametrize("index", range(5))
def test_stems_sum_to_a_mixture_that_does_not_clip(index: int) -> None:
    song = compose(4, index, 6.0)
    np.testing.assert_allclose(sum(song.stems.values()), song.mixture, atol=1e-6)
    assert song.mixture.shape == (2, 6 * 44_100)
    assert np.abs(song.mixture).max() <= 0.81
    assert all(np.abs(stem).max() > 0.01 for stem in song.stems.values())


def test_prompts_are_true_of_the_songs() -> None:
    for index in range(20):
        song = compose(8, index, 5.0)
        facts = song.facts
        style = STYLES[str(facts["style"])]
        lively = float(facts["tempo"]) > sum(style.tempo) / 2
        assert str(facts["mood"]) in MOODS[str(facts["mode"]), lively]
        assert f"{facts['mood']} {facts['gender']} vocal {facts['style']} melody" in song.prompt
    assert [compose(8, i, 1.0).facts["style"] for i in range(5)] == list(STYLES)


@pytest.mark.parametrize("index", range(4))
def test_the_voice_sings_in_its_register(index: int) -> None:
    song = compose(8, index, 8.0)
    low, high = (librosa.midi_to_hz(note) for note in REGISTERS[str(song.facts["gender"])])
    pitch, voiced, _ = librosa.pyin(song.stems["vocals"][0], fmin=70, fmax=900, sr=44_100, frame_length=4096, hop_length=2048)
    median = np.nanmedian(pitch[voiced])
    assert low * 0.94 <= median <= high * 1.06


def test_the_singer_sings_what_is_written_and_rests_between() -> None:
    rng = np.random.default_rng(0)
    singer = Singer("male", 1.0, 5.0, 0.0, 0.005, 1.0)
    wave = sing([Syllable(0.5, 0.5, 57, "a")], 88_200, singer, rng)
    spectrum = np.abs(np.fft.rfft(wave[26_000:42_000] * np.hanning(16_000)))
    strongest = np.argsort(spectrum)[-5:] * 44_100 / 16_000
    assert np.all(np.abs(strongest / 220.0 - np.round(strongest / 220.0)) < 0.05)  # multiples of 220 Hz
    assert np.abs(wave[60_000:]).max() < 0.01
    assert not sing([], 100, singer, rng).any()


def test_the_shipped_songs_have_prompts() -> None:
    folder = ROOT / "raw-audio"
    prompts = {
        line["file"]: line["prompt"] for line in map(json.loads, (folder.parent / "prompt_file.json").read_text().splitlines())
    }
    files = sorted(path.name for path in folder.glob("*.ogg"))
    assert len(files) == 12
    assert set(files) <= set(prompts)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8e6
    assert all(20 <= soundfile.info(folder / name).duration <= 30 for name in files)


def test_what_is_recommended_is_what_is_sampled_with(tmp_path: Path) -> None:
    (tmp_path / "riff.json").write_text('{"base": "mini", "sampling": {"guidance_scale": 9.0}}')
    run_script("demo/recommend.py", tmp_path, "--guidance_scale", 3, "--strength", 1.6)
    options = options_for(tmp_path, None, None)
    assert (options.guidance_scale, options.strength) == (3.0, 1.6)
    assert read_origin(tmp_path)["base"] == "mini"
