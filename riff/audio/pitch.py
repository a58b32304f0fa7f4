"""Pitch of a recorded voice."""

from __future__ import annotations

import librosa
import numpy as np

from riff.audio.io import resample, to_channels

RATE = 16_000  # Hz
FRAME, HOP = 1024, 320  # samples: 64 and 20 ms
LOWEST_HZ, HIGHEST_HZ = 80.0, 1_000.0  # E2, below a baritone's range, to B5
MIN_PROBABILITY = 0.3  # of a frame's being voiced: what a separator leaves of the instruments lies below
MIN_VOICED = 10  # frames


def track_pitch(
    waveform: np.ndarray, sample_rate: int, lowest_hz: float, highest_hz: float, hop: int = HOP, resolution: float = 0.1
) -> np.ndarray:
    """The pitch of one voice, by pYIN (Mauch and Dixon, ICASSP 2014; `librosa.pyin`).

    Args:
        waveform: float32, shape (channels, samples). hop: samples at 16 kHz from frame to frame. resolution: semitones.

    Returns:
        float64, shape (frames,), fractional MIDI numbers, NaN where a pitch is not probable.
    """
    mono = resample(to_channels(waveform, 1), sample_rate, RATE)[0]
    mono = librosa.util.fix_length(mono, size=max(len(mono), FRAME))
    hertz, _, probability = librosa.pyin(
        mono, fmin=lowest_hz, fmax=highest_hz, sr=RATE, frame_length=FRAME, hop_length=hop, resolution=resolution
    )
    return librosa.hz_to_midi(np.where(probability > MIN_PROBABILITY, hertz, np.nan))


def median_note(waveform: np.ndarray, sample_rate: int) -> float:
    """The median pitch of a recorded voice where it is voiced.

    Args:
        waveform: float32, shape (channels, samples), of one voice.

    Returns:
        A fractional MIDI number, from 40 to 83; NaN where less than 0.2 s are voiced.
    """
    notes = track_pitch(waveform, sample_rate, LOWEST_HZ, HIGHEST_HZ)
    voiced = np.isfinite(notes)
    return float(np.median(notes[voiced])) if voiced.sum() >= MIN_VOICED else float("nan")
