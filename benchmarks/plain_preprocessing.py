"""How the predecessor made its pairs, from its description: every clip at every pitch from the start.

A clip of the full mix, the accompaniment and the vocals is shifted in time by librosa; the mix and the accompaniment are
transformed anew (17,640 points, torch), multiplied with the whole mel filterbank and written as JPEGs; and the edges are found
in the accompaniment's image as it is read back.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import librosa
import numpy as np
import torch
from PIL import Image

from riff.spectrogram.mel import mel_filterbank
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

CANNY = (100, 200)


def make_pair(folder: Path, name: str, parts: Sequence[np.ndarray], semitones: int) -> None:
    """Write NAME.jpg under `target/` and `source/`.

    Args:
        parts: mix, accompaniment and vocals of a clip, float32, shape (samples,).
    """
    shifted = [
        librosa.effects.pitch_shift(part, sr=STANDARD.sample_rate, n_steps=semitones) if semitones else part for part in parts
    ]
    for kind, sound in zip(("target", "source"), shifted, strict=False):  # the vocals are shifted to see whether there are any
        spectrogram_image(sound).save(folder / kind / f"{name}.jpg")
    path = str(folder / "source" / f"{name}.jpg")
    image = cv2.imread(path)
    assert image is not None
    cv2.imwrite(path, cv2.Canny(image, *CANNY))


def spectrogram_image(sound: np.ndarray) -> Image.Image:
    window = torch.hann_window(STANDARD.win_length)
    sizes = (STANDARD.n_fft, STANDARD.hop_length, STANDARD.win_length, window)
    spectrum = torch.stft(torch.from_numpy(sound[:CLIP_SAMPLES]), *sizes, pad_mode="reflect", return_complex=True).abs()
    mel = (mel_filterbank(STANDARD, len(spectrum)) @ spectrum).numpy()
    grey = (255 - 255 * (mel / mel.max()) ** STANDARD.power_for_image).astype(np.uint8)[::-1]
    return Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2))


def make_pairs(folder: Path, slug: str, parts: Sequence[np.ndarray], starts: Sequence[int], pitches: Sequence[int]) -> int:
    """All pairs of a song; parts: mix, accompaniment and vocals, float32, shape (channels, samples). Returns how many."""
    for kind in ("target", "source"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for start in starts:
        clip = [part[:, start : start + CLIP_SAMPLES].mean(axis=0) for part in parts]
        for semitones in pitches:
            make_pair(folder, f"{slug}_{start}_{semitones}", clip, semitones)
    return len(starts) * len(pitches)
