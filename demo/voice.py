"""A singer: glottal pulses through moving formants, with vibrato, breath and consonants (source-filter synthesis).

The source-filter theory is Fant's (Acoustic Theory of Speech Production, 1960); the vowels' formants are the averages of
Peterson and Barney (JASA 1952).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demo.instruments import SAMPLE_RATE, Rng, midi_to_hz, oscillate

VOWELS = {  # the first three formants of a male speaker, Hz
    "a": (730.0, 1090.0, 2440.0),
    "e": (530.0, 1840.0, 2480.0),
    "i": (270.0, 2290.0, 3010.0),
    "o": (570.0, 840.0, 2410.0),
    "u": (300.0, 870.0, 2240.0),
}
BANDWIDTHS = np.array([80.0, 90.0, 130.0, 170.0, 220.0])  # Hz
FRAME = 1024  # samples of a filter frame
STEP = FRAME // 4
CONTROL = 64  # samples between two values of a contour


@dataclass(frozen=True)
class Syllable:
    """A sung note: when, how long (seconds), which MIDI note, which vowel, and whether a consonant comes first."""

    start: float
    duration: float
    note: float
    vowel: str
    consonant: str = ""  # "", "s" (fricative) or "t" (plosive)


@dataclass(frozen=True)
class Singer:
    """What makes one voice differ from another."""

    gender: str
    formant_scale: float
    vibrato_rate: float  # Hz
    vibrato_depth: float  # semitones
    breath: float
    tilt: float  # harmonic n has amplitude n**-tilt

    @classmethod
    def random(cls, gender: str, rng: Rng) -> Singer:
        return cls(
            gender=gender,
            formant_scale=rng.uniform(0.95, 1.05) * (1.0 if gender == "male" else 1.17),
            vibrato_rate=rng.uniform(4.8, 6.3),
            vibrato_depth=rng.uniform(0.25, 0.6),
            breath=rng.uniform(0.004, 0.015),
            tilt=rng.uniform(0.8, 1.1),
        )


def sing(syllables: Sequence[Syllable], samples: int, singer: Singer, rng: Rng) -> np.ndarray:
    """The whole vocal line, float64, shape (samples,), peak 1 (silence where there is nothing to sing)."""
    if not syllables:
        return np.zeros(samples)
    times = np.arange(0, samples + CONTROL, CONTROL) / SAMPLE_RATE
    note, level, formants = contours(syllables, times, singer)
    sample_times = np.arange(samples) / SAMPLE_RATE
    frequency = np.interp(sample_times, times, midi_to_hz_array(note))
    source = oscillate(frequency, np.arange(1.0, 120.0) ** -singer.tilt)
    source += rng.standard_normal(samples) * singer.breath * 6
    voiced = _formant_filter(source * np.interp(sample_times, times, level), times, formants)
    voiced = _even_out(voiced)
    return _add_consonants(voiced, syllables, rng)


def midi_to_hz_array(note: np.ndarray) -> np.ndarray:
    return midi_to_hz(0.0) * 2.0 ** (note / 12.0)


def contours(syllables: Sequence[Syllable], times: np.ndarray, singer: Singer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Note (with glides and vibrato), level in [0, 1], and five formant frequencies, all at the control rate."""
    note = np.full(len(times), syllables[0].note)
    level = np.zeros(len(times))
    formants = np.zeros((len(times), 3))
    formants[:] = VOWELS[syllables[0].vowel]
    age = np.zeros(len(times))
    for syllable in syllables:
        since = times - syllable.start
        held = since >= 0
        note[held], formants[held] = syllable.note, VOWELS[syllable.vowel]
        age[held] = since[held]
        here = held & (since < syllable.duration)
        rise = np.minimum(since[here] / 0.035, 1.0)
        fall = np.minimum((syllable.duration - since[here]) / 0.07, 1.0)
        level[here] = np.maximum(level[here], rise * fall * (0.85 + 0.15 * np.cos(since[here] * 3)))
    note = _smooth(note, 0.07)
    swell = np.clip((age - 0.12) / 0.25, 0.0, 1.0)
    note += singer.vibrato_depth * swell * np.sin(2 * np.pi * singer.vibrato_rate * times)
    moving = np.stack([_smooth(column, 0.09) for column in formants.T], axis=1) * singer.formant_scale
    fixed = np.array([3400.0, 4300.0]) * singer.formant_scale
    return note, level, np.concatenate([moving, np.broadcast_to(fixed, (len(times), 2))], axis=1)


def _smooth(contour: np.ndarray, seconds: float) -> np.ndarray:
    width = max(3, int(seconds * SAMPLE_RATE / CONTROL) | 1)
    window = np.hanning(width + 2)[1:-1]
    padded = np.pad(contour, width // 2, mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")


def _formant_filter(source: np.ndarray, times: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Shape the source with a cascade of five resonances that move with the vowels, frame by frame in the frequency domain."""
    padded = np.pad(source, (FRAME, 2 * FRAME))
    starts = np.arange(0, len(padded) - FRAME, STEP)
    window = np.hanning(FRAME + 1)[:-1]
    frames = np.fft.rfft(padded[starts[:, None] + np.arange(FRAME)] * window, axis=1)
    centres = (starts - FRAME / 2) / SAMPLE_RATE
    frequency = np.fft.rfftfreq(FRAME, 1 / SAMPLE_RATE)[None]
    gain = (1 + frequency / 1500.0) ** 1.2  # the lips radiate high frequencies better; more poles above would lift them too
    for k, bandwidth in enumerate(BANDWIDTHS):
        centre = np.interp(centres, times, formants[:, k])[:, None]
        gain = gain * centre**2 / np.sqrt((centre**2 - frequency**2) ** 2 + (bandwidth * frequency) ** 2)
    shaped = np.fft.irfft(frames * gain, FRAME, axis=1) * window
    out = np.zeros(len(padded))
    for phase in range(FRAME // STEP):  # frames of one phase do not overlap, so they add in one go
        block = shaped[phase :: FRAME // STEP].reshape(-1)
        out[phase * STEP : phase * STEP + len(block)] += block
    return out[FRAME : FRAME + len(source)] / 1.5


def _even_out(voice: np.ndarray) -> np.ndarray:
    """Halve the differences in level (in dB) between vowels, as a singer's ear and a compressor do; peak 1."""
    window = np.hanning(SAMPLE_RATE // 5)
    power = np.convolve(voice[::CONTROL] ** 2, window[::CONTROL] / window[::CONTROL].sum(), mode="same")
    level = np.sqrt(np.repeat(power, CONTROL)[: len(voice)])
    evened = voice / np.sqrt(level + 0.02 * level.max() + 1e-9)
    return evened / (np.abs(evened).max() + 1e-9)


def _add_consonants(voice: np.ndarray, syllables: Sequence[Syllable], rng: Rng) -> np.ndarray:
    lengths = {"s": 0.09, "t": 0.02}
    for syllable in syllables:
        if not syllable.consonant:
            continue
        samples = int(lengths[syllable.consonant] * SAMPLE_RATE)
        start = int((syllable.start - lengths[syllable.consonant] * 0.7) * SAMPLE_RATE)
        if start < 0 or start + samples > len(voice):
            continue
        noise = rng.standard_normal(samples)
        if syllable.consonant == "s":
            noise = np.diff(noise, 2, append=[0, 0]) * 0.25  # most energy above 5 kHz
        voice[start : start + samples] += noise * np.hanning(samples) * (0.12 if syllable.consonant == "s" else 0.1)
    return voice
