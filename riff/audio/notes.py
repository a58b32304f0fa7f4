"""Tunes: notes from MIDI files and recordings, and back to MIDI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import mido
import numpy as np

from riff.audio.pitch import RATE as PITCH_RATE
from riff.audio.pitch import track_pitch
from riff.errors import AudioError
from riff.files import atomic_path

FRAMES_A_SECOND = 100  # of a contour, as of a spectrogram image
MIDI_SUFFIXES = (".mid", ".midi")
TICKS_A_SECOND = 1_000  # at 120 beats a minute, 500 ticks a beat
LOWEST_HZ, HIGHEST_HZ = 65.0, 1_050.0  # C2 to C6
MIN_NOTE_S = 0.06
LONGEST_MIDI_S = 6 * 3600.0
REPEAT_FRAMES = 3


class Note(NamedTuple):
    """A note from `start` to `end` in seconds; pitch is a MIDI number, fractional if need be."""

    start: float
    end: float
    pitch: float

    @property
    def frames(self) -> tuple[int, int]:
        """Its first frame in a contour, and the one after its last."""
        return round(self.start * FRAMES_A_SECOND), round(self.end * FRAMES_A_SECOND)


def read_midi(path: Path) -> tuple[list[Note], bool]:
    """The tune of a MIDI file: of notes that sound together the highest.

    Returns:
        The notes in time, and whether there were others below them.

    Raises:
        AudioError: no MIDI file, one without notes, or of more than six hours.
    """
    try:
        messages = list(mido.MidiFile(path))
    except (OSError, EOFError, ValueError, IndexError, KeyError) as error:
        raise AudioError(f"{path}: cannot be read as MIDI ({error or type(error).__name__}); give a standard MIDI file") from error
    notes: list[Note] = []
    sounding: dict[tuple[int, int], float] = {}
    now = 0.0
    for message in messages:
        now += message.time
        if message.type not in ("note_on", "note_off") or message.channel == 9:  # percussion
            continue
        begun = sounding.pop((message.channel, message.note), None)
        if begun is not None and now > begun:
            notes.append(Note(begun, now, message.note))
        if message.type == "note_on" and message.velocity > 0:
            sounding[message.channel, message.note] = now
    if not notes:
        raise AudioError(f"{path}: holds no notes; give a MIDI file with a melody")
    if now > LONGEST_MIDI_S:
        raise AudioError(f"{path}: lasts {now / 3600:.0f} hours; give a MIDI file of one song")
    return top_line(notes)


def top_line(notes: Sequence[Note]) -> tuple[list[Note], bool]:
    """The highest note at every moment, and whether others were below it; a note ends where a higher one begins."""
    line: list[Note] = []
    others = False
    for note in sorted(notes, key=lambda note: (note.start, -note.pitch)):
        if line and note.start < line[-1].end - MIN_NOTE_S:
            others = True
            if note.pitch <= line[-1].pitch:
                continue
        if line and note.start < line[-1].end:
            line[-1] = line[-1]._replace(end=note.start)
        line.append(note)
    return [note for note in line if note.end > note.start], others


def write_midi(path: Path, notes: Sequence[Note]) -> None:
    """Write a tune as a MIDI file of one track whose time is the song's, with pitches rounded to semitones."""
    track = mido.MidiTrack()
    events = [(note.start, "note_on", round(note.pitch)) for note in notes]
    events += [(note.end, "note_off", round(note.pitch)) for note in notes]
    now = 0
    for seconds, kind, pitch in sorted(events, key=lambda event: (event[0], event[1] == "note_on")):
        tick = round(seconds * TICKS_A_SECOND)
        track.append(mido.Message(kind, note=pitch, velocity=90, time=tick - now))
        now = tick
    with atomic_path(path) as temporary:
        mido.MidiFile(tracks=[track], ticks_per_beat=TICKS_A_SECOND // 2).save(temporary)


def contour_of_notes(notes: Sequence[Note], frames: int) -> np.ndarray:
    """float64, shape (frames,), the MIDI number in each frame of 10 ms, NaN in rests; 30 ms of rest separate a repeated note."""
    contour = np.full(frames, np.nan)
    before: Note | None = None
    for note in notes:
        first, end = note.frames
        contour[first:end] = note.pitch
        if before is not None and before.pitch == note.pitch and before.frames[1] == first:
            contour[max(before.frames[0] + 1, first - REPEAT_FRAMES) : first] = np.nan
        before = note
    return contour


def contour_of_recording(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """The pitch of a recorded voice or instrument, by `track_pitch`.

    Args:
        waveform: float32, shape (channels, samples), of one voice.

    Returns:
        float64, shape (frames,), fractional MIDI numbers, one in 10 ms, NaN where there is no pitch. Jumps by an octave for less
        than 0.25 s are mended.
    """
    hop = PITCH_RATE // FRAMES_A_SECOND
    return without_octave_jumps(track_pitch(waveform, sample_rate, LOWEST_HZ, HIGHEST_HZ, hop, resolution=0.2))


def without_octave_jumps(contour: np.ndarray, window: int = 51) -> np.ndarray:
    """Move frames that lie an octave from the median of their surroundings to its octave; NaN stay."""
    padded = np.pad(contour, window // 2, constant_values=np.nan)
    surroundings = np.lib.stride_tricks.sliding_window_view(padded, window)
    mended = contour.copy()
    for frame in np.flatnonzero(np.isfinite(contour)):
        octaves = (contour[frame] - np.nanmedian(surroundings[frame])) / 12
        if abs(octaves - round(octaves)) < 0.15:
            mended[frame] -= 12 * round(octaves)
    return mended


def notes_of_contour(contour: np.ndarray) -> list[Note]:
    """Notes of a contour: stretches of at least 60 ms that round to one semitone, vibrato smoothed away."""
    notes: list[Note] = []
    edges = np.flatnonzero(np.diff(np.isfinite(contour).astype(int), prepend=0, append=0)).reshape(-1, 2)
    for first, end in edges.tolist():
        part = contour[first:end]
        smooth = np.array([np.median(part[max(0, frame - 8) : frame + 9]) for frame in range(len(part))])
        steps = np.flatnonzero(np.diff(np.round(smooth))) + 1
        for start, stop in zip([0, *steps], [*steps, len(part)], strict=True):
            if stop - start >= MIN_NOTE_S * FRAMES_A_SECOND:
                pitch = float(np.round(np.median(smooth[start:stop])))
                begin, finish = (first + start) / FRAMES_A_SECOND, (first + stop) / FRAMES_A_SECOND
                if notes and notes[-1].pitch == pitch and begin - notes[-1].end < MIN_NOTE_S and start > 0:
                    notes[-1] = notes[-1]._replace(end=finish)
                else:
                    notes.append(Note(begin, finish, pitch))
    return notes
