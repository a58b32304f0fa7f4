"""Similarity of two images.

Every function is deterministic and computes in float64 on arguments of the same type and size. A score that is undefined because
both sides are empty (no edges, constant images) is 1, and 0 if only one side is, so that a mean over songs stays finite.
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
    recall and keeps F1. The F1 of noise is far above 0: compare with the floor and the ceiling.

    Args:
        sample_edges, reference_edges: uint8 or bool, shape (height, width), an edge wherever nonzero.
        tolerance: pixels, >= 0.
        mask: bool, shape (height, width), True where pixels are scored; a match may lie outside it (default: everywhere).

    Returns:
        Each score in [0, 1], higher is better. The share of a map without edges is 1, so F1 is 1 if both are empty and 0 if
        one is.

    Raises:
        DataError: wrong types, different shapes, maps with more than two levels, or an empty mask.
    """
    if tolerance < 0:
        raise DataError(f"edge_scores: a tolerance of {tolerance} pixels is impossible; give 0 or more")
    sample, reference = _edge_map(sample_edges), _edge_map(reference_edges)
    scored = _mask(mask, sample, reference)
    square = np.ones((2 * tolerance + 1, 2 * tolerance + 1), np.uint8)

    def matched_share(edges: np.ndarray, counterpart: np.ndarray) -> float:
        counted = edges.astype(bool) & scored
        total = int(counted.sum())
        return int((counted & cv2.dilate(counterpart, square).astype(bool)).sum()) / total if total else 1.0

    precision, recall = matched_share(sample, reference), matched_share(reference, sample)
    total = precision + recall
    return EdgeScores(precision, recall, 2 * precision * recall / total if total else 0.0)


class RegionEdgeScores(NamedTuple):
    """Edge scores inside and outside a region; None for an empty side."""

    inside: EdgeScores | None
    outside: EdgeScores | None


def edge_scores_by_region(
    sample_edges: np.ndarray, reference_edges: np.ndarray, region: np.ndarray, tolerance: int = 1
) -> RegionEdgeScores:
    """`edge_scores` inside and outside a region.

    Inside `vocal_region`, with the true mix as reference, it scores the vocal; outside, with the accompaniment as reference, the
    backing. Most edges are the backing's, so a score over all pixels would hide the vocal's.

    Args:
        sample_edges, reference_edges, tolerance: as for `edge_scores`.
        region: bool, shape (height, width), True inside; it may fill the image or be empty.

    Raises:
        DataError: as `edge_scores`.
    """

    def side(mask: np.ndarray) -> EdgeScores | None:
        return edge_scores(sample_edges, reference_edges, tolerance, mask) if mask.any() else None

    return RegionEdgeScores(side(region), side(~region))


def vocal_region(accompaniment: SpectrogramImage, mix: SpectrogramImage, threshold: float = 16, margin: int = 3) -> np.ndarray:
    """The vocal's pixels: those that differ between accompaniment and mix, dilated.

    The accompaniment is rescaled to the mix's maximum first, since each image is relative to its own.

    Args:
        threshold: minimum difference of a pixel in grey levels, exclusive.
        margin: pixels of dilation in every direction.

    Returns:
        bool, shape (n_mels, frames), True on the vocal; score the backing's edges with `mask=~vocal_region(...)`.

    Raises:
        DataError: images of different shapes or spectrogram parameters.
    """
    if accompaniment.params != mix.params:
        raise DataError("vocal_region: accompaniment and mix have different spectrogram parameters; compute both with the same")
    backing, whole = _grey_pair(accompaniment.pixels, mix.pixels)
    if mix.max_value <= 0:
        return np.zeros(whole.shape, bool)
    scale = (accompaniment.max_value / mix.max_value) ** mix.params.power_for_image
    rescaled = np.clip(SILENCE - (SILENCE - backing) * scale, 0, SILENCE)
    differs = (np.abs(rescaled - whole) > threshold).astype(np.uint8)
    return cv2.dilate(differs, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)).astype(bool)


def gradient_correlation(sample: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Similarity of two images' edges without a threshold: Pearson's correlation of their gradient magnitudes.

    Args:
        sample, reference: uint8 grey levels, shape (height, width); gradients are OpenCV's 3x3 Sobel.
        mask: bool, shape (height, width), True where pixels are scored (default: everywhere).

    Returns:
        [-1, 1], higher is better, 0 for independent noise; symmetric.

    Raises:
        DataError: wrong types, different shapes, or an empty mask.
    """
    grey, reference_grey = _grey_pair(sample, reference)
    scored = _mask(mask, grey, reference_grey)

    def gradient(pixels: np.ndarray) -> np.ndarray:
        return np.hypot(cv2.Sobel(pixels, cv2.CV_64F, 1, 0), cv2.Sobel(pixels, cv2.CV_64F, 0, 1))

    return correlation(gradient(grey)[scored], gradient(reference_grey)[scored])


def grey_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of two images, uint8 of shape (height, width): [0, 255] grey levels, lower is better.

    Raises:
        DataError: wrong types or different shapes.
    """
    a, b = _grey_pair(a, b)
    return float(np.abs(a - b).mean())


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two vectors: [-1, 1]; 1 for two constants and 0 for one. Empty vectors count as constants."""
    constant_a, constant_b = (x.size == 0 or bool(np.ptp(x) == 0) for x in (a, b))
    if constant_a or constant_b:
        return float(constant_a and constant_b)
    a, b = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (a, b))
    return float(np.clip((a / np.linalg.norm(a)) @ (b / np.linalg.norm(b)), -1.0, 1.0))


def _edge_map(edges: np.ndarray) -> np.ndarray:
    """The map as 0 and 1, uint8. More than two levels indicate a lossy file or an image that is not an edge map."""
    if not isinstance(edges, np.ndarray) or edges.dtype not in (np.uint8, np.bool_) or edges.ndim != 2 or edges.size == 0:
        raise DataError(f"an edge map must be uint8 or bool of shape (height, width), not {_describe(edges)}")
    levels = edges[edges != 0]
    if levels.size and levels.min() != levels.max():
        raise DataError("an edge map must hold two levels; save edges as PNG, not JPEG, and do not pass a spectrogram")
    return (edges != 0).astype(np.uint8)


def _grey_pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    for pixels in (a, b):
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.size == 0:
            raise DataError(f"an image must be uint8 grey levels of shape (height, width), not {_describe(pixels)}")
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
        raise DataError(f"images of shapes {a.shape} and {b.shape} cannot be compared; cut them to the same size")


def _describe(value: object) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
