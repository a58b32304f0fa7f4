"""Metrics of images agree with their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from riff.errors import DataError
from riff.metrics.images import edge_scores, edge_scores_by_region, gradient_correlation, grey_difference, vocal_region
from riff.spectrogram.image import SpectrogramImage, mel_to_image
from riff.spectrogram.params import SpectrogramParams

edge_maps = hnp.arrays(np.bool_, (12, 9))
images = hnp.arrays(np.uint8, (12, 9))
IMAGE = np.zeros((8, 8), np.uint8)


@pytest.fixture(scope="module")
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def lines(*columns: int) -> np.ndarray:
    edges = np.zeros((64, 80), np.uint8)
    edges[:, list(columns)] = 255
    return edges


# Edges


@pytest.mark.parametrize(
    ("columns", "tolerance", "f1"),
    [((10, 30, 50), 0, 1.0), ((11, 31, 51), 1, 1.0), ((11, 31, 51), 0, 0.0), ((13, 33, 53), 1, 0.0), ((13, 33, 53), 3, 1.0)],
)
def test_shifted_edges_match_within_the_tolerance(columns, tolerance, f1):
    assert edge_scores(lines(*columns), lines(10, 30, 50), tolerance).f1 == f1


def test_precision_is_the_samples_share_and_recall_the_references():
    scores = edge_scores(lines(10, 30, 40), lines(10, 20, 30, 50, 60))
    assert scores == pytest.approx((2 / 3, 2 / 5, 0.5))


def test_the_neighbourhood_is_a_square():
    point, diagonal = np.zeros((2, 9, 9), bool)
    point[4, 4] = diagonal[5, 5] = True
    assert edge_scores(point, diagonal, tolerance=1).f1 == 1.0


def test_no_edges_anywhere_is_perfect_and_on_one_side_is_a_miss():
    empty = lines()
    assert edge_scores(empty, empty) == (1.0, 1.0, 1.0)
    assert edge_scores(empty, lines(10)) == (1.0, 0.0, 0.0)
    assert edge_scores(lines(10), empty) == (0.0, 1.0, 0.0)


def test_pixels_outside_the_mask_are_not_scored_but_can_match():
    mask = np.ones((64, 80), bool)
    mask[:, 40:] = False
    assert edge_scores(lines(10, 60), lines(10, 50, 70), mask=mask).f1 == 1.0
    assert edge_scores(lines(39), lines(40), mask=mask).f1 == 1.0  # the border cuts no match in two


def test_edges_are_scored_inside_a_region_and_outside_it():
    region = np.zeros((64, 80), bool)
    region[:, 40:] = True
    scores = edge_scores_by_region(lines(10, 20, 50), lines(10, 50, 60, 70), region)
    assert scores.inside == pytest.approx((1.0, 1 / 3, 0.5))
    assert scores.outside == pytest.approx((0.5, 1.0, 2 / 3))


def test_a_side_without_pixels_has_no_edge_scores():
    everywhere = np.ones((64, 80), bool)
    ours, theirs = lines(10, 20), lines(20)
    assert edge_scores_by_region(ours, theirs, everywhere) == (edge_scores(ours, theirs), None)
    assert edge_scores_by_region(ours, theirs, ~everywhere) == (None, edge_scores(ours, theirs))


@given(edge_maps, edge_maps, hnp.arrays(np.bool_, (12, 9)), st.integers(0, 4))
def test_edge_scores_are_symmetric_bounded_and_grow_with_the_tolerance(sample, reference, mask, tolerance):
    mask[0, 0] = True
    scores = edge_scores(sample, reference, tolerance, mask)
    swapped = edge_scores(reference, sample, tolerance, mask)
    assert scores.f1 == pytest.approx(swapped.f1)
    assert all(0 <= value <= 1 for value in scores)
    assert edge_scores(sample, reference, tolerance + 1, mask).f1 >= scores.f1
    assert edge_scores(sample, sample, tolerance, mask).f1 == 1.0


@given(edge_maps, edge_maps)
def test_edge_scores_agree_with_the_definition_pixel_by_pixel(sample, reference):
    def share(edges, others):
        found = [others[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].any() for r, c in np.argwhere(edges)]
        return np.mean(found) if found else 1.0

    scores = edge_scores(sample, reference)
    assert scores[:2] == pytest.approx((share(sample, reference), share(reference, sample)))


# The vocal's region


def with_vocal(random: np.random.Generator, vocal_level: float) -> tuple[SpectrogramImage, SpectrogramImage]:
    """The accompaniment's image and the mix's, with a vocal in rows 20..24 (from below) and frames 30..49."""
    accompaniment = torch.from_numpy(random.uniform(0.5, 1.0, (64, 80)).astype(np.float32))
    mix = accompaniment.clone()
    mix[20:25, 30:50] += vocal_level
    return mel_to_image(accompaniment), mel_to_image(mix)


@pytest.mark.parametrize("level", [2.0, 50.0])
def test_the_vocals_region_is_the_vocal_and_its_margin_whatever_the_images_maxima(random, level):
    region = vocal_region(*with_vocal(random, level), margin=2)
    expected = np.zeros((64, 80), bool)
    expected[64 - 25 - 2 : 64 - 20 + 2, 28:52] = True
    np.testing.assert_array_equal(region, expected)


def test_no_vocal_has_no_region(random):
    accompaniment, mix = with_vocal(random, 0.0)
    assert not vocal_region(accompaniment, mix).any()
    silent = mel_to_image(torch.zeros(64, 80))
    assert not vocal_region(silent, silent).any()
    assert not vocal_region(accompaniment, silent).any()


def test_a_vocal_over_silence_is_found(random):
    _, mix = with_vocal(random, 1.0)
    assert vocal_region(mel_to_image(torch.zeros(64, 80)), mix).all()


def test_images_made_in_two_ways_have_no_common_region(random):
    accompaniment, mix = with_vocal(random, 1.0)
    other = SpectrogramImage(mix.pixels, mix.max_value, SpectrogramParams(max_frequency=8000))
    with pytest.raises(DataError, match="different spectrogram parameters"):
        vocal_region(accompaniment, other)


# Images


def test_gradient_correlation_depends_on_edges_and_not_on_brightness(random):
    image = np.zeros((64, 80), np.uint8)
    image[20:30, 10:60] = 200
    assert gradient_correlation(image, image) == pytest.approx(1.0)
    assert gradient_correlation(image, 255 - image) == pytest.approx(1.0)
    assert gradient_correlation(image, image // 2 + 30) == pytest.approx(1.0)
    noise = random.integers(0, 256, (2, 200, 200), dtype=np.uint8)
    assert abs(gradient_correlation(*noise)) < 0.05


def test_gradient_correlation_without_gradients_is_defined():
    flat, step = np.full((2, 16, 16), 255, np.uint8)
    step[:, :8] = 0
    assert gradient_correlation(flat, flat) == 1.0
    assert gradient_correlation(flat, step) == gradient_correlation(step, flat) == 0.0


def test_gradient_correlation_is_taken_inside_the_mask(random):
    image = random.integers(0, 256, (64, 80), dtype=np.uint8)
    changed = image.copy()
    changed[:, 40:] = random.integers(0, 256, (64, 40))
    mask = np.zeros((64, 80), bool)
    mask[:, :39] = True  # one short of the change: the gradient reads its neighbours
    assert gradient_correlation(changed, image, mask) == pytest.approx(1.0)
    assert gradient_correlation(changed, image) < 0.8


def test_grey_difference_does_not_wrap():
    black, white = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    assert grey_difference(black, white) == grey_difference(white, black) == 255.0
    assert grey_difference(white, white) == 0.0


@given(images, images)
def test_image_scores_are_symmetric_and_bounded(a, b):
    assert gradient_correlation(a, b) == pytest.approx(gradient_correlation(b, a))
    assert -1 <= gradient_correlation(a, b) <= 1
    assert gradient_correlation(a, a) == pytest.approx(1.0)
    assert 0 <= grey_difference(a, b) == grey_difference(b, a) <= 255


@pytest.mark.parametrize(
    ("score", "arguments", "message"),
    [
        (edge_scores, (IMAGE, IMAGE[:4]), "same size"),
        (edge_scores, (IMAGE, IMAGE.astype(float)), "float64"),
        (edge_scores, (IMAGE, np.arange(64, dtype=np.uint8).reshape(8, 8)), "two levels"),
        (edge_scores, (IMAGE, IMAGE, -1), "tolerance"),
        (edge_scores, (IMAGE, IMAGE, 1, np.zeros((8, 8), bool)), "no pixel"),
        (edge_scores, (IMAGE, IMAGE, 1, IMAGE), "bool"),
        (edge_scores, (IMAGE, IMAGE, 1, np.ones((4, 8), bool)), "same size"),
        (edge_scores_by_region, (IMAGE, IMAGE, IMAGE), "bool"),
        (edge_scores_by_region, (IMAGE, IMAGE, np.ones((4, 8), bool)), "same size"),
        (gradient_correlation, (IMAGE, IMAGE[:, :4]), "same size"),
        (gradient_correlation, (IMAGE, IMAGE, np.zeros((8, 8), bool)), "no pixel"),
        (gradient_correlation, (IMAGE, "song.png"), "str"),
        (grey_difference, (IMAGE, IMAGE / 255), "float64"),
        (grey_difference, (IMAGE[:0], IMAGE[:0]), "shape"),
        (grey_difference, (np.zeros((8, 8, 3), np.uint8), IMAGE), "shape"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(score, arguments, message):
    with pytest.raises(DataError, match=message) as caught:
        score(*arguments)
    assert "\n" not in str(caught.value)


def test_scores_do_not_change_their_arguments(random):
    image = random.integers(0, 256, (16, 16), dtype=np.uint8)
    kept = image.copy()
    for score in (gradient_correlation, grey_difference):
        score(image, image)
    np.testing.assert_array_equal(image, kept)
