"""The tune of a part as notes on the page, to change before they are sung."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from riff.app.songs import Part
from riff.audio.notes import MIDI_SUFFIXES, MIN_NOTE_S, Note
from riff.errors import DataError
from riff.sampling.melody import COMPOSE, NONE, ORIGINAL, SINGABLE, half_beats

HUM, MIDI = "file", "midi"  # in place of a tune's source: the visitor's recording, the visitor's MIDI file
MOST_NOTES = 500
INCOMPLETE = "the notes did not arrive whole; show them again"
NO_NOTES = "the melody has no notes left; add one, or close the notes"
NO_FILE = {
    HUM: "there is no recording yet; hum the melody first, or choose another one",
    MIDI: "there is no MIDI file yet; add one, or choose another melody",
}

Key = tuple[str, str]  # name of a part, and what its tune comes from


def melody_choice(source: str) -> str:
    """What the page calls the source of a `Tune`."""
    if source in (NONE, COMPOSE, ORIGINAL):
        return source
    return MIDI if Path(source).suffix.lower() in MIDI_SUFFIXES else HUM


def roll_of(key: Key, notes: Sequence[Note] | None = None, part: Part | None = None) -> str:
    """Value of static/notes.js, which documents it: notes over the beats of their part, or nothing to show."""
    shown: dict[str, object] = {"part": key[0], "melody": key[1]}
    if notes is not None and part is not None:
        end_s = part.region.end_s - part.region.start_s
        grid = [round(time, 3) for time in half_beats(part.harmony).tolist() if time <= end_s]
        times = [(round(note.start, 2), min(round(note.end, 2), end_s)) for note in notes]
        shown |= {"grid": grid, "notes": [(*time, round(note.pitch)) for time, note in zip(times, notes, strict=True)]}
    return json.dumps(shown)


def read_roll(value: str) -> tuple[Key, tuple[Note, ...] | None] | None:
    """The notes of a value of static/notes.js, None where the visitor closed them; None instead of both where nothing was shown.

    Raises:
        DataError: they are incomplete, or no notes of their part.
    """
    try:
        roll = json.loads(value)
        if "notes" not in roll:
            return None
        key, given = (str(roll["part"]), str(roll["melody"])), roll["notes"]
        notes = None if given is None else tuple(Note(float(start), float(end), int(pitch)) for start, end, pitch in given)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise DataError(INCOMPLETE) from error
    times = re.fullmatch(r"(\d{1,9})-(\d{1,9})", key[0])
    if times is None or key[1] not in (NONE, COMPOSE, ORIGINAL, HUM, MIDI) or len(notes or ()) > MOST_NOTES:
        raise DataError(INCOMPLETE)
    seconds = (int(times[2]) - int(times[1])) / 1000
    for note in notes or ():
        within = 0 <= note.start <= note.end - MIN_NOTE_S + 0.001 and note.end <= seconds + 0.02
        if not within or not SINGABLE[0] <= note.pitch <= SINGABLE[1]:
            raise DataError(INCOMPLETE)
    return key, notes
