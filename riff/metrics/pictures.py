"""How like two pictures are, as numbers.

Every function is deterministic, computes in float64, and takes its two arguments in the same form and size. Where a score
is undefined because both sides are empty (no edges, constant pictures) it is 1, and where only one side is, it is 0, so
that a mean over songs stays finite.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from riff.errors import DataError
from riff.spectrogram.image import SILENCE, SpectrogramImage


class EdgeScores(NamedTuple):
    """Precision, recall and their harmonic mean, each in [0, 1], higher is better."""

    precision: float
    recall: float
    f1: float


def edge_scores(
    sample_edges: np.ndarray, reference_edges: np.ndarray, tolerance: int = 1, mask: np.ndarray | None = None
) -> EdgeScores:
    """Agreement of two edge maps up to a few pixels.

    An edge pixel of one map is matched if the other map has one within `tolerance` pixels (a square neighbourhood):
    precision is the matched share of the sample's pixels, recall that of the reference's. This is the boundary score of
    Martin, Fowlkes and Malik (PAMI 2004) without its one-to-one assignment. Exchanging the maps exchanges precision and
    recall and leaves F1. Noise has an F1 far above 0: read the figure next to its floor and its ceiling.

    Args:
        sample_edges, reference_edges: uint8 or bool, shape (height, width), an edge wherever nonzero.
        tolerance: pixels, >= 0.
        mask: bool, shape (height, width), True where pixels are scored; a match may lie outside it (default: everywhere).

    Returns:
        Each score in [0, 1], higher is better. A side without edges has none that is wrong: its share is 1, so F1 is 1 if
        both sides are empty and 0 if one is.

    Raises:
        DataError: wrong types, different shapes, maps with more than two levels, or a mask that leaves nothing.
    """
    if tolerance < 0:
        raise DataError(f"edge_scores: a tolerance of {tolerance} pixels means nothing; give 0 or more")
    sample, reference = _edge_map(sample_edges), _edge_map(reference_edges)
    scored = _mask(mask, sample, reference)
    square = np.ones((2 * tolerance + 1, 2 * tolerance + 1), np.uint8)

    def matched_share(edges: np.ndarray, others: np.ndarray) -> float:
        counted = edges.astype(bool) & scored
        total = int(counted.sum())
        return int((counted & cv2.dilate(others, square).astype(bool)).sum()) / total if total else 1.0

    precision, recall = matched_share(sample, reference), matched_share(reference, sample)
    total = precision + recall
    return EdgeScores(precision, recall, 2 * precision * recall / total if total else 0.0)


class RegionEdgeScores(NamedTuple):
    """Edge scores of the pixels inside a region and of all others; None for a side that has no pixel."""

    inside: EdgeScores | None
    outside: EdgeScores | None


def edge_scores_by_region(
    sample_edges: np.ndarray, reference_edges: np.ndarray, region: np.ndarray, tolerance: int = 1
) -> RegionEdgeScores:
    """`edge_scores` twice: where a vocal is, and everywhere else.

    Inside `vocal_region`, against the true mix's edges, the score says whether the vocal's outlines are the true ones; outside
    it, against the accompaniment's, whether the backing kept its own. One score over all pixels would hide the first in the
    second, since most edges are the backing's.

    Args:
        sample_edges, reference_edges, tolerance: as for `edge_scores`.
        region: bool, shape (height, width), True inside; it may fill the picture or be empty.

    Raises:
        DataError: as `edge_scores`.
    """

    def side(mask: np.ndarray) -> EdgeScores | None:
        return edge_scores(sample_edges, reference_edges, tolerance, mask) if mask.any() else None

    return RegionEdgeScores(side(region), side(~region))


def vocal_region(accompaniment: SpectrogramImage, mix: SpectrogramImage, threshold: float = 16, margin: int = 3) -> np.ndarray:
    """Where the vocal shows: the pixels that differ between the accompaniment and the mix, and their surroundings.

    Both are drawn against the mix's maximum first, since each image is scaled to its own.

    Args:
        threshold: grey levels that a pixel must differ by, more than this.
        margin: pixels by which the region grows in every direction.

    Returns:
        bool, shape (n_mels, frames), True on the vocal; score edges with `mask=~vocal_region(...)`.

    Raises:
        DataError: images of different shapes or spectrogram parameters.
    """
    if accompaniment.params != mix.params:
        raise DataError("vocal_region: accompaniment and mix have different spectrogram parameters; make both the same way")
    ours, theirs = _grey_pair(accompaniment.pixels, mix.pixels)
    if mix.max_value <= 0:
        return np.zeros(theirs.shape, bool)
    scale = (accompaniment.max_value / mix.max_value) ** mix.params.power_for_image
    redrawn = np.clip(SILENCE - (SILENCE - ours) * scale, 0, SILENCE)
    differs = (np.abs(redrawn - theirs) > threshold).astype(np.uint8)
    return cv2.dilate(differs, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)).astype(bool)


def gradient_correlation(sample: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Likeness of two pictures' outlines without a threshold: Pearson's correlation of their gradient magnitudes.

    Args:
        sample, reference: uint8 grey levels, shape (height, width); gradients are OpenCV's 3x3 Sobel.
        mask: bool, shape (height, width), True where pixels are scored (default: everywhere).

    Returns:
        [-1, 1], higher is better, 0 for independent noise; symmetric.

    Raises:
        DataError: wrong types, different shapes, or a mask that leaves nothing.
    """
    ours, theirs = _grey_pair(sample, reference)
    scored = _mask(mask, ours, theirs)

    def gradient(pixels: np.ndarray) -> np.ndarray:
        return np.hypot(cv2.Sobel(pixels, cv2.CV_64F, 1, 0), cv2.Sobel(pixels, cv2.CV_64F, 0, 1))

    return correlation(gradient(ours)[scored], gradient(theirs)[scored])


def grey_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of two pictures, uint8 of shape (height, width): [0, 255] grey levels, lower is better.

    Raises:
        DataError: wrong types or different shapes.
    """
    ours, theirs = _grey_pair(a, b)
    return float(np.abs(ours - theirs).mean())


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two vectors: [-1, 1]; two constants are alike (1), a constant and anything else are not (0).

    Vectors of no elements, as the onsets of a single frame are, are constants.
    """
    constant_a, constant_b = (x.size == 0 or bool(np.ptp(x) == 0) for x in (a, b))
    if constant_a or constant_b:
        return float(constant_a and constant_b)
    a, b = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (a, b))
    return float(np.clip((a / np.linalg.norm(a)) @ (b / np.linalg.norm(b)), -1.0, 1.0))


def _edge_map(edges: np.ndarray) -> np.ndarray:
    """The map as 0 and 1. More than two levels mean a lossy file or a picture that is no edge map."""
    if not isinstance(edges, np.ndarray) or edges.dtype not in (np.uint8, np.bool_) or edges.ndim != 2 or edges.size == 0:
        raise DataError(f"an edge map must be uint8 or bool of shape (height, width), not {_describe(edges)}")
    levels = edges[edges != 0]
    if levels.size and levels.min() != levels.max():
        raise DataError("an edge map must hold two levels; save edges as PNG, not JPEG, and do not pass a spectrogram")
    return (edges != 0).astype(np.uint8)


def _grey_pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    for pixels in (a, b):
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.size == 0:
            raise DataError(f"a picture must be uint8 grey levels of shape (height, width), not {_describe(pixels)}")
    _same_shape(a, b)
    return a.astype(np.float64), b.astype(np.float64)


def _mask(mask: np.ndarray | None, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    _same_shape(a, b)
    if mask is None:
        return np.ones(a.shape, bool)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise DataError(f"a mask must be bool, True where pixels are scored, not {_describe(mask)}")
    _same_shape(a, mask)
    if not mask.any():
        raise DataError("the mask leaves no pixel to score; leave this clip out")
    return mask


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise DataError(f"pictures of shapes {a.shape} and {b.shape} cannot be compared; cut them to the same size")


def _describe(value: object) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
