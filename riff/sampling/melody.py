"""A tune that the new vocal follows: fitted to the song and the singer, sung by a guide voice, and drawn as the start of sampling.

Sampling begins with the image of a guide voice that sings the tune, with noise added, in place of noise alone (SDEdit, Meng et
al., ICLR 2022). The more noise, the more the model sings in its own way.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from riff.audio.io import read_audio
from riff.audio.notes import (
    FRAMES_A_SECOND,
    MIDI_SUFFIXES,
    Note,
    contour_of_notes,
    contour_of_recording,
    notes_of_contour,
    read_midi,
    write_midi,
)
from riff.cli import warn
from riff.cli.errors import named_flag
from riff.errors import DataError
from riff.metrics.melody import REGISTER_BOUNDARY, register_of_prompt
from riff.models.sources import read_origin
from riff.sampling.compose import Harmony, compose_tune, harmony_of
from riff.sampling.levels import vocal_at_level
from riff.sampling.windows import Guide
from riff.separation.song import Song
from riff.spectrogram.image import SpectrogramImage, combine_images, waveform_to_image
from riff.spectrogram.params import STANDARD

NONE, COMPOSE, ORIGINAL = "none", "compose", "original"
KEY, BEAT, BOTH = "key", "beat", "both"
STRENGTH = 0.3  # by default: what is sung keeps 0.93 of the tune (raw pitch accuracy), in the model's own voice
# MIDI numbers that the middle of a tune should lie between.
REGISTERS = {"female": (60.0, 70.0), "male": (48.0, 58.0), None: (52.0, 68.0)}
SINGABLE = (40.0, 84.0)  # E2 to C6; the image's own pitch tracker knows no others
MOST_OUTSIDE = 0.05  # share of a tune that may lie outside, which is left out: errors of pitch tracking
# The first three formants of a male speaker in Hz (Peterson and Barney, JASA 1952); a female one's are 17 % higher.
VOWELS = np.array([(730, 1090, 2440), (530, 1840, 2480), (300, 2200, 3000), (570, 840, 2410), (360, 900, 2240)], float)
BANDWIDTHS = np.array([90.0, 110.0, 170.0])  # Hz
FEMALE_FORMANTS = 1.17
HIGHEST_HARMONIC = 6_000.0  # Hz
VIBRATO = (5.5, 0.35)  # Hz, semitones
CONSONANT_S = 0.03
BLOCK = 2**21  # samples: an hour in float64 is 1.3 GB


@dataclass(frozen=True)
class Tune:
    """A tune as it is asked for; a file is read once.

    Attributes:
        source: `compose`, `original` (the song's own vocal), or the path of a MIDI file or recording.
        strength: as in `Guide`. start_s: where the tune of a file begins in the song or clip.
        transpose: semitones, None for the singer's register. snap: `none`, or to the song's `key`, its `beat` or `both`.
        seed: of a composed tune, None for that of each take.
        notes: that are sung in place of the source's own, in the time of the song or clip; empty for none. They are not transposed.
    """

    source: str
    strength: float = STRENGTH
    start_s: float = 0.0
    transpose: int | None = None
    snap: str = NONE
    seed: int | None = None
    notes: tuple[Note, ...] = ()

    @property
    def of_file(self) -> bool:
        return self.source not in (COMPOSE, ORIGINAL)

    @cached_property
    def file(self) -> PlacedTune:
        """The tune of the file, which begins at 0 and is as long as it is there.

        Raises:
            AudioError: the file cannot be read, or has no notes.
        """
        path = Path(self.source)
        if path.suffix.lower() in MIDI_SUFFIXES:
            notes, others = read_midi(path)
            remark = f"{path}: has several notes at once; the highest are the tune" if others else ""
            return PlacedTune(contour_of_notes(notes, round(notes[-1].end * FRAMES_A_SECOND) + 1), True, remark)
        recording = read_audio(path)
        return PlacedTune(contour_of_recording(recording.waveform, recording.sample_rate), False)

    def place(self, contour: np.ndarray, frames: int, prompt: str = "") -> np.ndarray:
        """`fit_tune` with this tune's start and transposition, its source in front of errors."""
        start_s = self.start_s if self.of_file else 0.0
        with named_flag(f"{self.source}: "):
            return fit_tune(contour, frames, start_s, self.transpose, prompt)

    def check(self, frames: int, prompt: str) -> None:
        """Place the tune of a file in an image of this width, before a song is separated; no other can be known so early.

        Raises:
            AudioError, DataError: as `file` and `fit_tune`.
        """
        if self.of_file:
            self.place(self.file.contour, frames, prompt)


class PlacedTune(NamedTuple):
    """A tune in its place in a song.

    Attributes:
        contour: float64, shape (frames,), MIDI numbers, one in 10 ms, NaN in rests. vibrato: whether a singer has to add it.
        remark: what was left out, or empty.
    """

    contour: np.ndarray
    vibrato: bool
    remark: str = ""

    @property
    def notes(self) -> list[Note]:
        return notes_of_contour(self.contour)

    def with_notes(self, notes: Sequence[Note]) -> PlacedTune:
        """The tune with other notes; those that begin and end when one of its own does keep its glides and vibrato."""
        contour, own = contour_of_notes(notes, len(self.contour)), {note.frames: note.pitch for note in self.notes}
        for note in notes:
            if note.frames in own:
                first, end = note.frames
                contour[first:end] = self.contour[first:end] + (note.pitch - own[note.frames])
        return self._replace(contour=contour)


class TuneGuide:
    """What sampling begins with for each seed: the image of a guide voice that sings a tune.

    Args:
        song: accompaniment and vocals. backing: the accompaniment's image. target: what the model generates, a `mix` or `vocals`.
        prompt: may name the register.

    Raises:
        AudioError: a file that cannot be read. DataError: as `fit_tune`.
    """

    def __init__(self, tune: Tune, song: Song, backing: SpectrogramImage, target: str, prompt: str) -> None:
        self.strength, self._tune, self._backing, self._target, self._prompt = tune.strength, tune, backing, target, prompt
        composes, frames = tune.source == COMPOSE, backing.pixels.shape[1]
        self.one_for_all = not composes or tune.seed is not None or bool(tune.notes)
        listens = not tune.notes if composes else tune.snap != NONE
        self._harmony = harmony_of(song.accompaniment, song.sample_rate) if listens else None
        self._placed = PlacedTune(np.full(frames, np.nan), vibrato=True)
        if not composes:
            found = tune.file if tune.of_file else PlacedTune(contour_of_recording(song.vocals, song.sample_rate), False)
            contour = tune.place(found.contour, frames, prompt)
            if self._harmony:
                contour = snap_tune(contour, self._harmony, tune.snap)
            self._placed = found._replace(contour=contour)
        if tune.notes:
            self._placed = self._placed.with_notes(tune.notes)

    def tune(self, seed: int) -> PlacedTune:
        """The tune of a take."""
        if self._tune.source != COMPOSE or self._tune.notes:
            return self._placed
        assert self._harmony is not None  # it was heard above
        notes = compose_tune(self._harmony, self._prompt, seed if self._tune.seed is None else self._tune.seed)
        frames = self._backing.pixels.shape[1]
        return PlacedTune(fit_tune(contour_of_notes(notes, frames), frames, transpose=self._tune.transpose or 0), vibrato=True)

    def for_seed(self, seed: int, frames: slice = slice(None)) -> Guide:
        tune = self.tune(seed)
        register = register_of_prompt(self._prompt)
        female = register == "female" or (register is None and float(np.nanmedian(tune.contour)) >= REGISTER_BOUNDARY)
        image = waveform_to_image(torch.from_numpy(guide_voice(tune.contour[frames], female, tune.vibrato, seed)))
        if self._target == "mix":
            part = replace(self._backing, pixels=self._backing.pixels[:, frames])
            black = None if frames == slice(None) else part.max_value  # a part keeps the song's level
            image = combine_images(part, vocal_at_level(image.pixels, part), black)
        return Guide(image.pixels, self.strength)


def tune_for(model: str, source: str | None, strength: float | None, **fields: Any) -> Tune | None:
    """A tune for a model; None where it is left to itself.

    Args:
        source, strength: as in `Tune`, or None for what the model's `riff.json` recommends, else no tune, and 0.3.
        fields: others of `Tune`.
    """
    recommended = read_origin(model).get("sampling", {})
    source = source or recommended.get("melody", NONE)
    strength = recommended.get("melody_strength", STRENGTH) if strength is None else strength
    return None if source == NONE else Tune(source, strength, **fields)


def tune_of(args: Namespace, model: str, clip_start_s: float = 0.0) -> Tune | None:
    """The tune of a command's --melody flags, its file read.

    Args:
        model: as in `tune_for`. clip_start_s: where the part of the song begins in which the tune is placed.

    Raises:
        AudioError: a file that cannot be read.
    """
    fields = {"transpose": args.melody_transpose, "snap": args.melody_snap, "seed": args.melody_seed}
    tune = tune_for(model, args.melody, args.melody_strength, start_s=args.melody_start - clip_start_s, **fields)
    if tune and tune.of_file and tune.file.remark:
        warn(tune.file.remark)
    return tune


def write_tunes(
    folder: Path, ending: str, guide: TuneGuide | None, seed: int, sung: Sequence[Note], shared: bool = True
) -> dict[str, Path]:
    """Write the notes of a take as vocal*.mid, and its tune as tune*.mid.

    Args:
        ending: of the files' names, before the suffix. guide, seed: of the take. sung: its notes.
        shared: whether takes of the same tune share its file.

    Returns:
        The files: `vocal` and, with a guide, `tune`.
    """
    files = {"vocal": folder / f"vocal{ending}.mid"}
    write_midi(files["vocal"], sung)
    if guide is not None:
        files["tune"] = folder / f"tune{'' if shared and guide.one_for_all else ending}.mid"
        write_midi(files["tune"], guide.tune(seed).notes)
    return files


def fit_tune(contour: np.ndarray, frames: int, start_s: float = 0.0, transpose: int | None = None, prompt: str = "") -> np.ndarray:
    """Move a tune to its place in a song and into the register of its singer.

    Args:
        contour: float64, MIDI numbers, one in 10 ms, NaN in rests.
        frames: of the song; what lies beyond is cut off.
        start_s: where the tune begins; of what lies before 0 nothing is heard.
        transpose: semitones; None for the octaves that bring it into the register that the prompt names.

    Returns:
        float64, shape (frames,).

    Raises:
        DataError: no pitch in the tune, none of it within the song, or notes that nobody sings.
    """
    if not np.isfinite(contour).any():
        raise DataError("no pitch was found in it; give a recording of one voice or instrument, or a MIDI file")
    if transpose is None:
        low, high = REGISTERS[register_of_prompt(prompt)]
        middle = float(np.nanmedian(contour))
        octaves = np.ceil((low - middle) / 12) if middle < low else min(0, np.floor((high - middle) / 12))
        transpose = 12 * int(octaves)
    placed = np.full(frames, np.nan)
    first = round(start_s * FRAMES_A_SECOND)
    part = contour[max(0, -first) : max(0, frames - first)]
    placed[max(0, first) : max(0, first) + len(part)] = part + transpose
    if not np.isfinite(placed).any():
        raise DataError(f"nothing of it lies within the song, which ends after {frames / FRAMES_A_SECOND:.1f} s")
    sung = np.isfinite(placed)
    outside = sung & ~((placed >= SINGABLE[0] - 0.5) & (placed <= SINGABLE[1] + 0.5))
    if outside.sum() > MOST_OUTSIDE * sung.sum():
        low, high = np.nanmin(placed), np.nanmax(placed)
        raise DataError(f"its notes reach from {low:.0f} to {high:.0f} (MIDI); singers reach from 40 to 84: transpose it")
    placed[outside] = np.nan
    return placed


def half_beats(harmony: Harmony) -> np.ndarray:
    """Times of the beats and of the middles between them: float64, seconds, ascending."""
    beats = harmony.beats
    return np.interp(np.arange(2 * len(beats) - 1) / 2, np.arange(len(beats)), beats)


def snap_tune(contour: np.ndarray, harmony: Harmony, to: str) -> np.ndarray:
    """Move the notes of a tune, with their vibrato and glides, to what is heard of the song.

    Args:
        contour: float64, MIDI numbers, one in 10 ms, NaN in rests.
        to: `key` (the nearest tone of its scale), `beat` (beginnings and ends on the nearest half beat) or `both`.

    Returns:
        float64, of the same shape; what is too short for a note is left out.
    """
    frames, grid = len(contour), np.round(half_beats(harmony) * FRAMES_A_SECOND).astype(int)
    tones = np.array([pitch for pitch in range(128) if pitch % 12 in harmony.scale])
    snapped = np.full(frames, np.nan)
    for note in notes_of_contour(contour):
        first, end = note.frames
        part, begin, finish = contour[first:end], first, end
        if to in (KEY, BOTH):
            middle = np.median(part)
            part = part + tones[np.abs(tones - middle).argmin()] - middle
        if to in (BEAT, BOTH):
            at = min(int(np.abs(grid - first).argmin()), len(grid) - 2)
            begin, finish = grid[at], grid[max(at + 1, int(np.abs(grid - end).argmin()))]
            part = np.interp(np.linspace(0, len(part) - 1, finish - begin), np.arange(len(part)), part)
        snapped[begin:finish] = part[: max(0, frames - begin)]
    return snapped


def guide_voice(contour: np.ndarray, female: bool, vibrato: bool, seed: int = 0) -> np.ndarray:
    """A plain voice that sings a tune: harmonics shaped by formants (source-filter synthesis), a new vowel for every note.

    Args:
        contour: from `fit_tune`. vibrato: add it; the contour of a recording has its own.

    Returns:
        float32, shape (samples,) at 44.1 kHz, as long as an image of as many frames; peak 1.
    """
    rng = np.random.default_rng(seed)
    voiced = np.isfinite(contour)
    if not voiced.any():
        return np.zeros(STANDARD.clip_samples(len(contour)), np.float32)
    times = np.arange(len(contour)) / FRAMES_A_SECOND
    note = np.interp(times, times[voiced], contour[voiced])
    onsets = voiced & (~np.roll(voiced, 1) | (np.abs(np.diff(note, prepend=note[0])) > 0.7))
    since = times - np.maximum.accumulate(np.where(onsets, times, -1.0))
    note = np.convolve(np.pad(note, 4, mode="edge"), np.hanning(9) / np.hanning(9).sum(), mode="valid")  # glides of 60 ms
    if vibrato:
        note = note + VIBRATO[1] * np.clip((since - 0.15) / 0.25, 0, 1) * np.sin(2 * np.pi * VIBRATO[0] * times)
    formants = VOWELS[rng.integers(len(VOWELS), size=1 + np.count_nonzero(onsets))][np.cumsum(onsets)]
    formants = formants * (FEMALE_FORMANTS if female else 1.0)
    level = np.convolve(np.where(voiced & (since > CONSONANT_S), 1.0, 0.0), np.hanning(7) / np.hanning(7).sum(), mode="same")

    pitch = 440.0 * 2.0 ** ((note - 69.0) / 12.0)
    harmonics = range(1, int(HIGHEST_HARMONIC / pitch.min()) + 1)
    amplitudes = [_amplitude(harmonic, pitch, formants) * level for harmonic in harmonics]
    voice, phase = np.zeros(STANDARD.clip_samples(len(contour)), np.float32), np.zeros(1)
    for first in range(0, len(voice), BLOCK):
        at = np.arange(first, min(len(voice), first + BLOCK)) / STANDARD.sample_rate
        phase = phase[-1] % (2 * np.pi) + 2 * np.pi * np.cumsum(np.interp(at, times, pitch)) / STANDARD.sample_rate
        for harmonic, amplitude in zip(harmonics, amplitudes, strict=True):
            voice[first : first + BLOCK] += np.interp(at, times, amplitude) * np.sin(harmonic * phase)
    return voice / max(float(np.abs(voice).max()), float(np.finfo(np.float32).tiny))


def _amplitude(harmonic: int, pitch: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Of a harmonic in every frame: float64, shape (frames,); pitch is (frames,) and formants (frames, 3) in Hz."""
    frequency = harmonic * pitch
    resonance = 1.0 / (1.0 + ((frequency[:, None] - formants) / BANDWIDTHS) ** 2)
    return (resonance.sum(axis=1) + 0.02) / harmonic**0.5 * (frequency < HIGHEST_HARMONIC)
