"""Level difference of two spectrogram images that are each relative to a maximum of their own."""

from __future__ import annotations

import numpy as np

from riff.spectrogram.image import SILENCE
from riff.spectrogram.params import STANDARD, SpectrogramParams


def level_ratio(before: np.ndarray, after: np.ndarray, params: SpectrogramParams = STANDARD) -> float:
    """Factor between the magnitudes of the same sound in the images `after` and `before`.

    Where the sound is loud and nothing was added or lost, the ratio of the magnitudes is constant. The estimate is the mode of
    the ratios: the median of the shortest interval that holds a quarter of the ratios at the darkest tenth of the pixels of
    `before`. Changes that cover less than three quarters of these pixels do not affect it.

    Args:
        before, after: uint8, shape (n_mels, frames).

    Returns:
        [1/16, 16]; 1 where `before` is silent.
    """
    ink, ink_after = SILENCE - before.astype(np.float64), SILENCE - after.astype(np.float64)
    dark = ink >= max(64.0, np.quantile(ink, 0.9))
    if not dark.any():
        return 1.0
    ratios = np.sort(ink_after[dark] / ink[dark])
    quarter = max(1, len(ratios) // 4)
    start = int(np.argmin(ratios[quarter:] - ratios[:-quarter])) if len(ratios) > quarter else 0
    mode = np.median(ratios[start : start + quarter + 1])
    return float(np.clip(mode, 0.5, 2.0) ** (1 / params.power_for_image))
