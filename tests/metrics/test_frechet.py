"""The Frechet distance of Gaussians is known in closed form; small samples overstate it, by a line over 1/N."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from riff.errors import DataError
from riff.metrics.frechet import extrapolated_distance, frechet_distance


def exact_gaussian(mean: np.ndarray, covariance: np.ndarray, examples: int = 200, seed: int = 0) -> np.ndarray:
    """Examples whose own mean and covariance are exactly these."""
    noise = np.random.default_rng(seed).standard_normal((examples, len(mean)))
    white = np.linalg.qr(noise - noise.mean(axis=0))[0] * np.sqrt(examples - 1)
    return white @ np.linalg.cholesky(covariance).T + mean


def test_a_shift_of_the_mean_counts_its_square():
    same = np.eye(4)
    ours, theirs = exact_gaussian(np.zeros(4), same), exact_gaussian(np.array([3.0, 0, 4, 0]), same, seed=1)
    assert frechet_distance(ours, theirs) == pytest.approx(25.0)


def test_a_scale_counts_the_difference_of_the_standard_deviations():
    spread, wider = np.array([1.0, 2.0, 0.5]), np.array([2.0, 2.0, 3.0])
    ours = exact_gaussian(np.zeros(3), np.diag(spread**2))
    theirs = exact_gaussian(np.zeros(3), np.diag(wider**2), seed=1)
    assert frechet_distance(ours, theirs) == pytest.approx(np.square(spread - wider).sum())


def test_covariances_that_do_not_commute_agree_with_the_matrix_root():
    random = np.random.default_rng(2)
    first, second = (factor @ factor.T + 0.1 * np.eye(6) for factor in random.standard_normal((2, 6, 6)))
    expected = np.trace(first + second - 2 * scipy.linalg.sqrtm(first @ second).real)
    found = frechet_distance(exact_gaussian(np.zeros(6), first), exact_gaussian(np.zeros(6), second, seed=1))
    assert found == pytest.approx(expected)


def test_sets_smaller_than_their_dimension_are_measured():
    ours = np.random.default_rng(0).standard_normal((5, 512)).astype(np.float32)
    assert frechet_distance(ours, ours) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(ours, ours + 1) == pytest.approx(512.0, rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(2, 12), st.integers(1, 8))
def test_the_distance_is_symmetric_and_invariant_to_rotation_and_shift(seed, examples, others, dimensions):
    random = np.random.default_rng(seed)
    ours, theirs = random.standard_normal((examples, dimensions)), random.standard_normal((others, dimensions)) * 3 + 1
    rotation = np.linalg.qr(random.standard_normal((dimensions, dimensions)))[0]
    found = frechet_distance(ours, theirs)
    assert found >= 0
    assert found == pytest.approx(frechet_distance(theirs, ours))
    assert found == pytest.approx(frechet_distance(ours @ rotation + 5, theirs @ rotation + 5))
    assert 4 * found == pytest.approx(frechet_distance(2 * ours, 2 * theirs))


def test_the_extrapolation_removes_the_bias_of_small_samples():
    # Both sets are samples of one Gaussian, so that the true distance is 0 and all that is measured is bias.
    reference = exact_gaussian(np.zeros(16), np.eye(16), examples=5000)
    found = [
        extrapolated_distance(np.random.default_rng(seed).standard_normal((400, 16)), reference, seed, points=12)
        for seed in range(12)
    ]
    bias = np.mean([one.points[-1][1] for one in found])
    assert 0.2 < bias < 0.5
    assert abs(np.mean([one.value for one in found])) < 0.2 * bias
    assert np.mean([one.r2 for one in found]) > 0.9
    assert all(one.slope > 0 for one in found)


def test_the_extrapolation_keeps_a_true_distance():
    reference = exact_gaussian(np.zeros(8), np.eye(8), examples=5000)
    far = [np.random.default_rng(seed).standard_normal((400, 8)) + 1 for seed in range(8)]
    assert np.mean([extrapolated_distance(one, reference, points=10).value for one in far]) == pytest.approx(8.0, rel=0.02)


def test_the_points_are_what_was_measured_and_one_seed_gives_one_result():
    random = np.random.default_rng(0)
    ours, theirs = random.standard_normal((40, 3)), random.standard_normal((50, 3))
    found = extrapolated_distance(ours, theirs, seed=3)
    assert [size for size, _ in found.points] == sorted({size for size, _ in found.points})
    assert found.points[0][0] == 10
    assert found.points[-1] == (40, pytest.approx(frechet_distance(ours, theirs)))
    assert found == extrapolated_distance(ours, theirs, seed=3)
    assert found != extrapolated_distance(ours, theirs, seed=4)


GOOD = np.ones((4, 3))


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (GOOD[:1], GOOD, "two examples or more"),
        (GOOD, GOOD[:0], "two examples or more"),
        (GOOD, np.ones((4, 2)), "one model for both"),
        (GOOD[0], GOOD, "shape"),
        (GOOD, np.full((4, 3), np.nan), "NaN"),
    ],
)
def test_what_has_no_distance_is_refused(ours, theirs, message):
    for measure in (frechet_distance, extrapolated_distance):
        with pytest.raises(DataError, match=message):
            measure(ours, theirs)


def test_two_examples_cannot_be_extrapolated():
    with pytest.raises(DataError, match="three examples"):
        extrapolated_distance(GOOD[:2], GOOD)
