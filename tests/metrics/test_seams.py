"""Seam curves detect joins of different music and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import last_error, run_script
from hypothesis import given, settings
from hypothesis import strategies as st

from riff.errors import DataError
from riff.metrics.seams import CONTEXT, SeamCurves, border_ratio, seam_curves

BORDERS = [200, 400, 600]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def uniform(random: np.random.Generator, frames: int = 800) -> np.ndarray:
    """Noise: no frame belongs to the next, nowhere more or less than elsewhere."""
    return random.integers(0, 256, (512, frames), dtype=np.uint8)


def smooth(random: np.random.Generator, frames: int) -> np.ndarray:
    """Bands that come and go slowly."""
    phase, speed = random.uniform(0, 6, (512, 1)), random.uniform(0.01, 0.05, (512, 1))
    return (128 + 100 * np.sin(phase + speed * np.arange(frames))).astype(np.uint8)


def ratios(pixels: np.ndarray, borders: list[int]) -> dict[str, float]:
    return {measure: border_ratio([curve], [borders]) for measure, curve in seam_curves(pixels)._asdict().items()}


def test_without_seams_the_border_ratio_is_one(random) -> None:
    for pixels, tolerance in ((uniform(random, 4000), 0.2), (np.full((512, 4000), 90, np.uint8), 0.0)):
        assert ratios(pixels, list(range(50, 3950, 50))) == pytest.approx(dict.fromkeys(SeamCurves._fields, 1), abs=tolerance)


def test_joins_of_different_music_are_detected(random) -> None:
    glued = np.concatenate([smooth(random, 200) for _ in range(4)], axis=1)
    found = ratios(glued, BORDERS)
    assert found["flux"] > 5
    assert found["distance"] > 5
    assert max(ratios(glued, [100, 300, 500]).values()) < 1.5  # inside the pieces there is nothing to find


def test_a_jump_of_level_alone_is_found_in_its_decibels(random) -> None:
    pixels = np.full((512, 800), 155, np.uint8)  # ink of 100
    pixels[:, 400:] = 255 - 50
    curves = seam_curves(pixels)
    # Magnitudes are ink to the fourth power, energies to the eighth: half the ink is 80 log10(2) dB less.
    assert curves.level[400] == pytest.approx(80 * np.log10(2), abs=0.01)
    assert curves.level[380] == 0
    assert curves.flux[400] == 0  # what is lost is no onset
    assert seam_curves(pixels[:, ::-1]).flux[400] == 50
    assert curves.distance[400] == pytest.approx(0, abs=1e-12)
    assert border_ratio([curves.level], [[400]]) == np.inf


def test_another_chord_at_the_same_level_is_found_by_its_distance() -> None:
    pixels = np.full((512, 800), 255, np.uint8)
    pixels[:256, :400] = 100
    pixels[256:, 400:] = 100
    curves = seam_curves(pixels)
    assert (curves.distance[400], curves.level[400], curves.flux[400]) == pytest.approx((1, 0, 155 / 2))
    assert curves.distance[400 - CONTEXT // 2] == pytest.approx(1 - np.sqrt(0.5))  # half of the frames after it


def test_silence_is_like_silence(random) -> None:
    pixels = np.full((512, 100), 255, np.uint8)
    assert all((curve[CONTEXT : 100 - CONTEXT + 1] == 0).all() for curve in seam_curves(pixels))
    pixels[:, 50:] = 0
    assert seam_curves(pixels).distance[50] == 1
    assert seam_curves(pixels).level[50] == pytest.approx(60)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(2 * CONTEXT, 300), st.integers(0, 2**31))
def test_every_frame_with_enough_context_is_measured(frames, seed) -> None:
    for curve in seam_curves(uniform(np.random.default_rng(seed), frames)):
        assert curve.shape == (frames,)
        np.testing.assert_array_equal(np.flatnonzero(~np.isnan(curve)), np.arange(CONTEXT, frames - CONTEXT + 1))
        assert (curve[CONTEXT : frames - CONTEXT + 1] >= 0).all()


def test_songs_are_taken_together() -> None:
    first, second = np.full(200, 1.0), np.full(200, 3.0)
    first[100], second[50] = 4.0, 8.0
    elsewhere = (1.0 + 3.0) / 2
    assert border_ratio([first, second], [[100], [50]]) == pytest.approx(6.0 / elsewhere)


def test_invalid_seam_inputs_are_refused(random) -> None:
    with pytest.raises(DataError, match="20 frames or more"):
        seam_curves(uniform(random, 19))
    with pytest.raises(DataError, match="uint8"):
        seam_curves(np.zeros((512, 100)))
    curve = seam_curves(uniform(random, 100)).flux
    for border in (3, 98, -50, 500):
        with pytest.raises(DataError, match="10 frames on either side"):
            border_ratio([curve], [[border]])
    with pytest.raises(DataError, match="songs that have both"):
        border_ratio([curve], [[]])
    with pytest.raises(DataError, match="songs that have both"):
        border_ratio([curve[:23]], [[12]])


def test_the_benchmark_compares_windows_with_clips(tiny_control: Path, tmp_path: Path) -> None:
    flags = ("--num_songs", 1, "--seconds", 11, "--steps", 1)
    done = run_script("benchmarks/seams.py", "--model", tiny_control, *flags, "--output", tmp_path / "seams.json")
    results = json.loads((tmp_path / "seams.json").read_text())["results"]
    assert set(results) == {"true mix, grid", "true mix, starts", "windows, grid", "windows, starts", "glued clips, grid"}
    assert all(one[measure]["by_song"] == [one[measure]["ratio"]] for one in results.values() for measure in SeamCurves._fields)
    assert all(f"{one['flux']['ratio']:.2f}" in done.stdout for one in results.values())
    assert str(tmp_path) in last_error(run_script("benchmarks/seams.py", "--model", tmp_path, code=2))
    assert "--seconds 3" in last_error(run_script("benchmarks/seams.py", "--seconds", 3, code=2))
