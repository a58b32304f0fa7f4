"""What a mixing desk does: equaliser, compressor, saturation, reverb, delay, width, lossy coding; all on float64 (2, samples)."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import soundfile
from scipy.signal import fftconvolve, sosfilt

from demo.song import SAMPLE_RATE, Rng

BLOCK = 256  # samples between two values of a compressor's gain


def shelf(wave: np.ndarray, hz: float, decibels: float, high: bool) -> np.ndarray:
    """A low or high shelf of slope 1 (Bristow-Johnson, Audio EQ Cookbook)."""
    a = 10 ** (decibels / 40)
    omega = 2 * np.pi * hz / SAMPLE_RATE
    cosine = np.cos(omega) * (-1 if high else 1)
    alpha = np.sin(omega) / np.sqrt(2)
    root = 2 * np.sqrt(a) * alpha
    b = a * np.array([(a + 1) - (a - 1) * cosine + root, 2 * ((a - 1) - (a + 1) * cosine), (a + 1) - (a - 1) * cosine - root])
    c = np.array([(a + 1) + (a - 1) * cosine + root, -2 * ((a - 1) + (a + 1) * cosine), (a + 1) + (a - 1) * cosine - root])
    if high:
        b[1], c[1] = -b[1], -c[1]
    return sosfilt(np.concatenate([b, c])[None] / c[0], wave)


def peak(wave: np.ndarray, hz: float, decibels: float, q: float = 1.0) -> np.ndarray:
    """A bell (Bristow-Johnson)."""
    a, omega = 10 ** (decibels / 40), 2 * np.pi * hz / SAMPLE_RATE
    alpha = np.sin(omega) / (2 * q)
    middle = -2 * np.cos(omega)
    return sosfilt(np.array([[1 + alpha * a, middle, 1 - alpha * a, 1 + alpha / a, middle, 1 - alpha / a]]) / (1 + alpha / a), wave)


def compressor_gain(wave: np.ndarray, threshold: float, ratio: float, attack: float = 0.01, release: float = 0.15) -> np.ndarray:
    """Gain for every sample, shape (samples,), that reduces what is louder (RMS of 6 ms) than a threshold in dB."""
    blocks = -(-wave.shape[1] // BLOCK)
    padded = np.pad(wave, ((0, 0), (0, blocks * BLOCK - wave.shape[1])))
    level = 10 * np.log10(np.mean(padded.reshape(2, blocks, BLOCK) ** 2, axis=(0, 2)) + 1e-12)
    wanted = -np.maximum(level - threshold, 0) * (1 - 1 / ratio)
    rise, fall = (np.exp(-BLOCK / SAMPLE_RATE / seconds) for seconds in (release, attack))
    gain, now = np.empty(blocks), 0.0
    for i, goal in enumerate(wanted):
        keep = fall if goal < now else rise
        now = gain[i] = keep * now + (1 - keep) * goal
    return 10 ** (np.interp(np.arange(wave.shape[1]), np.arange(blocks) * BLOCK + BLOCK / 2, gain) / 20)


def compress(wave: np.ndarray, below_peak: float, ratio: float) -> np.ndarray:
    """Compress from so many dB below the loudest moment on."""
    loudest = 20 * np.log10(np.abs(wave).max() + 1e-9)
    return wave * compressor_gain(wave, loudest - below_peak, ratio)


def saturate(wave: np.ndarray, drive: float) -> np.ndarray:
    """Soft clipping after so many dB of gain, at the same peak."""
    top = np.abs(wave).max() + 1e-9
    gain = 10 ** (drive / 20)
    return np.tanh(wave * (gain / top)) * (top / np.tanh(gain))


def amplify(wave: np.ndarray, drive: float) -> np.ndarray:
    """A guitar amplifier and its cabinet, at the same power: distortion of the middle, no sizzle above."""
    driven = saturate(shelf(peak(wave, 700, 4.0), 100, -6, high=False), drive)
    out = shelf(peak(shelf(driven, 4500, -10, high=True), 110, 4.0), 9000, -12, high=True)
    return out * np.sqrt(np.mean(wave**2) / (np.mean(out**2) + 1e-12))


class Room:
    """A reverberation: decaying noise, different in both ears, duller as it fades."""

    def __init__(self, rng: Rng, seconds: float, predelay: float) -> None:
        samples = round(seconds * SAMPLE_RATE)
        time = np.arange(samples) / SAMPLE_RATE
        noise = rng.standard_normal((2, samples)) * 10 ** (-3 * time / seconds)
        dull = sosfilt(np.array([[0.2, 0.0, 0.0, 1.0, -0.8, 0.0]]), noise)
        share = np.minimum(1, time / (0.3 * seconds))
        response = np.pad(noise * (1 - share) + 2 * dull * share, ((0, 0), (round(predelay * SAMPLE_RATE), 0)))
        self._response = shelf(response, 250, -12, high=False) / np.sqrt((response**2).sum(axis=1, keepdims=True))

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """What the room adds to a sound."""
        return fftconvolve(wave, self._response, axes=1)[:, : wave.shape[1]]


def echo(wave: np.ndarray, seconds: float, feedback: float) -> np.ndarray:
    """What a delay adds: three repeats from side to side, each duller."""
    out = np.zeros_like(wave)
    repeat = wave
    for count in range(3):
        shift = round(seconds * SAMPLE_RATE)
        repeat = shelf(np.pad(repeat, ((0, 0), (shift, 0)))[:, : wave.shape[1]] * feedback, 3000, -6, high=True)
        out += repeat * np.array([[1.0], [0.4]] if count % 2 == 0 else [[0.4], [1.0]])
    return out


def widen(wave: np.ndarray, width: float) -> np.ndarray:
    """Scale the side signal."""
    middle, side = (wave[0] + wave[1]) / 2, (wave[0] - wave[1]) / 2 * width
    return np.stack([middle + side, middle - side])


def coded(wave: np.ndarray, kind: str, level: float) -> np.ndarray:
    """There and back through MP3 or Ogg Vorbis.

    Args:
        level: of compression, 0 (least) to 1.
    """
    file = BytesIO()
    top = max(1.0, float(np.abs(wave).max()))
    options = {"MP3": {"subtype": "MPEG_LAYER_III"}, "OGG": {"subtype": "VORBIS"}}[kind]
    soundfile.write(file, (wave / top).T, SAMPLE_RATE, format=kind, compression_level=level, **options)
    file.seek(0)
    back = soundfile.read(file, always_2d=True)[0].T[:, : wave.shape[1]] * top
    return np.pad(back, ((0, 0), (0, wave.shape[1] - back.shape[1])))
