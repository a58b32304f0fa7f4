"""The prompt of a song, found by listening: words for tempo, mood, voice and style, each with a confidence.

A word's confidence is a logistic function of the evidence for it. Centres and widths were chosen on demo songs of
catalogue 21 and checked on catalogue 22 (benchmarks/labels.py); no real song was among them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import librosa
import numpy as np

from riff.audio.io import plain_name, resample, to_channels
from riff.audio.pitch import median_note
from riff.cli import MinuteLines, item_error, progress_bar
from riff.data.lines import read_json_objects
from riff.errors import AudioError, DataError
from riff.files import write_text
from riff.separation.stems import Stems
from riff.tagging.tags import Tags, find_weights, log_odds, tag

SURE = 0.7  # confidence from which a word is used
TEMPLATES = {"control": ("prompt", "Generate"), "edit": ("edit_prompt", "add")}  # the prompt's key, and its verb
NO_VOICE = "none"
AUTO, LABELS_FILE = "auto", "labels.json"  # in place of a prompt file; where the songs' labels then go
# What a word is heard by: MagnaTagATune's tags and the Million Song Dataset's, of which the highest counts.
STYLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "rock": (("rock",), ("rock", "classic rock", "alternative rock", "hard rock")),
    "pop": (("pop",), ("pop",)),
    "metal": (("metal",), ("metal", "heavy metal")),
    "punk": ((), ("punk",)),
    "indie": ((), ("indie", "indie rock", "indie pop")),
    "electronic": (("electronic", "techno", "dance"), ("electronic", "electronica", "electro", "House", "dance")),
    "hip-hop": ((), ("Hip-Hop",)),
    "jazz": ((), ("jazz",)),
    "folk": ((), ("folk",)),
    "country": (("country",), ("country",)),
    "blues": ((), ("blues",)),
    "soul": ((), ("soul", "rnb")),
    "funk": ((), ("funk",)),
    "classical": (("classical", "opera", "harpsichord"), ()),
    "ambient": (("ambient", "new age"), ("ambient",)),
}
MOODS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sad": ((), ("sad",)),
    "happy": ((), ("happy",)),
    "mellow": ((), ("Mellow", "chill")),
    "gentle": (("soft", "quiet"), ()),
    "intense": (("loud",), ()),
}
SLOW, FAST = 85.0, 115.0  # beats a minute: slow songs are below, up-tempo ones above
WORDS = {
    "tempo": ("slow", "mid-tempo", "up-tempo"),
    "mood": tuple(MOODS),
    "voice": ("female", "male", NO_VOICE),
    "style": tuple(STYLES),
}
VERBS = {verb.lower() for _, verb in TEMPLATES.values()}
DESCRIPTIVE = {"a", "an", "the", "some", *(word for words in WORDS.values() for word in words)}  # begin a description
TEMPO_RATE = 22_050  # Hz, at which librosa's beat tracker was tuned
EXCERPT_S = 30  # of the voice: where it is loudest
LEAST_VOICE = 1e-3  # of the song's RMS, -60 dB: less is no voice at all


class Word(NamedTuple):
    """A word of a prompt. confidence: in [0, 1]."""

    word: str
    confidence: float


class Logistic(NamedTuple):
    """Confidence as a function of evidence: 0.5 at `centre`, `SURE` 0.85 widths above."""

    centre: float
    width: float

    def __call__(self, evidence: float) -> float:
        return float(1 / (1 + np.exp(-(evidence - self.centre) / self.width)))


# The evidence is the highest tag's log-odds;
HEARD_STYLE = Logistic(-0.35, 0.4)
HEARD_MOOD = Logistic(-2.0, 0.4)
# log-odds for a voice, of the separated vocal, plus the song's less the accompaniment's;
HEARD_VOICE = Logistic(1.8, 0.5)
# distance from the nearest boundary of tempi, in octaves;
NOT_BETWEEN = Logistic(0.0, 0.04)
# and log-odds of the tag "slow" against "fast", by which a tempo is told from its half and its double, where librosa finds a fast
# tempo, which may be twice the true one, and where it finds a slow one.
SLOW_NOT_FAST, SLOW_INDEED = Logistic(2.6, 0.4), Logistic(1.2, 0.4)
MAYBE_DOUBLED = 130.0  # beats a minute
# A voice's gender: weight of the tags' log-odds, of a semitone above the demo singers' boundary, and the most that pitch counts,
# since the registers of real singers overlap more than theirs.
TAGS_WEIGHT, PITCH_WEIGHT, MOST_PITCH, BOUNDARY = 0.7, 0.6, 1.0, 58.0


def listen(vocals: np.ndarray, accompaniment: np.ndarray, sample_rate: int) -> dict[str, Word]:
    """The words for a song, by the names in `WORDS`, sure or not.

    Args:
        vocals, accompaniment: float32, shape (channels, samples), that sum to the song.

    Raises:
        AudioError: shorter than 3 s, or silent. ModelError: no weights of the tagger and no way to get them.
    """
    mix = vocals + accompaniment
    whole = tag(mix, sample_rate)
    backing = tag(accompaniment, sample_rate) if np.any(accompaniment) else whole
    return {
        "tempo": _tempo(mix, sample_rate, whole),
        "mood": _highest(MOODS, whole, HEARD_MOOD),
        "voice": _voice(vocals, mix, sample_rate, whole, backing),
        "style": _highest(STYLES, backing, HEARD_STYLE),
    }


def _highest(choices: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]], tags: Tags, confidence: Logistic) -> Word:
    values = {
        word: max([tags.mtt[name] for name in mtt] + [tags.msd[name] for name in msd]) for word, (mtt, msd) in choices.items()
    }
    best = max(values, key=lambda word: values[word])
    return Word(best, confidence(log_odds(values, (best,))))


def _voice(vocals: np.ndarray, mix: np.ndarray, sample_rate: int, whole: Tags, backing: Tags) -> Word:
    """Whether the separated vocal is a voice that its accompaniment does not have, and whose."""
    part = _loudest(vocals, round(EXCERPT_S * sample_rate))
    if np.square(part).mean() <= LEAST_VOICE**2 * np.square(mix).mean():
        return Word(NO_VOICE, 1.0)
    alone = tag(part, sample_rate)
    there = HEARD_VOICE(alone.singing + whole.singing - backing.singing)
    if there < 0.5:
        return Word(NO_VOICE, 1 - there)
    note = median_note(part, sample_rate)
    pitch = 0.0 if np.isnan(note) else float(np.clip(PITCH_WEIGHT * (note - BOUNDARY), -MOST_PITCH, MOST_PITCH))
    female = Logistic(0.0, 1.0)(TAGS_WEIGHT * alone.female + pitch)
    return Word("female", there * female) if female >= 0.5 else Word("male", there * (1 - female))


def _loudest(waveform: np.ndarray, samples: int) -> np.ndarray:
    """The stretch of this many samples with the most energy; all of what is shorter."""
    if waveform.shape[1] <= samples:
        return waveform
    step = samples // 10
    energy = np.add.reduceat(np.square(waveform).sum(axis=0, dtype=np.float64), np.arange(0, waveform.shape[1], step))
    start = step * int(np.convolve(energy, np.ones(10), "valid").argmax())
    return waveform[:, start : start + samples]


def _tempo(mix: np.ndarray, sample_rate: int, tags: Tags) -> Word:
    """A word for the tempo of librosa's beat tracker, halved or doubled where the tags speak against it."""
    mono = resample(to_channels(mix, 1), sample_rate, TEMPO_RATE)[0]
    tempo = float(np.ravel(librosa.beat.beat_track(y=mono, sr=TEMPO_RATE)[0])[0])
    if tempo <= 0:
        return Word(WORDS["tempo"][1], 0.0)
    slowness = log_odds(tags.mtt, ("slow",)) - log_odds(tags.mtt, ("fast",))
    octave = 1.0
    if tempo > MAYBE_DOUBLED:
        octave = SLOW_NOT_FAST(slowness)
        tempo, octave = (tempo / 2, octave) if octave >= 0.5 else (tempo, 1 - octave)
    elif tempo < SLOW:
        octave = SLOW_INDEED(slowness)
        tempo, octave = (tempo, octave) if octave >= 0.5 else (2 * tempo, 1 - octave)
    word = WORDS["tempo"][int(np.searchsorted((SLOW, FAST), tempo))]
    return Word(word, octave * NOT_BETWEEN(float(np.abs(np.log2(tempo / np.array([SLOW, FAST]))).min())))


def write_prompt(words: Mapping[str, str], template: str = "control") -> str:
    """A prompt of the words that are there, by the names in `WORDS`: `Generate an up-tempo female vocal rock melody`.

    Args:
        template: one of `TEMPLATES`.
    """
    voice = words.get("voice")
    singer = "instrumental" if voice == NO_VOICE else f"{voice} vocal" if voice else "vocal"
    described = " ".join(filter(None, (words.get("tempo"), words.get("mood"), singer, words.get("style"), "melody")))
    return f"{TEMPLATES[template][1]} {'an' if described[0] in 'aeiou' else 'a'} {described}"


def prompt_of(description: str, template: str = "control") -> str:
    """What a model is asked for by a description of a vocal: of `a sad male vocal` an edit model is told to add it.

    What is no description, by its first word, is left as it was typed.

    Args:
        template: one of `TEMPLATES`.
    """
    first, _, rest = description.partition(" ")
    verb = TEMPLATES[template][1]
    if first.lower() in VERBS:
        return f"{verb} {rest}"
    return f"{verb} {description}" if first.lower() in DESCRIPTIVE else description


def read_labels(path: Path, template: str) -> list[dict[str, Any]]:
    """The lines of a prompt file that may be there already, labelled before or written by hand.

    Raises:
        DataError: a broken line, or one without a file name and a prompt of this template.
    """
    lines = [item for _, item in read_json_objects(path)] if path.exists() else []
    key = TEMPLATES[template][0]
    for line in lines:
        if not isinstance(line.get("file"), str) or not isinstance(line.get(key), str):
            raise DataError(f'{path}: holds a line without "file" or "{key}"; give a new file, or one of prompts of this template')
    return lines


@dataclass
class LabelReport:
    """What `label_songs` did. labelled, kept: names of songs. failed: messages."""

    labelled: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def label_songs(
    songs: Mapping[str, Callable[[], tuple[Stems, int]]],
    path: Path,
    template: str = "control",
    overwrite: bool = False,
    warn: Callable[[str], object] = print,
) -> LabelReport:
    """Write a prompt file of songs, which is there, whole, after every song. Lines of other songs stay.

    Args:
        songs: what opens each, by its name in the file. overwrite: label songs again that have a line.
        warn: is told of every song that fails, while the others go on, and of every song without a voice.

    Raises:
        ModelError: no weights of the tagger and no way to get them. DataError: as `read_labels`.
    """
    lines, report = read_labels(path, template), LabelReport()
    report.kept = [name for name in songs if not overwrite and any(_is_of(line, name) for line in lines)]
    waiting = [name for name in songs if name not in report.kept]
    if waiting:
        find_weights()
    counter = MinuteLines(len(waiting), "songs")
    progress = progress_bar(waiting, desc="songs", unit="song")
    for done, name in enumerate(progress):
        progress.set_postfix_str(name)
        counter.update(done)
        try:
            stems, sample_rate = songs[name]()
            words = listen(stems.vocals, stems.accompaniment, sample_rate)
        except AudioError as error:
            report.failed.append(str(error) if name in str(error) else f"{name}: {error}; it gets no prompt")
        except Exception as error:  # of whatever kind, the other songs go on
            report.failed.append(item_error(name, error))
        else:
            line = _line(name, words, template)
            if words["voice"].word == NO_VOICE:
                warn(f"{name}: no voice is heard in it")
            lines = [*(other for other in lines if not _is_of(other, name)), line]
            write_lines(path, lines)
            report.labelled.append(name)
            continue
        warn(f"error: {report.failed[-1]}")
    return report


def auto_prompts(
    songs: Mapping[str, Callable[[], tuple[Stems, int]]], folder: Path, template: str, warn: Callable[[str], object]
) -> dict[str, str]:
    """Label songs into `LABELS_FILE` of a folder, as `label_songs` does, and return the prompts by song."""
    label_songs(songs, folder / LABELS_FILE, template, warn=lambda line: warn(line.removeprefix("error: ")))
    return {line["file"]: line[TEMPLATES[template][0]] for line in read_labels(folder / LABELS_FILE, template)}


def _is_of(line: Mapping[str, Any], song: str) -> bool:
    """Whether a line is of this song: by its file's name, or by that without its suffix."""
    file = line["file"]
    return song in (file, plain_name(file)) or file == plain_name(song)


def _line(name: str, words: Mapping[str, Word], template: str) -> dict[str, Any]:
    """A line of the prompt file: with the prompt, every word that was considered, so that a person can add what was left out."""
    sure = {kind: found.word for kind, found in words.items() if found.confidence >= SURE}
    heard = {kind: {"word": found.word, "confidence": round(found.confidence, 2)} for kind, found in words.items()}
    return {"file": name, TEMPLATES[template][0]: write_prompt(sure, template), "words": heard}


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write a prompt file, one object a line, in the order of the names."""
    ordered = sorted(lines, key=lambda line: str(line["file"]))
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in ordered))
