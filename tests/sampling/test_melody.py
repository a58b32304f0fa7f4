"""A tune is brought to its singer and its song, sung by the guide at its pitch, composed on the chords, and kept in sampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

import inpaint_song
from demo.composition import compose
from riff.audio.io import read_audio, write_audio
from riff.audio.notes import Note, contour_of_notes, notes_of_contour, read_midi, write_midi
from riff.errors import DataError, RiffError
from riff.files import write_json
from riff.metrics.edit import melody_of
from riff.report.song_page import TUNE_COLOUR
from riff.sampling.compose import RANGES, Harmony, compose_tune, harmony_of
from riff.sampling.melody import COMPOSE, PlacedTune, Tune, TuneGuide, fit_tune, guide_voice, snap_tune, tune_for
from riff.sampling.rendering import backing_image
from riff.sampling.windows import guided_steps
from riff.separation.song import song_of
from riff.spectrogram.image import SILENCE, waveform_to_image

TUNE = [Note(0.5, 1.5, 62.0), Note(1.6, 2.6, 65.0), Note(2.8, 4.5, 60.0)]


@pytest.mark.parametrize(
    ("tune", "advised"),
    [(None, "compose"), (Tune(COMPOSE), ""), (Tune("hum.wav"), "--melody_snap"), (Tune("hum.wav", snap="both"), "")],
)
def test_nothing_is_advised_that_was_done(tune: Tune | None, advised: str) -> None:
    advice = inpaint_song.advice(tune)
    assert "--seed" in advice
    assert advised in advice
    assert ("--melody" in advice) == bool(advised)


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


def test_notes_that_are_left_in_time_keep_their_glides() -> None:
    times = np.arange(300) / 100
    hum = np.where((times > 0.5) & (times < 1.5), 60.2 + 0.3 * np.sin(35 * times), np.nan)
    hum[170:250] = 64 + 0.2 * np.sin(35 * times[170:250])
    tune = PlacedTune(hum, vibrato=False)
    first, second = tune.notes
    changed = tune.with_notes([first._replace(pitch=first.pitch + 2), second._replace(end=2.4)])
    np.testing.assert_allclose(changed.contour[51:150], hum[51:150] + 2)
    assert set(changed.contour[170:240]) == {64}
    assert np.isnan(changed.contour[240:]).all()
    assert not changed.vibrato
    np.testing.assert_array_equal(tune.with_notes(tune.notes).contour, hum)


def test_a_composed_tune_is_on_the_chords_and_follows_its_seed() -> None:
    song = compose(11, 0, 20.0)
    backing = (song.mixture - song.stems["vocals"]).astype(np.float32)
    harmony = harmony_of(backing, 44_100)
    notes, again, other = (compose_tune(harmony, "a male vocal", seed) for seed in (1, 1, 2))
    assert notes == again
    assert notes != other
    pitches = np.array([note.pitch for note in notes])
    assert len(notes) > 15
    assert pitches.min() >= RANGES["male"][0]
    assert pitches.max() <= RANGES["male"][1]
    assert np.mean(np.abs(np.diff(pitches)) <= 4) > 0.7  # steps and small leaps
    starts = np.array([note.start for note in notes])
    assert (np.diff(starts) > 0).all()
    silence = compose_tune(harmony_of(np.zeros((1, 4 * 44_100), np.float32), 44_100))
    assert silence[-1].end > 2  # a beat in 0.6 s, where none is heard


def test_a_guide_for_a_mix_holds_the_backing_and_every_seed_has_its_tune(tmp_path: Path) -> None:
    composed = compose(11, 1, 6.0)
    vocals = composed.stems["vocals"].astype(np.float32)
    song = song_of(vocals, composed.mixture.astype(np.float32) - vocals)
    backing = backing_image(song)
    write_midi(tmp_path / "tune.mid", TUNE)
    mix, vocal = (
        TuneGuide(Tune(str(tmp_path / "tune.mid")), song, backing, target, "").for_seed(0) for target in ("mix", "vocals")
    )
    assert np.mean(vocal.pixels[:, :40] == SILENCE) > 0.99
    assert np.abs(mix.pixels[:, :40].astype(int) - backing.pixels[:, :40]).mean() < 30
    assert guided_steps(10, mix.strength) == 7
    composed_guide = TuneGuide(Tune(COMPOSE), song, backing, "vocals", "")
    assert composed_guide.tune(1).notes != composed_guide.tune(2).notes
    shared = TuneGuide(Tune(COMPOSE, seed=1), song, backing, "vocals", "")
    assert shared.tune(2).notes == composed_guide.tune(1).notes


def test_a_tune_snaps_to_key_and_beats() -> None:
    harmony = Harmony(np.arange(0.0, 5.5, 0.5), [frozenset({0, 4, 7})] * 10, frozenset({0, 2, 4, 5, 7, 9, 11}), 0)
    sung = contour_of_notes([Note(0.55, 1.08, 60.7), Note(1.2, 2.1, 63.2)], 500)
    assert notes_of_contour(snap_tune(sung, harmony, "key")) == [Note(0.55, 1.08, 60.0), Note(1.2, 2.1, 64.0)]
    assert notes_of_contour(snap_tune(sung, harmony, "beat")) == [Note(0.5, 1.0, 61.0), Note(1.25, 2.0, 63.0)]
    both = notes_of_contour(snap_tune(sung, harmony, "both"))
    assert [note.pitch for note in both] == [60.0, 64.0]
    assert [note.start for note in both] == [0.5, 1.25]
    late = contour_of_notes([Note(4.9, 5.2, 60.0)], 510)
    assert np.isfinite(snap_tune(late, harmony, "beat")[490:]).any()  # at the end of the beats


def test_a_models_recommendation_counts_and_the_users_choice_more(tmp_path: Path) -> None:
    write_json(tmp_path / "riff.json", {"sampling": {"melody": "compose", "melody_strength": 0.4}})
    model = str(tmp_path)
    assert tune_for(model, None, None) == Tune(COMPOSE, 0.4)
    assert tune_for(model, "hum.wav", 0.2, snap="key") == Tune("hum.wav", 0.2, snap="key")
    assert tune_for(model, "none", None) is None
    assert tune_for(str(tmp_path / "elsewhere"), None, None) is None


def run_inpaint(output: Path, *flags: object) -> None:
    inpaint_song.main([str(flag) for flag in ("--separator", "none", "--output", output, *flags)])


def test_a_song_with_a_tune(tmp_path: Path) -> None:
    write_midi(tmp_path / "given.mid", TUNE)
    audio = read_audio(ROOT / "raw-audio" / "pop-0000.ogg")
    write_audio(tmp_path / "song.wav", audio.waveform[:, : 6 * audio.sample_rate], audio.sample_rate)
    flags = ("--audio", tmp_path / "song.wav", "--model", ROOT / "models/riff-pix2pix-mini", "--steps", 6, "--separator", "repet")
    run_inpaint(tmp_path / "out", *flags, "--start", 0, "--end", 5, "--melody", tmp_path / "given.mid", "--melody_strength", 0.5)
    notes, _ = read_midi(tmp_path / "out" / "tune.mid")
    assert [note.pitch % 12 for note in notes] == [note.pitch % 12 for note in TUNE]
    sung = contour_of_notes(read_midi(tmp_path / "out" / "vocal.mid")[0], 500)
    tune = contour_of_notes(notes, 500)
    both = np.isfinite(sung) & np.isfinite(tune)
    assert both.sum() > 100
    assert np.mean(np.abs(sung - tune)[both] <= 1) > 0.6
    page = (tmp_path / "out" / "index.html").read_text()
    assert 'href="tune.mid"' in page
    assert 'href="vocal.mid"' in page
    overview = np.array(Image.open(tmp_path / "out" / "overview.png"))
    red = (overview == TUNE_COLOUR).all(axis=2)
    assert red[:, 70:140].any(axis=0).all()  # under the first note
    assert not red[:, :40].any()


@pytest.mark.parametrize(
    ("tune", "flags", "message"),
    [
        ("broken.mid", (), "broken.mid: cannot be read as MIDI"),
        ("missing.wav", (), "missing.wav"),
        ("silence.wav", (), "silence.wav: no pitch was found in it"),
        ("tune.mid", ("--melody_start", 60), "tune.mid: nothing of it lies within the song"),
        ("tune.mid", ("--melody_transpose", 40), "singers reach from 40 to 84: transpose it"),
    ],
)
def test_a_bad_tune_is_refused_before_the_song_is_separated(
    tiny_edit: Path, tmp_path: Path, tune: str, flags: tuple, message: str
) -> None:
    write_midi(tmp_path / "tune.mid", TUNE)
    (tmp_path / "broken.mid").write_bytes(b"nothing")
    write_audio(tmp_path / "silence.wav", np.zeros((1, 44_100), np.float32), 44_100)
    write_audio(tmp_path / "song.wav", np.zeros((1, 2 * 44_100), np.float32), 44_100)
    with pytest.raises(RiffError, match=message):
        run_inpaint(tmp_path / "out", "--audio", tmp_path / "song.wav", "--model", tiny_edit, "--melody", tmp_path / tune, *flags)
    assert not (tmp_path / "out").exists()
