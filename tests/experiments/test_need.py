"""The experiment `need`, and image-to-image as it draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from demo.evaluation import demo_clips
from riff.errors import DataError, OptionError
from riff.experiments.bench import Bench, Result, load_bench
from riff.experiments.control import ClipPictures
from riff.experiments.need import EXPERIMENT, METRICS, ROWS, ink
from riff.metrics.images import gradient_correlation
from riff.models.encoders import through_autoencoder
from riff.models.model_types import CONTROL
from riff.sampling.options import SamplingOptions
from riff.sampling.pipelines import image_to_image_pipeline, sample_image_to_image

MODEL = ROOT / "models" / "riff-cnet-mini"


@pytest.fixture(scope="module")
def bench() -> Bench:
    return replace(load_bench(CONTROL, str(MODEL), None, "cpu", demo_clips(4, 1)), sound_iterations=2)


@pytest.fixture(scope="module")
def result(bench: Bench) -> Result:
    return EXPERIMENT.measure(bench, {"steps": 4, "scale": None, "strength": None})


def test_every_way_has_a_row_with_every_metric(result: Result, bench: Bench) -> None:
    assert list(result.means) == list(ROWS)
    assert all(set(row) == {*METRICS, "clips"} for row in result.means.values())
    assert {one.name for one in result.shown} == set(ROWS)
    assert all(one.clip == bench.clips[0].name for one in result.shown)


def test_what_is_known_to_be_so_comes_out_so(result: Result) -> None:
    means = result.means
    assert means["true mix"]["performed"] == means["ceiling"]["performed"] == 1
    assert means["edges as sound"]["performed"] == 0
    assert means["edges as sound"]["edge_f1"] > 0.95  # it is the edges
    assert means["edges as sound"]["onset_correlation"] < 0.3  # and no music
    assert means["backing 0.3"]["gradient_correlation"] > means["backing 0.75"]["gradient_correlation"]
    assert means["backing 0.3"]["edge_f1"] > means["prompt alone"]["edge_f1"] + 0.1
    assert means["control"]["gradient_correlation"] > means["prompt alone"]["gradient_correlation"]


def test_the_more_noise_the_less_is_left_of_the_start(bench: Bench) -> None:
    pictures = ClipPictures(bench.clips[0])
    start, options = pictures.backing.pixels, SamplingOptions(steps=4)
    copied = through_autoencoder(bench.pipeline.vae, start)
    kept = [
        gradient_correlation(bench.samples.image_to_image(start, "a song", 1, options, change).pixels, copied)
        for change in (0.25, 0.5, 1.0)
    ]
    assert kept[0] > kept[1] > kept[2]
    assert kept[0] > 0.8


def test_a_seed_decides_the_draw_alone_and_among_others(bench: Bench) -> None:
    pipeline, options = image_to_image_pipeline(bench.pipeline), SamplingOptions(steps=2)
    starts = [np.full((512, 512), 255, np.uint8), ink(ClipPictures(bench.clips[0]).edges)]
    together = sample_image_to_image(pipeline, starts, ["a", "b"], [1, 2], options, 0.5)
    alone = sample_image_to_image(pipeline, starts[1:], ["b"], [2], options, 0.5)
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1
    other = sample_image_to_image(pipeline, starts[1:], ["b"], [3], options, 0.5)
    assert not np.array_equal(other[0], alone[0])
    assert pipeline.scheduler is not bench.pipeline.scheduler  # whose state is the control's


def test_what_cannot_be_drawn_is_said_in_one_line(bench: Bench) -> None:
    pipeline = image_to_image_pipeline(bench.pipeline)
    with pytest.raises(OptionError, match=r"steps 2: too few .* give 4 or more"):
        sample_image_to_image(pipeline, [np.zeros((512, 512), np.uint8)], ["a"], [0], SamplingOptions(steps=2), 0.3)
    with pytest.raises(DataError, match="multiples of"):
        sample_image_to_image(pipeline, [np.zeros((511, 512), np.uint8)], ["a"], [0], SamplingOptions(steps=4), 0.5)


def test_an_edge_map_as_a_spectrogram_sounds_where_the_edges_are() -> None:
    edges = np.array([[0, 255], [255, 0]], np.uint8)
    assert ink(edges).tolist() == [[255, 0], [0, 255]]
    assert ink(edges).dtype == np.uint8
