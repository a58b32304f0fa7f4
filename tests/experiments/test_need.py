"""The experiment `need`, and image-to-image sampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from demo.evaluation import demo_clips
from riff.errors import DataError, OptionError
from riff.experiments.experiment import Evaluation, Result, load_evaluation
from riff.experiments.need import EXPERIMENT, METRICS, ROWS, edges_as_spectrogram
from riff.metrics.images import gradient_correlation
from riff.models.encoders import through_autoencoder
from riff.sampling.options import SamplingOptions
from riff.sampling.pipelines import image_to_image_pipeline, sample_image_to_image

MODEL = ROOT / "models" / "riff-cnet-mini"


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return load_evaluation(str(MODEL), [replace(clip, sound_iterations=2) for clip in demo_clips(4, 1)], steps=4)


@pytest.fixture(scope="module")
def result(evaluation: Evaluation) -> Result:
    return EXPERIMENT.measure(evaluation, {})


def test_every_row_has_every_metric(result: Result, evaluation: Evaluation) -> None:
    assert list(result.means) == list(ROWS)
    assert all({*METRICS, "clips"} - set(row) <= {"fits", "harmony"} for row in result.means.values())  # these need a melody
    assert {one.row for one in result.shown} == set(ROWS)
    assert all(one.clip == evaluation.clips[0].name for one in result.shown)


def test_known_cases_score_as_expected(result: Result) -> None:
    means = result.means
    assert means["true mix"]["performed"] == means["ceiling"]["performed"] == 1
    assert means["edges as sound"]["performed"] == 0
    assert means["edges as sound"]["edge_f1"] > 0.95  # it is the edges
    assert means["edges as sound"]["onset_correlation"] < 0.3  # and no music
    assert means["backing 0.3"]["gradient_correlation"] > means["backing 0.75"]["gradient_correlation"]
    assert means["backing 0.3"]["edge_f1"] > means["prompt alone"]["edge_f1"] + 0.1
    assert means["control"]["gradient_correlation"] > means["prompt alone"]["gradient_correlation"]


def test_the_more_noise_the_less_is_left_of_the_start(evaluation: Evaluation) -> None:
    start, options = evaluation.clips[0].accompaniment_image.pixels, SamplingOptions(steps=4)
    copied = through_autoencoder(evaluation.model.pipeline.vae, start)
    kept = [
        gradient_correlation(evaluation.samples.image_to_image(start, "a song", 1, options, change).pixels, copied)
        for change in (0.25, 0.5, 1.0)
    ]
    assert kept[0] > kept[1] > kept[2]
    assert kept[0] > 0.8


def test_a_sample_depends_on_its_seed_and_not_on_the_batch(evaluation: Evaluation) -> None:
    pipeline, options = image_to_image_pipeline(evaluation.model.pipeline), SamplingOptions(steps=2)
    starts = [np.full((512, 512), 255, np.uint8), edges_as_spectrogram(evaluation.clips[0].edges)]
    together = sample_image_to_image(pipeline, starts, ["a", "b"], [1, 2], options, 0.5)
    alone = sample_image_to_image(pipeline, starts[1:], ["b"], [2], options, 0.5)
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1
    other = sample_image_to_image(pipeline, starts[1:], ["b"], [3], options, 0.5)
    assert not np.array_equal(other[0], alone[0])
    assert pipeline.scheduler is not evaluation.model.pipeline.scheduler  # whose state is the control's


def test_impossible_samples_are_errors_of_one_line(evaluation: Evaluation) -> None:
    pipeline = image_to_image_pipeline(evaluation.model.pipeline)
    with pytest.raises(OptionError, match=r"steps 2: too few .* give 4 or more"):
        sample_image_to_image(pipeline, [np.zeros((512, 512), np.uint8)], ["a"], [0], SamplingOptions(steps=2), 0.3)
    with pytest.raises(DataError, match="multiples of"):
        sample_image_to_image(pipeline, [np.zeros((511, 512), np.uint8)], ["a"], [0], SamplingOptions(steps=4), 0.5)


def test_an_edge_map_as_a_spectrogram_sounds_where_the_edges_are() -> None:
    edges = np.array([[0, 255], [255, 0]], np.uint8)
    assert edges_as_spectrogram(edges).tolist() == [[255, 0], [0, 255]]
    assert edges_as_spectrogram(edges).dtype == np.uint8
