"""Can the places be found where a long picture was put together? What changes across borders, against everywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from riff.errors import DataError
from riff.spectrogram.image import SILENCE, SpectrogramImage, image_to_mel

CONTEXT = 10  # frames on either side of a border: 100 ms, the length of the analysis window
SILENT_FRAME = 1e-6  # -60 dB of the loudest frame's energy: quieter frames count as this loud


class SeamCurves(NamedTuple):
    """What changes between frame i - 1 and frame i, for every i: float64, shape (frames,), >= 0, higher is more change.

    Attributes:
        flux: mean over bands of what each gains in ink from one frame to the next, the half-wave rectified spectral flux (Dixon,
            "Onset Detection Revisited", DAFx 2006) of magnitudes compressed as the picture compresses them; grey levels.
        level: difference of the mean energies of the 10 frames before and the 10 after; dB.
        distance: 1 - cosine similarity of their mean ink, the novelty of a song's self-similarity (Foote, ICME 2000) between
            two segments of 10 frames; in [0, 1].

    Places that have fewer than 10 frames before or after them are NaN.
    """

    flux: np.ndarray
    level: np.ndarray
    distance: np.ndarray


def seam_curves(pixels: np.ndarray) -> SeamCurves:
    """Measure a picture; its maximum does not matter.

    Args:
        pixels: uint8, shape (n_mels, frames).

    Raises:
        DataError: not such a picture, or one without 10 frames before and 10 after some place.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] < 2 * CONTEXT:
        raise DataError(
            f"seams are looked for in uint8 pictures of {2 * CONTEXT} frames or more, not {pixels.dtype} {pixels.shape}"
        )
    ink = SILENCE - pixels.astype(np.float64)
    energy = image_to_mel(SpectrogramImage(pixels, 1.0)).double().square().sum(dim=0).numpy()
    quietest = SILENT_FRAME * energy.max() or 1.0  # a silent picture has one level throughout
    earlier, later = _sides(np.maximum(energy, quietest)[None])
    places = slice(CONTEXT, pixels.shape[1] - CONTEXT + 1)
    curves = np.full((3, pixels.shape[1]), np.nan)
    curves[0, places] = np.maximum(np.diff(ink, axis=1), 0).mean(axis=0)[places.start - 1 : places.stop - 1]
    curves[1, places] = np.abs(10 * np.log10(later[0] / earlier[0]))
    curves[2, places] = _cosine_distance(*_sides(ink))
    return SeamCurves(*curves)


def _sides(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the frames before and after each place that has enough of them: (rows, frames) -> two of (rows, places)."""
    means = np.lib.stride_tricks.sliding_window_view(rows, CONTEXT, axis=1).mean(axis=-1)
    return means[:, :-CONTEXT], means[:, CONTEXT:]


def _cosine_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 - cosine similarity of columns, in [0, 1] for ink, which is never negative; silence is like silence and nothing else."""
    lengths = np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0)
    silent = (lengths[0] == 0).astype(int) + (lengths[1] == 0)
    cosine = (a * b).sum(axis=0) / np.maximum(lengths[0] * lengths[1], np.finfo(np.float64).tiny)
    return np.clip(np.where(silent == 2, 0.0, 1.0 - cosine), 0.0, 1.0)


def border_ratio(curves: Sequence[np.ndarray], borders: Sequence[Sequence[int]]) -> float:
    """How much more changes at the borders than elsewhere, over several songs.

    The mean of a curve at the borders over its mean at the places that no border's surroundings reach. 1 is no seam; music has its
    own rhythm, so compare with the ratio of a picture that has no borders, at the same places.

    Args:
        curves: one of the `SeamCurves` of each song. borders: the first frame after each border, for each song.

    Returns:
        >= 0; 1 where nothing changes anywhere, infinite where something changes at borders alone.

    Raises:
        DataError: no border, or nothing that is not near one.
    """
    at, elsewhere = [np.zeros(0)], [np.zeros(0)]
    for curve, places in zip(curves, borders, strict=True):
        away = ~np.isnan(curve)
        if not all(0 <= place < len(curve) and away[place] for place in places):
            raise DataError(f"a border needs {CONTEXT} frames on either side; leave those at the ends out")
        for place in places:
            away[max(0, place - CONTEXT) : place + CONTEXT + 1] = False
        at.append(curve[list(places)])
        elsewhere.append(curve[away])
    borders_change, others_change = np.concatenate(at), np.concatenate(elsewhere)
    if not len(borders_change) or not len(others_change):
        raise DataError("seams are found by comparing borders with what is not near one; give songs that have both")
    change, usual = borders_change.mean(), others_change.mean()
    if usual == 0:
        return 1.0 if change == 0 else np.inf
    return float(change / usual)
