"""Tunes: MIDI files there and back, the top line, and the pitch of recordings."""

from __future__ import annotations

from pathlib import Path

import mido
import numpy as np
import pytest

from riff.audio.notes import (
    Note,
    contour_of_notes,
    contour_of_recording,
    notes_of_contour,
    read_midi,
    without_octave_jumps,
    write_midi,
)
from riff.errors import AudioError

TUNE = [Note(0.1, 0.6, 60.0), Note(0.7, 1.2, 64.0), Note(1.2, 2.0, 57.0)]


def test_midi_comes_back(tmp_path: Path) -> None:
    write_midi(tmp_path / "tune.mid", TUNE)
    notes, others = read_midi(tmp_path / "tune.mid")
    assert not others
    np.testing.assert_allclose(notes, TUNE, atol=1e-3)


def test_of_several_notes_the_highest_are_the_tune(tmp_path: Path) -> None:
    file = mido.MidiFile()
    track = mido.MidiTrack()
    file.tracks.append(track)
    for pitch in (48, 60, 64):
        track.append(mido.Message("note_on", note=pitch, velocity=80, time=0))
    track.append(mido.Message("note_on", note=38, channel=9, time=0))  # a drum
    for number, pitch in enumerate((64, 60, 48)):
        track.append(mido.Message("note_off", note=pitch, time=480 * (number == 0)))
    file.save(tmp_path / "chord.mid")
    notes, others = read_midi(tmp_path / "chord.mid")
    assert others
    np.testing.assert_allclose(notes, [Note(0.0, 0.5, 64.0)], atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"no midi at all", b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xe0"])
def test_what_is_no_midi_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tune.mid").write_bytes(content)
    with pytest.raises(AudioError, match=r"tune\.mid: (cannot be read as MIDI|holds no notes)"):
        read_midi(tmp_path / "tune.mid")


def test_a_midi_file_of_days_is_refused(tmp_path: Path) -> None:
    write_midi(tmp_path / "tune.mid", [Note(0, 1, 60), Note(1e6, 1e6 + 1, 60)])
    with pytest.raises(AudioError, match=r"tune\.mid: lasts 278 hours"):
        read_midi(tmp_path / "tune.mid")


def test_a_repeated_note_is_sung_again() -> None:
    repeated = [Note(0, 0.5, 60), Note(0.5, 1, 60), Note(1, 2, 62)]
    assert [note.pitch for note in notes_of_contour(contour_of_notes(repeated, 250))] == [60, 60, 62]


def test_the_pitch_of_a_hummed_tune(tmp_path: Path) -> None:
    rate = 44_100
    contour = contour_of_notes(TUNE, 210)
    frequency = 440 * 2 ** ((np.repeat(contour, rate // 100) - 69) / 12)
    phase = 2 * np.pi * np.cumsum(np.nan_to_num(frequency)) / rate
    hum = sum(np.sin(k * phase) / k for k in range(1, 5)) * np.isfinite(frequency)
    hum += 0.01 * np.random.default_rng(0).standard_normal(len(hum))
    found = contour_of_recording(hum[None].astype(np.float32), rate)[:210]
    both = np.isfinite(found) & np.isfinite(contour)
    assert both.sum() > 0.8 * np.isfinite(contour).sum()
    assert np.mean(np.abs(found - contour)[both] < 0.5) > 0.97
    assert [note.pitch for note in notes_of_contour(found)] == [note.pitch for note in TUNE]


def test_vibrato_is_one_note_and_short_octave_jumps_are_mended() -> None:
    contour = 62 + 0.4 * np.sin(2 * np.pi * 5.5 * np.arange(100) / 100)
    assert notes_of_contour(contour) == [Note(0.0, 1.0, 62.0)]
    jumping = contour.copy()
    jumping[40:50] += 12
    np.testing.assert_allclose(without_octave_jumps(jumping), contour)
    assert notes_of_contour(np.full(50, np.nan)) == []
