"""A tune that the new vocal follows: fitted to the song and the singer, sung by a guide voice, and drawn as the start of sampling.

Sampling begins with the image of a guide voice that sings the tune, with noise added, in place of noise alone (SDEdit, Meng et
al., ICLR 2022). The more noise, the more the model sings in its own way.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from riff.audio.io import read_audio
from riff.audio.notes import FRAMES_A_SECOND, MIDI_SUFFIXES, contour_of_notes, contour_of_recording, read_midi
from riff.errors import DataError
from riff.metrics.melody import REGISTER_BOUNDARY, register_of_prompt
from riff.sampling.compose import compose_tune
from riff.sampling.levels import vocal_at_level
from riff.sampling.windows import Guide
from riff.separation.song import Song
from riff.spectrogram.image import SpectrogramImage, combine_images, waveform_to_image
from riff.spectrogram.params import STANDARD

NONE, COMPOSE, ORIGINAL = "none", "compose", "original"
STRENGTH = 0.3  # by default: what is sung keeps 0.86 of the tune (raw pitch accuracy), in the model's own voice
# MIDI numbers that the middle of a tune should lie between.
REGISTERS = {"female": (60.0, 70.0), "male": (48.0, 58.0), None: (52.0, 68.0)}
SINGABLE = (40.0, 84.0)  # E2 to C6; the image's own pitch tracker knows no others
# The first three formants of a male speaker in Hz (Peterson and Barney, JASA 1952); a female one's are 17 % higher.
VOWELS = np.array([(730, 1090, 2440), (530, 1840, 2480), (300, 2200, 3000), (570, 840, 2410), (360, 900, 2240)], float)
BANDWIDTHS = np.array([90.0, 110.0, 170.0])  # Hz
FEMALE_FORMANTS = 1.17
HIGHEST_HARMONIC = 6_000.0  # Hz
VIBRATO = (5.5, 0.35)  # Hz, semitones
CONSONANT_S = 0.03


class Tune(NamedTuple):
    """A tune as it is asked for.

    Attributes:
        source: `compose`, `original` (the song's own vocal), or the path of a MIDI file or recording.
        start_s: where it begins. transpose: semitones, None for the singer's register. seed: of a composed tune.
    """

    source: str
    start_s: float = 0.0
    transpose: int | None = None
    seed: int = 0


class PlacedTune(NamedTuple):
    """A tune in its place in a song.

    Attributes:
        contour: float64, shape (frames,), MIDI numbers, one in 10 ms, NaN in rests. vibrato: whether a singer has to add it.
        remark: what was left out, or empty.
    """

    contour: np.ndarray
    vibrato: bool
    remark: str = ""


def tune_for_song(tune: Tune, song: Song, frames: int, prompt: str) -> PlacedTune:
    """Read, follow or compose a tune and fit it to a song.

    Args:
        frames: of the song's image. prompt: may name the register.

    Raises:
        AudioError: a file that cannot be read. DataError: as `fit_tune` and `compose_tune`.
    """
    source, remark = tune.source, ""
    try:
        if source == COMPOSE:
            return compose_for(song.accompaniment, song.sample_rate, frames, prompt, tune.seed, tune.transpose or 0)
        is_midi = source != ORIGINAL and source.lower().endswith(MIDI_SUFFIXES)
        if is_midi:
            notes, others = read_midi(Path(source))
            contour = contour_of_notes(notes, round(notes[-1].end * FRAMES_A_SECOND) + 1)
            remark = f"{source}: has several notes at once; the highest are the tune" if others else ""
        elif source == ORIGINAL:
            contour = contour_of_recording(song.vocals, song.sample_rate)
        else:
            recording = read_audio(Path(source))
            contour = contour_of_recording(recording.waveform, recording.sample_rate)
        return PlacedTune(fit_tune(contour, frames, tune.start_s, tune.transpose, prompt), is_midi, remark)
    except DataError as error:
        raise DataError(f"{source}: {error}") from error


def compose_for(
    accompaniment: np.ndarray, sample_rate: int, frames: int, prompt: str, seed: int = 0, transpose: int = 0
) -> PlacedTune:
    """A tune composed for an accompaniment, float32, shape (channels, samples); for the errors see `compose_tune`."""
    notes = compose_tune(accompaniment, sample_rate, prompt, seed)
    return PlacedTune(fit_tune(contour_of_notes(notes, frames), frames, transpose=transpose), vibrato=True)


def fit_tune(contour: np.ndarray, frames: int, start_s: float = 0.0, transpose: int | None = None, prompt: str = "") -> np.ndarray:
    """Move a tune to its place in a song and into the register of its singer.

    Args:
        contour: float64, MIDI numbers, one in 10 ms, NaN in rests.
        frames: of the song; what lies beyond is cut off.
        start_s: where the tune begins.
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
    part = contour[: max(0, frames - first)]
    placed[first : first + len(part)] = part + transpose
    if not np.isfinite(placed).any():
        raise DataError(f"nothing of it lies within the song, which ends after {frames / FRAMES_A_SECOND:.1f} s")
    low, high = np.nanmin(placed), np.nanmax(placed)
    if low < SINGABLE[0] or high > SINGABLE[1]:
        raise DataError(f"its notes reach from {low:.0f} to {high:.0f} (MIDI); singers reach from 40 to 84: transpose it")
    return placed


def guide_voice(contour: np.ndarray, female: bool, vibrato: bool, seed: int = 0) -> np.ndarray:
    """A plain voice that sings a tune: harmonics shaped by formants (source-filter synthesis), a new vowel for every note.

    Args:
        contour: from `fit_tune`. vibrato: add it; the contour of a recording has its own.

    Returns:
        float32, shape (samples,) at 44.1 kHz, as long as an image of as many frames; peak 1.
    """
    rng = np.random.default_rng(seed)
    voiced = np.isfinite(contour)
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

    samples = STANDARD.clip_samples(len(contour))
    at = np.arange(samples) / STANDARD.sample_rate
    pitch = 440.0 * 2.0 ** ((note - 69.0) / 12.0)
    phase = 2 * np.pi * np.cumsum(np.interp(at, times, pitch)) / STANDARD.sample_rate
    voice = np.zeros(samples)
    for harmonic in range(1, int(HIGHEST_HARMONIC / pitch.min()) + 1):
        frequency = harmonic * pitch
        resonance = 1.0 / (1.0 + ((frequency[:, None] - formants) / BANDWIDTHS) ** 2)
        amplitude = level * (resonance.sum(axis=1) + 0.02) / harmonic**0.5 * (frequency < HIGHEST_HARMONIC)
        voice += np.interp(at, times, amplitude) * np.sin(harmonic * phase)
    return (voice / max(np.abs(voice).max(), np.finfo(np.float64).tiny)).astype(np.float32)


def melody_guide(tune: PlacedTune, backing: SpectrogramImage, target: str, strength: float, prompt: str = "") -> Guide:
    """The start of sampling for a tune.

    Args:
        tune: as long as the backing's image. target: what the model generates, a `mix` or `vocals`.
        strength: [0, 1], see `Guide`.
    """
    register = register_of_prompt(prompt)
    female = register == "female" or (register is None and float(np.nanmedian(tune.contour)) >= REGISTER_BOUNDARY)
    image = waveform_to_image(torch.from_numpy(guide_voice(tune.contour, female, tune.vibrato)))
    if target == "mix":
        image = combine_images(backing, vocal_at_level(image.pixels, backing))
    return Guide(image.pixels, strength)
