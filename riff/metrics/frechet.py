"""The Frechet distance of two sets of embeddings, and what it would be for endlessly many examples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from riff.errors import DataError

POINTS = 25  # sample sizes of an extrapolation
SMALLEST_SHARE = 0.25  # of the examples


class Extrapolation(NamedTuple):
    """A line through Frechet distances over 1 / sample size.

    Attributes:
        value: where it meets 1/N = 0; it may lie a little below 0.
        slope: what the distance gains with 1/N, the bias of small samples; >= 0 up to the noise of the draws.
        r2: share of the distances' variance that the line explains, at most 1. Below about 0.9 the value is a guess.
        points: (sample size, distance), as measured, in order of size.
    """

    value: float
    slope: float
    r2: float
    points: list[tuple[int, float]]


def frechet_distance(embeddings: np.ndarray, reference: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), means and covariances of two sets (Dowson and Landau, JMVA 1982).

    Of audio embeddings this is the Frechet Audio Distance (Kilgour et al., Interspeech 2019). The trace of the root is the sum of
    the singular values of R1 R2', where R'R = C by a QR factorisation of the centred examples: no matrix root is taken, and
    sets smaller than their dimension, whose covariances are singular, need no special care.

    Args:
        embeddings, reference: float, shapes (examples, dimensions) and (other examples, dimensions).

    Returns:
        >= 0, in squared units of the embeddings, lower is better; symmetric, unchanged by a rotation or shift of both. A
        set of few examples is biased upward, so only sets of one size compare; see `extrapolated_distance`.

    Raises:
        DataError: fewer than two examples in a set, other shapes, two dimensions, or values that are not finite.
    """
    ours, theirs = _checked(embeddings), _checked(reference)
    if ours.shape[1] != theirs.shape[1]:
        raise DataError(
            f"embeddings of {ours.shape[1]} and {theirs.shape[1]} dimensions cannot be compared; use one model for both"
        )
    (mean, root), (their_mean, their_root) = _moments(ours), _moments(theirs)
    overlap = np.linalg.svd(root @ their_root.T, compute_uv=False).sum()
    distance = np.square(mean - their_mean).sum() + np.square(root).sum() + np.square(their_root).sum() - 2 * overlap
    return max(0.0, float(distance))


def extrapolated_distance(embeddings: np.ndarray, reference: np.ndarray, seed: int = 0, points: int = POINTS) -> Extrapolation:
    """The Frechet distance for endlessly many examples, FAD-infinity.

    Chong and Forsyth (CVPR 2020) for pictures, Gui et al. (ICASSP 2024) for music, where fadtk computes it: the bias of N examples
    falls as 1/N, so distances at several N are laid on a straight line over 1/N. The sizes lie evenly between a quarter of
    the examples and all of them. Examples are drawn without replacement, as the former do and fadtk does not: drawn with
    replacement, the line leads to the set itself, with its bias, and not to what the set was drawn from. The reference is
    used whole and keeps its own bias.

    Args:
        embeddings, reference: as for `frechet_distance`.
        seed: of the draws; the same seed gives the same result.
        points: how many sizes, 2 or more; sizes that fall together count once.

    Raises:
        DataError: as `frechet_distance`, or fewer than three examples, which leave no two sizes.
    """
    ours = _checked(embeddings)
    sizes = np.unique(np.linspace(max(2, int(SMALLEST_SHARE * len(ours))), len(ours), max(2, points)).astype(int))
    if len(sizes) < 2:
        raise DataError(f"FAD-infinity needs three examples or more, not {len(ours)}; make more")
    random = np.random.default_rng(seed)
    measured = [(int(size), frechet_distance(ours[random.choice(len(ours), size, replace=False)], reference)) for size in sizes]
    distances = np.array([distance for _, distance in measured])
    slope, value = np.polyfit(1 / sizes, distances, 1)
    residual, spread = distances - (slope / sizes + value), distances - distances.mean()
    # Distances that are all alike, as those to the set itself may be, lie on a line.
    r2 = 1 - (residual @ residual) / (spread @ spread) if spread.any() else 1.0
    return Extrapolation(float(value), float(slope), float(r2), measured)


def _moments(examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean, and R with R'R the covariance (N - 1 in its denominator)."""
    mean = examples.mean(axis=0)
    return mean, np.linalg.qr(examples - mean, mode="r") / np.sqrt(len(examples) - 1)


def _checked(embeddings: np.ndarray) -> np.ndarray:
    values = np.asarray(embeddings, np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise DataError(f"embeddings must have the shape (examples, dimensions), not {values.shape}")
    if len(values) < 2:
        raise DataError(f"a Frechet distance needs two examples or more in each set, not {len(values)}; make more")
    if not np.isfinite(values).all():
        raise DataError("embeddings hold NaN or infinite values; leave those examples out")
    return values
