"""Seams of a long image: change across window borders, relative to the change elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from riff.errors import DataError
from riff.spectrogram.image import SILENCE, SpectrogramImage, image_to_mel

CONTEXT = 10  # frames on either side of a border: 100 ms, the length of the analysis window
SILENT_FRAME = 1e-6  # -60 dB of the loudest frame's energy, a floor for all frames


class SeamCurves(NamedTuple):
    """Change between frames i - 1 and i, for every i: float64, shape (frames,), >= 0.

    Attributes:
        flux: half-wave rectified spectral flux (Dixon, "Onset Detection Revisited", DAFx 2006) of the image's compressed
            magnitudes, mean over bands; grey levels.
        level: difference of the mean energies of the 10 frames before and the 10 after; dB.
        distance: 1 - cosine similarity of their mean spectra, the self-similarity novelty (Foote, ICME 2000) of segments of 10
            frames; in [0, 1].

    NaN where there are fewer than 10 frames on either side.
    """

    flux: np.ndarray
    level: np.ndarray
    distance: np.ndarray


def seam_curves(pixels: np.ndarray) -> SeamCurves:
    """Compute the curves of an image of any level.

    Args:
        pixels: uint8, shape (n_mels, frames).

    Raises:
        DataError: an image of another type, or of fewer than 20 frames.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] < 2 * CONTEXT:
        raise DataError(f"seam curves need uint8 images of {2 * CONTEXT} frames or more, not {pixels.dtype} {pixels.shape}")
    darkness = SILENCE - pixels.astype(np.float64)
    energy = image_to_mel(SpectrogramImage(pixels, 1.0)).double().square().sum(dim=0).numpy()
    floor = SILENT_FRAME * energy.max() or 1.0  # of a silent image any constant
    earlier, later = _sides(np.maximum(energy, floor)[None])
    inner = slice(CONTEXT, pixels.shape[1] - CONTEXT + 1)
    curves = np.full((3, pixels.shape[1]), np.nan)
    curves[0, inner] = np.maximum(np.diff(darkness, axis=1), 0).mean(axis=0)[inner.start - 1 : inner.stop - 1]
    curves[1, inner] = np.abs(10 * np.log10(later[0] / earlier[0]))
    curves[2, inner] = _cosine_distance(*_sides(darkness))
    return SeamCurves(*curves)


def _sides(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the 10 frames before and after each inner frame: (rows, frames) -> two of (rows, frames - 19)."""
    means = np.lib.stride_tricks.sliding_window_view(rows, CONTEXT, axis=1).mean(axis=-1)
    return means[:, :-CONTEXT], means[:, CONTEXT:]


def _cosine_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 - cosine similarity of nonnegative columns, in [0, 1]: 0 between silent columns, 1 between silence and sound."""
    lengths = np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0)
    silent = (lengths[0] == 0).astype(int) + (lengths[1] == 0)
    cosine = (a * b).sum(axis=0) / np.maximum(lengths[0] * lengths[1], np.finfo(np.float64).tiny)
    return np.clip(np.where(silent == 2, 0.0, 1.0 - cosine), 0.0, 1.0)


def border_ratio(curves: Sequence[np.ndarray], borders: Sequence[Sequence[int]]) -> float:
    """Ratio of a curve's mean at borders to its mean more than 10 frames away, over several songs.

    1 is no seam. Music has its own rhythm, so compare with the ratio of an image without borders at the same frames.

    Args:
        curves: one of the `SeamCurves` of each song. borders: the first frame after each border, for each song.

    Returns:
        >= 0; 1 without any change, infinite with change at borders alone.

    Raises:
        DataError: no border, one within 10 frames of an end, or no frame away from borders.
    """
    at_borders, elsewhere = [np.zeros(0)], [np.zeros(0)]
    for curve, song_borders in zip(curves, borders, strict=True):
        away = ~np.isnan(curve)
        if not all(0 <= border < len(curve) and away[border] for border in song_borders):
            raise DataError(f"a border needs {CONTEXT} frames on either side; leave those at the ends out")
        for border in song_borders:
            away[max(0, border - CONTEXT) : border + CONTEXT + 1] = False
        at_borders.append(curve[list(song_borders)])
        elsewhere.append(curve[away])
    border_changes, other_changes = np.concatenate(at_borders), np.concatenate(elsewhere)
    if not len(border_changes) or not len(other_changes):
        raise DataError("a border ratio compares frames at borders with frames away from them; give songs that have both")
    border_mean, other_mean = border_changes.mean(), other_changes.mean()
    if other_mean == 0:
        return 1.0 if border_mean == 0 else np.inf
    return float(border_mean / other_mean)
