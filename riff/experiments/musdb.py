"""The clips of a data set of songs that models are evaluated on, and their prompts, by a fixed rule.

docs/musdb_vocal_inpainting.md states the rule in words. A change of it makes another benchmark: raise RULE_VERSION.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from riff.audio.clips import SILENCE_RMS, rms
from riff.experiments.clips import ReferenceClip, clips_of_folder
from riff.metrics.edit import melody_of
from riff.metrics.melody import REGISTER_BOUNDARY, median_pitch
from riff.spectrogram.image import waveform_to_image
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

RULE_VERSION = 1
PARTS = 3  # of a song, a clip from each
FRAMES_PER_SECOND = 10
VOCAL_LEVEL = 0.1  # -20 dB relative to the vocals' RMS over all frames that are not silent
MIN_VOCAL_SHARE = 0.75  # of a clip's frames


def choose_clips(vocals: np.ndarray, accompaniment: np.ndarray) -> list[int]:
    """In every third of a song, the first clip that has a vocal nearly throughout.

    Clips begin on whole seconds and end in the third in which they begin. A 100 ms frame has a vocal if the vocals' RMS is
    above -20 dB of their RMS over all frames that are not silent (-80 dB); a clip is eligible if three quarters of its frames
    have a vocal and its accompaniment is not silent.

    Args:
        vocals, accompaniment: float32, shape (channels, samples), at 44.1 kHz.

    Returns:
        Their first samples, rising: at most three.
    """
    rate, samples = STANDARD.sample_rate, vocals.shape[1]
    has_vocal = _frames_with_vocal(vocals)
    chosen = []
    for part in range(PARTS):
        first, end = part * samples // PARTS, (part + 1) * samples // PARTS
        for start in range(-(-first // rate) * rate, end - CLIP_SAMPLES + 1, rate):
            frames = has_vocal[start * FRAMES_PER_SECOND // rate : (start + CLIP_SAMPLES) * FRAMES_PER_SECOND // rate]
            backing = accompaniment[:, start : start + CLIP_SAMPLES]
            if frames.mean() >= MIN_VOCAL_SHARE and rms(backing) > SILENCE_RMS:
                chosen.append(start)
                break
    return chosen


def _frames_with_vocal(vocals: np.ndarray) -> np.ndarray:
    """bool, shape (frames,), for every whole tenth of a second."""
    length = STANDARD.sample_rate // FRAMES_PER_SECOND
    frames = vocals.shape[1] // length
    mono = vocals.mean(axis=0, dtype=np.float64)[: frames * length].reshape(frames, length)
    power = np.square(mono).mean(axis=1)
    audible = power > SILENCE_RMS**2
    if not audible.any():
        return audible
    return power > VOCAL_LEVEL**2 * power[audible].mean()


def benchmark_clips(folder: Path) -> list[ReferenceClip]:
    """The benchmark's clips of a folder in MUSDB18's layouts; prompts in the folder override `describe_vocal`.

    Raises:
        AudioError: as `clips_of_folder`.
    """
    return clips_of_folder(folder, choose_clips, describe_vocal)


def describe_vocal(vocals: np.ndarray) -> str:
    """A prompt for a clip's vocals: female or male by their median pitch, neither without a pitch.

    Args:
        vocals: float32, shape (channels, samples), at 44.1 kHz.
    """
    note = median_pitch(melody_of(waveform_to_image(torch.from_numpy(vocals)).pixels))
    register = "" if np.isnan(note) else "female " if note >= REGISTER_BOUNDARY else "male "
    return f"Generate a {register}vocal melody"
