"""The Frechet distance of two sets of embeddings, and its extrapolation to infinitely many examples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from riff.errors import DataError

POINTS = 25  # sample sizes of an extrapolation
SMALLEST_SHARE = 0.25  # of the examples


class Extrapolation(NamedTuple):
    """A line through Frechet distances over 1 / sample size.

    Attributes:
        value: its intercept at 1/N = 0, which may be slightly negative.
        slope: by 1/N, the bias of small samples; >= 0 up to sampling noise.
        r2: coefficient of determination, at most 1. Below about 0.9 the value is unreliable.
        points: (sample size, measured distance), by size.
    """

    value: float
    slope: float
    r2: float
    points: list[tuple[int, float]]


def frechet_distance(embeddings: np.ndarray, reference: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), means and covariances of two sets (Dowson and Landau, JMVA 1982).

    Of audio embeddings this is the Frechet Audio Distance (Kilgour et al., Interspeech 2019). The trace of the root is the sum of
    the singular values of R1 R2', where R'R = C by a QR factorisation of the centred examples. This needs no matrix root, and sets
    smaller than their dimension, whose covariances are singular, need no special treatment.

    Args:
        embeddings, reference: float, shapes (examples, dimensions) and (other examples, dimensions).

    Returns:
        >= 0, in squared units of the embeddings, lower is better; symmetric, invariant to a rotation or shift of both. Small
        sets are biased upward, so only sets of equal size are comparable; see `extrapolated_distance`.

    Raises:
        DataError: fewer than two examples in a set, other shapes, different dimensions, or values that are not finite.
    """
    examples, references = _checked(embeddings), _checked(reference)
    if examples.shape[1] != references.shape[1]:
        raise DataError(
            f"embeddings of {examples.shape[1]} and {references.shape[1]} dimensions cannot be compared; use one model for both"
        )
    (mean, root), (reference_mean, reference_root) = _moments(examples), _moments(references)
    overlap = np.linalg.svd(root @ reference_root.T, compute_uv=False).sum()
    distance = np.square(mean - reference_mean).sum() + np.square(root).sum() + np.square(reference_root).sum() - 2 * overlap
    return max(0.0, float(distance))


def extrapolated_distance(embeddings: np.ndarray, reference: np.ndarray, seed: int = 0, points: int = POINTS) -> Extrapolation:
    """The Frechet distance for infinitely many examples, FAD-infinity.

    Chong and Forsyth (CVPR 2020) for images, Gui et al. (ICASSP 2024, fadtk) for music: the bias of N examples falls as 1/N, so a
    line is fitted to distances at several N over 1/N. The sizes are evenly spaced from a quarter of the examples to all of them.
    Examples are sampled without replacement, as in the former; with replacement, as in fadtk, the line extrapolates to the biased
    distance of the set itself and not to that of its distribution. The whole reference is used and keeps its own bias.

    Args:
        embeddings, reference: as for `frechet_distance`.
        seed: of the random subsets.
        points: number of sizes, 2 or more; equal sizes count once.

    Raises:
        DataError: as `frechet_distance`, or fewer than three examples.
    """
    examples = _checked(embeddings)
    sizes = np.unique(np.linspace(max(2, int(SMALLEST_SHARE * len(examples))), len(examples), max(2, points)).astype(int))
    if len(sizes) < 2:
        raise DataError(f"FAD-infinity needs three examples or more, not {len(examples)}; make more")
    random = np.random.default_rng(seed)
    subsets = ((int(size), examples[random.choice(len(examples), size, replace=False)]) for size in sizes)
    measured = [(size, frechet_distance(subset, reference)) for size, subset in subsets]
    distances = np.array([distance for _, distance in measured])
    slope, value = np.polyfit(1 / sizes, distances, 1)
    residual, spread = distances - (slope / sizes + value), distances - distances.mean()
    # Equal distances, possible with the set itself as reference, lie on a line.
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
