"""The band: tones from wavetables and drums from shaped noise, mono float64 at 44.1 kHz."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 44_100
TABLE_SIZE = 2048
HIGHEST_PARTIAL = 16_000.0  # Hz, so that nothing folds back

Rng = np.random.Generator


def midi_to_hz(note: float) -> float:
    return 440.0 * 2.0 ** ((note - 69.0) / 12.0)


def seconds_to_samples(seconds: float) -> int:
    return max(1, round(seconds * SAMPLE_RATE))


def oscillate(frequency: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """Harmonics of a moving fundamental, read from one cycle in a table.

    Args:
        frequency: fundamental in Hz for every sample, shape (samples,).
        amplitudes: of harmonics 1, 2, ...; those that would pass 16 kHz are left out.

    Returns:
        float64, shape (samples,).
    """
    top = max(1, int(HIGHEST_PARTIAL / max(frequency.max(), 20.0)))
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, complex)
    kept = amplitudes[: min(top, TABLE_SIZE // 4)]
    spectrum[1 : 1 + len(kept)] = -0.5j * TABLE_SIZE * kept
    cycle = np.fft.irfft(spectrum, TABLE_SIZE)
    position = np.cumsum(frequency) * (TABLE_SIZE / SAMPLE_RATE)
    index = position.astype(np.int64)
    fraction = position - index
    return cycle[index % TABLE_SIZE] * (1 - fraction) + cycle[(index + 1) % TABLE_SIZE] * fraction


@dataclass(frozen=True)
class Timbre:
    """How a pitched instrument sounds.

    Attributes:
        amplitudes: of its harmonics at the onset.
        attack: seconds to full level.
        decay: seconds to fall by a factor e; infinity for a sustained tone.
        damping: how much faster harmonic n falls than the first, per harmonic.
        release: seconds to fall silent after the note.
        drive: overdrive before the level (0 is clean).
        vibrato: depth in semitones at 5 Hz.
        cutoff: Hz, above which the instrument's body lets less and less through.
    """

    amplitudes: np.ndarray
    attack: float = 0.005
    decay: float = np.inf
    damping: float = 0.0
    release: float = 0.05
    drive: float = 0.0
    vibrato: float = 0.0
    cutoff: float = 3500.0


def tone(timbre: Timbre, note: float, duration: float) -> np.ndarray:
    """One note, float64, shape (samples,), release included; peaks near 1."""
    time = np.arange(seconds_to_samples(duration + timbre.release)) / SAMPLE_RATE
    frequency = midi_to_hz(note) * 2.0 ** (timbre.vibrato / 12 * np.sin(2 * np.pi * 5.0 * time))
    partials = midi_to_hz(note) * np.arange(1, len(timbre.amplitudes) + 1)
    bright = timbre.amplitudes / np.abs(timbre.amplitudes).sum() / (1 + (partials / timbre.cutoff) ** 4)
    if timbre.damping > 0 and np.isfinite(timbre.decay):
        dark = bright * np.exp(-timbre.damping * np.arange(len(bright)) * 4)
        fade = np.exp(-time * (1 + 6 * timbre.damping) / timbre.decay)
        wave = oscillate(frequency, bright - dark) * fade + oscillate(frequency, dark) * np.exp(-time / timbre.decay)
    else:
        wave = oscillate(frequency, bright) * np.exp(-time / timbre.decay)
    envelope = np.minimum(time / timbre.attack, 1.0) * np.clip((duration + timbre.release - time) / timbre.release, 0, 1)
    wave = wave * envelope
    return np.tanh(wave * (1 + timbre.drive)) if timbre.drive > 0 else wave * 1.5


def _harmonics(count: int, law: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return law(np.arange(1, count + 1, dtype=float))


def timbre(name: str, rng: Rng) -> Timbre:
    """An instrument of this family, a little different in every song."""
    tilt = rng.uniform(0.85, 1.15)
    pluck = rng.uniform(0.12, 0.35)
    families: dict[str, Callable[[], Timbre]] = {
        "piano": lambda: Timbre(
            _harmonics(24, lambda n: np.exp(-n / 7 * tilt) * (0.6 + 0.4 * np.cos(n * pluck * 6))),
            attack=0.004,
            decay=rng.uniform(0.5, 1.1),
            damping=0.12,
            release=0.08,
        ),
        "guitar": lambda: Timbre(
            _harmonics(30, lambda n: np.sin(np.pi * n * pluck) / n**tilt), attack=0.003, decay=rng.uniform(0.3, 0.7), damping=0.1
        ),
        "power": lambda: Timbre(
            _harmonics(36, lambda n: n ** (-0.75 * tilt)), attack=0.008, decay=3.0, drive=rng.uniform(1.5, 3.0)
        ),
        "organ": lambda: Timbre(
            rng.uniform(0.2, 1.0, 8) * np.array([1, 1, 0.8, 0.8, 0.2, 0.6, 0.1, 0.5]), attack=0.006, release=0.03
        ),
        "strings": lambda: Timbre(_harmonics(26, lambda n: n ** (-1.2 * tilt)), attack=0.18, release=0.25, vibrato=0.12),
        "saw": lambda: Timbre(
            _harmonics(40, lambda n: n**-tilt), attack=0.003, decay=rng.uniform(0.12, 0.35), damping=0.05, release=0.02
        ),
        "pad": lambda: Timbre(_harmonics(16, lambda n: n ** (-1.4 * tilt) * (n % 2 + 0.3)), attack=0.12, release=0.2),
        "bass": lambda: Timbre(
            _harmonics(12, lambda n: n ** (-1.5 * tilt)), attack=0.005, decay=rng.uniform(0.5, 1.2), damping=0.1, release=0.04
        ),
        "synth bass": lambda: Timbre(
            _harmonics(20, lambda n: n ** (-1.1 * tilt)), attack=0.003, decay=0.35, damping=0.15, release=0.03
        ),
    }
    return families[name]()


def drum_kit(rng: Rng) -> dict[str, np.ndarray]:
    """One hit of each drum, float64, peaks near 1; the same samples are struck all through a song."""
    return {
        "kick": _kick(rng),
        "snare": _snare(rng),
        "hat": _noise(rng, 0.05, rng.uniform(0.010, 0.025), 6500.0) * 0.5,
        "open hat": _noise(rng, 0.3, rng.uniform(0.06, 0.12), 6000.0) * 0.5,
        "clap": _clap(rng),
        "rim": _rim(rng),
        "crash": _noise(rng, 1.2, rng.uniform(0.25, 0.4), 4000.0) * 0.6,
        "shaker": _noise(rng, 0.08, 0.025, 5000.0) * np.linspace(0, 1, seconds_to_samples(0.08)) * 0.8,
    }


def _time(duration: float) -> np.ndarray:
    return np.arange(seconds_to_samples(duration)) / SAMPLE_RATE


def _kick(rng: Rng) -> np.ndarray:
    time = _time(0.35)
    low, high = rng.uniform(45, 60), rng.uniform(120, 260)
    phase = 2 * np.pi * np.cumsum(low + (high - low) * np.exp(-time / 0.03)) / SAMPLE_RATE
    click = rng.standard_normal(len(time)) * np.exp(-time / 0.003) * 0.3
    return np.sin(phase) * np.exp(-time / rng.uniform(0.08, 0.14)) + click


def _snare(rng: Rng) -> np.ndarray:
    time = _time(0.28)
    body = np.sin(2 * np.pi * rng.uniform(170, 240) * time) * np.exp(-time / 0.05)
    return 0.6 * body + _noise(rng, 0.28, rng.uniform(0.05, 0.09), 1200.0)


def _clap(rng: Rng) -> np.ndarray:
    time = _time(0.25)
    bursts = sum(np.exp(-np.maximum(time - start, 0) / 0.006) * (time >= start) for start in (0.0, 0.011, 0.022))
    return _band_noise(rng, len(time), 900.0, 4500.0) * (bursts * 0.5 + np.exp(-time / 0.06) * (time > 0.025) * 0.6)


def _rim(rng: Rng) -> np.ndarray:
    time = _time(0.08)
    pitch = rng.uniform(1500, 2100)
    return (np.sin(2 * np.pi * pitch * time) + 0.5 * np.sin(2 * np.pi * pitch * 1.73 * time)) * np.exp(-time / 0.012) * 0.7


def _noise(rng: Rng, duration: float, decay: float, low: float) -> np.ndarray:
    time = _time(duration)
    return _band_noise(rng, len(time), low, 16_000.0) * np.exp(-time / decay) * np.minimum(1, (duration - time) / (duration * 0.3))


def _band_noise(rng: Rng, samples: int, low: float, high: float) -> np.ndarray:
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    shape = 1 / (1 + (low / np.maximum(frequency, 1.0)) ** 6) / (1 + (frequency / high) ** 8)
    wave = np.fft.irfft(spectrum * shape, samples)
    return wave / (np.abs(wave).max() + 1e-9)
