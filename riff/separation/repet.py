"""Separation without learned weights: the accompaniment repeats, the voice does not."""

from __future__ import annotations

from functools import lru_cache

import librosa
import numpy as np
from scipy.ndimage import uniform_filter

from riff.audio.io import to_channels
from riff.separation.stems import ACCOMPANIMENT, VOCALS, Stems

BLOCK_S = 60.0  # bounds the memory of a long song: its frames are compared with each other inside a block only
OVERLAP_S = 4.0  # of blocks, crossfaded
MIN_DURATION_S = 1.0  # for repetitions
FRAME_S = 4096 / 44_100
REPEAT_AFTER_S = 2.0  # nearer frames are similar because notes last, not because music repeats
MAX_NEIGHBOURS = 50  # of a median, whose cost grows with their number
MIN_VOICE_HZ = 200.0  # below it kick and bass outweigh a voice's fundamental
CENTRE_WIDTH = 0.1  # of the voice around the stereo centre (1 - similarity of left and right)

PITCHES_HZ = 80.0 * 2.0 ** (np.arange(216) / 60)  # 80 to 960 Hz in steps of 20 cents
HARMONICS = 12
HARMONIC_DECAY = 0.85
PITCH_REACH = 41  # states of a melody's transition from frame to frame, 20 cents apart
COMB_TOP_HZ = 6000.0  # above it consonants outweigh harmonics


class RepetSeparator:
    """REPET-SIM with two more cues, the stereo centre and the melody, each a soft mask between 0 and 1.

    1. Repetition: a frame's background is the median of the frames most like it, elsewhere in the song (Rafii and
       Pardo, "Music/voice separation using the similarity matrix", ISMIR 2012).
    2. Centre: a voice is mixed to the centre, unlike bins where left and right differ (Avendano, WASPAA 2003).
    3. Pitch: the strongest melody after the first two masks, and a comb of its harmonics (Rafii, Duan and Pardo,
       "Combining rhythm-based and pitch-based methods for background and melody separation", TASLP 2014).

    It needs music that repeats. A lead instrument is classified as voice, a voice panned to one side as accompaniment, and
    songs under a second are all accompaniment.
    """

    name = "repet"

    def separate(self, waveform: np.ndarray, sample_rate: int) -> Stems:
        """Separate float32 (channels, samples); see `riff.separation.separator.Separator`."""
        samples = waveform.shape[1]
        block, overlap = round(BLOCK_S * sample_rate), round(OVERLAP_S * sample_rate)
        vocals = np.zeros(waveform.shape, np.float32)
        weight = np.zeros(samples, np.float32)
        for start in _block_starts(samples, block, overlap):
            part = waveform[:, start : start + block]
            fade = _fade(part.shape[1], overlap)
            vocals[:, start : start + block] += fade * _extract_vocals(part, sample_rate)
            weight[start : start + block] += fade
        vocals /= weight
        return Stems({VOCALS: vocals, ACCOMPANIMENT: waveform - vocals})


def _block_starts(samples: int, block: int, overlap: int) -> list[int]:
    """Evenly spread starts of equally long blocks that overlap by `overlap` samples or more."""
    count = max(1, -(-(samples - overlap) // (block - overlap)))
    return [round(start) for start in np.linspace(0, max(0, samples - block), count)]


def _fade(samples: int, overlap: int) -> np.ndarray:
    """1 inside, falling linearly towards 0 over `overlap` samples at both ends; float32, shape (samples,)."""
    rising = np.arange(1, samples + 1, dtype=np.float32) / (overlap + 1)
    return np.minimum(1.0, np.minimum(rising, rising[::-1]))


def _extract_vocals(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """float32 (channels, samples) -> the same shape."""
    audible = waveform[np.abs(waveform).max(axis=1, initial=0.0) > 0]  # a silent channel does not tell where the centre is
    if waveform.shape[1] < MIN_DURATION_S * sample_rate or len(audible) == 0:
        return np.zeros_like(waveform, dtype=np.float32)
    n_fft = 2 ** round(np.log2(FRAME_S * sample_rate))
    hop = n_fft // 4
    left, right = (librosa.stft(channel, n_fft=n_fft, hop_length=hop) for channel in to_channels(audible, 2))
    mask = _voice_mask(left, right, sample_rate, n_fft)
    # Channel by channel: eight channels of spectra at 96 kHz would be 700 MB.
    masked = (mask * librosa.stft(channel, n_fft=n_fft, hop_length=hop) for channel in waveform)
    return np.stack([librosa.istft(spectrum, n_fft=n_fft, hop_length=hop, length=waveform.shape[1]) for spectrum in masked])


def _voice_mask(left: np.ndarray, right: np.ndarray, sample_rate: int, n_fft: int) -> np.ndarray:
    """The voice's share of every bin: complex64 (bins, frames) twice -> float32 (bins, frames), in [0, 1]."""
    magnitude = (np.abs(left) + np.abs(right)) / 2
    magnitude /= magnitude.max()
    frequencies = librosa.fft_frequencies(sr=sample_rate, n_fft=n_fft)
    mask = _non_repeating(magnitude, frames_apart=round(REPEAT_AFTER_S * sample_rate * 4 / n_fft))
    mask *= np.exp((_similarity(left, right) - 1) / CENTRE_WIDTH)
    mask[frequencies < MIN_VOICE_HZ] = 0  # first, or the bass line is tracked as the melody
    mask = np.sqrt(mask) * _melody_comb(magnitude * mask, frequencies)  # the root, because repetition is less certain than pitch
    return mask.astype(np.float32)


def _non_repeating(magnitude: np.ndarray, frames_apart: int) -> np.ndarray:
    """The share of (bins, frames) that exceeds the median of similar other frames, in [0, 1].

    The result of `librosa.decompose.nn_filter` with the cosine metric, to the bit. Of more candidates than it needs, it takes the
    earliest: the most similar ones repeat the voice as well.
    """
    by_frame = np.ascontiguousarray(magnitude.T)
    width = min(frames_apart, len(by_frame) // 3)
    count = min(MAX_NEIGHBOURS, 2 * int(np.ceil(np.sqrt(len(by_frame) - 2 * width + 1))))
    unit = by_frame / np.maximum(np.linalg.norm(by_frame, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -1)
    among = min(len(by_frame) - 1, count + 2 * width)
    nearest = np.argpartition(-similarity, among - 1, axis=1)[:, :among]
    similar = np.empty_like(by_frame)
    for frame, candidates in enumerate(nearest):
        chosen = np.sort(candidates[np.abs(candidates - frame) >= width])[:count]
        similar[frame] = np.median(by_frame[chosen], axis=0) if len(chosen) else by_frame[frame]
    return 1 - np.minimum(magnitude, similar.T) / np.maximum(magnitude, 1e-12)


def _similarity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """2 Re<L, R> / (|L|^2 + |R|^2) over 3x3 bins, in [0, 1]: 1 where left and right are the same."""
    cross = uniform_filter((left * right.conj()).real, 3)
    power = uniform_filter(np.abs(left) ** 2 + np.abs(right) ** 2, 3)
    return np.clip(2 * cross / np.maximum(power, 1e-12 * power.max()), 0, 1)


def _melody_comb(magnitude: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Track the melody in (bins, frames); return a comb filter, near 1 on its harmonics and 0.15 between them.

    Without a clear pitch it is 0.3 everywhere, for consonants.
    """
    spacing = frequencies[1]
    salience = np.maximum(_pitch_kernel(len(frequencies), spacing) @ magnitude, 0)  # (pitches, frames)
    salience /= np.percentile(salience.max(axis=0), 90) + 1e-9
    likelihood = np.exp(5 * (salience - salience.max(axis=0)))  # at most 1, or a pure tone overflows
    steps = librosa.sequence.transition_local(len(PITCHES_HZ), PITCH_REACH, window="triangle", wrap=False)
    path = librosa.sequence.viterbi(likelihood / likelihood.sum(axis=0), 0.99 * steps + 0.01 / len(PITCHES_HZ))
    pitch = PITCHES_HZ[path].astype(np.float32)  # (frames,)
    voiced = np.clip(salience[path, np.arange(len(path))] / 0.35, 0, 1) ** 2

    rows = frequencies[:, None].astype(np.float32)
    distance = rows - pitch * np.maximum(np.round(rows / pitch), 1)  # Hz from the nearest harmonic
    comb = np.exp(-0.5 * (distance / (1.2 * spacing + 0.015 * rows)) ** 2)  # vibrato widens high harmonics
    comb[frequencies > COMB_TOP_HZ] = 0.5
    return voiced * (0.15 + 0.85 * comb) + (1 - voiced) * 0.3


@lru_cache(maxsize=4)
def _pitch_kernel(bins: int, spacing: float) -> np.ndarray:
    """Harmonic summation: a pitch's harmonics minus the bins half way between them; float32 (pitches, bins)."""
    kernel = np.zeros((len(PITCHES_HZ), bins), np.float32)
    rows = np.arange(len(PITCHES_HZ))
    for harmonic in range(1, HARMONICS + 1):
        for multiple, gain in ((harmonic, 1.0), (harmonic - 0.5, -0.4)):
            position = PITCHES_HZ * multiple / spacing
            inside = position < bins - 1
            below = position[inside].astype(int)
            fraction = position[inside] - below
            kernel[rows[inside], below] += gain * HARMONIC_DECAY ** (harmonic - 1) * (1 - fraction)
            kernel[rows[inside], below + 1] += gain * HARMONIC_DECAY ** (harmonic - 1) * fraction
    return kernel
