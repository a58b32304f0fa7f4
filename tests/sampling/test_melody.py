"""A tune is brought to its singer and its song, sung by the guide at its pitch, composed on the chords, and kept in sampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, refusal

import inpaint_song
from demo.composition import compose
from riff.audio.io import read_audio, write_audio
from riff.audio.notes import Note, contour_of_notes, read_midi, write_midi
from riff.errors import DataError
from riff.metrics.edit import melody_of
from riff.sampling.compose import RANGES, compose_tune
from riff.sampling.melody import PlacedTune, fit_tune, guide_voice, melody_guide
from riff.spectrogram.image import SILENCE, SpectrogramImage, waveform_to_image

TUNE = [Note(0.5, 1.5, 62.0), Note(1.6, 2.6, 65.0), Note(2.8, 4.5, 60.0)]


@pytest.mark.parametrize("female", [True, False])
def test_the_guide_sings_the_tune(female: bool) -> None:
    contour = contour_of_notes(TUNE, 512)
    voice = guide_voice(contour, female, vibrato=True)
    assert voice.dtype == np.float32
    assert np.abs(voice).max() == 1
    track = melody_of(waveform_to_image(torch.from_numpy(voice)).pixels)
    both = track.voiced & np.isfinite(contour)
    assert both.sum() > 0.75 * np.isfinite(contour).sum()
    assert np.mean(np.abs(track.note - contour)[both] < 0.5) > 0.95
    assert not track.voiced[:40].any()


def test_a_tune_moves_by_octaves_into_the_register() -> None:
    low = contour_of_notes([Note(0, 1, 40.0), Note(1, 2, 43.0)], 250)
    female, male = (fit_tune(low, 500, 1.0, prompt=f"add a {voice} vocal") for voice in ("female", "male"))
    assert female[150] == 64
    assert male[150] == 52
    assert np.isnan(female[:100]).all()
    assert fit_tune(low, 500, transpose=5)[0] == 45
    assert len(fit_tune(np.tile(low, 10), 300, transpose=12)) == 300  # longer than the song
    with pytest.raises(DataError, match="no pitch"):
        fit_tune(np.full(10, np.nan), 500)
    with pytest.raises(DataError, match="within the song"):
        fit_tune(low, 500, start_s=9)
    with pytest.raises(DataError, match="transpose it"):
        fit_tune(low, 500, transpose=-5)


def test_a_composed_tune_is_on_the_chords_and_follows_its_seed() -> None:
    song = compose(11, 0, 20.0)
    backing = (song.mixture - song.stems["vocals"]).astype(np.float32)
    notes, again, other = (compose_tune(backing, 44_100, "a male vocal", seed) for seed in (1, 1, 2))
    assert notes == again
    assert notes != other
    pitches = np.array([note.pitch for note in notes])
    assert len(notes) > 15
    assert pitches.min() >= RANGES["male"][0]
    assert pitches.max() <= RANGES["male"][1]
    assert np.mean(np.abs(np.diff(pitches)) <= 4) > 0.7  # steps and small leaps
    starts = np.array([note.start for note in notes])
    assert (np.diff(starts) > 0).all()
    with pytest.raises(DataError, match="no beats"):
        compose_tune(np.zeros((1, 44_100), np.float32), 44_100)


def test_a_guide_for_a_mix_holds_the_backing() -> None:
    song = compose(11, 1, 6.0)
    backing = waveform_to_image(torch.from_numpy((song.mixture - song.stems["vocals"]).astype(np.float32)))
    tune = PlacedTune(contour_of_notes(TUNE, backing.pixels.shape[1]), vibrato=True)
    mix, vocal = (melody_guide(tune, backing, target, 0.3).pixels for target in ("mix", "vocals"))
    assert np.mean(vocal[:, :40] == SILENCE) > 0.99
    assert np.abs(mix[:, :40].astype(int) - backing.pixels[:, :40]).mean() < 30
    assert melody_guide(tune, SpectrogramImage(backing.pixels, 1.0), "mix", 0.3).num_steps(10) == 7


def test_a_song_with_a_tune(tmp_path: Path) -> None:
    write_midi(tmp_path / "tune.mid", TUNE)
    audio = read_audio(ROOT / "raw-audio" / "pop-0000.ogg")
    write_audio(tmp_path / "song.wav", audio.waveform[:, : 6 * audio.sample_rate], audio.sample_rate)
    model = ("--model", ROOT / "models" / "riff-pix2pix-mini", "--separator", "repet", "--steps", 6, "--start", 0, "--end", 5)
    given = [str(flag) for flag in ("--audio", tmp_path / "song.wav", *model, "--melody", tmp_path / "tune.mid", "--output")]
    inpaint_song.main([*given, str(tmp_path / "out"), "--melody_strength", "0.5"])
    notes, _ = read_midi(tmp_path / "out" / "tune.mid")
    assert [note.pitch % 12 for note in notes] == [note.pitch % 12 for note in TUNE]
    sung = contour_of_notes(read_midi(tmp_path / "out" / "vocal.mid")[0], 500)
    tune = contour_of_notes(notes, 500)
    both = np.isfinite(sung) & np.isfinite(tune)
    assert both.sum() > 100
    assert np.mean(np.abs(sung - tune)[both] <= 1) > 0.6
    (tmp_path / "tune.mid").write_bytes(b"nothing")
    assert "tune.mid: cannot be read as MIDI" in refusal(inpaint_song.main, *given, tmp_path / "none")
    assert not (tmp_path / "none").exists()
