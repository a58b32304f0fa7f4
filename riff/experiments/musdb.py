"""Which clips of a data set of songs a model is measured on, and what it is asked for: chosen by rule, the same for everyone.

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
FRAMES_A_SECOND = 10
SUNG_LEVEL = 0.1  # -20 dB: frames that are louder than this against the vocals where they sound are sung
SUNG_SHARE = 0.75  # of a clip's frames


def choose_clips(vocals: np.ndarray, accompaniment: np.ndarray) -> list[int]:
    """The first clip in every third of a song that is sung nearly throughout.

    Clips begin on whole seconds and end in the third in which they begin. A 100 ms frame is sung if the vocals' RMS is above
    -20 dB of their RMS over all frames that are not silent (-80 dB); a clip counts if three quarters of its frames are sung and
    its accompaniment is not silent.

    Args:
        vocals, accompaniment: float32, shape (channels, samples), at 44.1 kHz.

    Returns:
        Their first samples, rising: at most three.
    """
    rate, samples = STANDARD.sample_rate, vocals.shape[1]
    sung = _sung_frames(vocals)
    chosen = []
    for part in range(PARTS):
        first, end = part * samples // PARTS, (part + 1) * samples // PARTS
        for start in range(-(-first // rate) * rate, end - CLIP_SAMPLES + 1, rate):
            frames = sung[start * FRAMES_A_SECOND // rate : (start + CLIP_SAMPLES) * FRAMES_A_SECOND // rate]
            band = accompaniment[:, start : start + CLIP_SAMPLES]
            if frames.mean() >= SUNG_SHARE and rms(band) > SILENCE_RMS:
                chosen.append(start)
                break
    return chosen


def _sung_frames(vocals: np.ndarray) -> np.ndarray:
    """bool, shape (frames,), for every whole tenth of a second."""
    length = STANDARD.sample_rate // FRAMES_A_SECOND
    frames = vocals.shape[1] // length
    mono = vocals.mean(axis=0, dtype=np.float64)[: frames * length].reshape(frames, length)
    power = np.square(mono).mean(axis=1)
    sounding = power > SILENCE_RMS**2
    if not sounding.any():
        return sounding
    return power > SUNG_LEVEL**2 * power[sounding].mean()


def benchmark_clips(folder: Path) -> list[ReferenceClip]:
    """The benchmark's clips of a folder in MUSDB18's layouts; a prompt of the folder's own goes before `describe_vocal`.

    Raises:
        AudioError: as `clips_of_folder`.
    """
    return clips_of_folder(folder, choose_clips, describe_vocal)


def describe_vocal(vocals: np.ndarray) -> str:
    """A prompt that says what a listener would of a clip's vocals: whether they are high or low.

    Args:
        vocals: float32, shape (channels, samples), at 44.1 kHz.
    """
    note = median_pitch(melody_of(waveform_to_image(torch.from_numpy(vocals)).pixels))
    register = "" if np.isnan(note) else "female " if note >= REGISTER_BOUNDARY else "male "
    return f"Generate a {register}vocal melody"
