"""The experiment `settings`: one setting changes at a time, the pipeline stays as it was, and other models get rows."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from diffusers import DDIMScheduler, UniPCMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st

from demo.evaluation import demo_clips
from riff.errors import ModelError
from riff.experiments.experiment import Evaluation, load_evaluation
from riff.experiments.settings import EXPERIMENT, METRICS, Variant, named_model, variants
from riff.sampling.options import SamplingOptions
from tools import evaluate_samples

SETTINGS = ("strength", "canny", "guidance", "steps", "sampler")
FLAGS = {"steps": 1, "guidance_scale": None, "strength": None, "settings": ["sampler"]}


@pytest.fixture(scope="module")
def evaluation(tiny_control: Path) -> Evaluation:
    return load_evaluation(str(tiny_control), [replace(clip, sound_iterations=1) for clip in demo_clips(4, 1)], steps=1)


@given(
    st.builds(SamplingOptions, st.sampled_from([5, 20, 33]), st.sampled_from([1.0, 3.0, 4.0]), st.sampled_from([0.5, 1.0, 1.3])),
    st.lists(st.sampled_from(SETTINGS), unique=True),
)
def test_every_row_changes_one_thing_that_was_asked_for(options: SamplingOptions, settings: list[str]) -> None:
    def flat(variant: Variant) -> dict[str, object]:
        return asdict(variant.options) | {"canny": variant.canny, "sampler": variant.sampler}

    rows = variants(Variant(options), settings)
    start = flat(rows.pop("recommended"))
    assert start["steps"] == options.steps
    names = {"strength": "strength", "canny": "canny", "guidance": "guidance_scale", "steps": "steps", "sampler": "sampler"}
    seen = set()
    for variant in rows.values():
        changed = [name for name, value in flat(variant).items() if value != start[name]]
        assert len(changed) == 1
        seen.add(changed[0])
    assert seen == {names[setting] for setting in settings}


def test_a_sampler_is_used_once_and_the_pipeline_keeps_its_own(evaluation: Evaluation) -> None:
    edges, options = evaluation.clips[0].edges, SamplingOptions(steps=3)
    usual = evaluation.model.pipeline.scheduler
    usual_sample, other_sample = (
        evaluation.samples.control(edges, "a", 0, options, sampler).pixels for sampler in (UniPCMultistepScheduler, DDIMScheduler)
    )
    assert not np.array_equal(usual_sample, other_sample)
    assert evaluation.model.pipeline.scheduler is usual
    assert np.array_equal(evaluation.samples.control(edges, "a", 0, options).pixels, usual_sample)  # the usual one
    with pytest.raises(AttributeError):
        evaluation.samples.control(edges, "b", 0, options, int)
    assert evaluation.model.pipeline.scheduler is usual


def test_rows_and_columns_with_a_further_model(evaluation: Evaluation, tiny_control: Path) -> None:
    result = EXPERIMENT.measure(evaluation, FLAGS | {"compare": [f"fresh={tiny_control}"]})
    assert list(result.means) == ["recommended", "sampler DDIM", "sampler DPM++", "ceiling", "model fresh"]
    assert all(set(row) == {*METRICS, "clips"} for name, row in result.means.items() if name != "ceiling")
    assert "seconds" not in result.means["ceiling"]  # nothing was sampled
    assert result.means["model fresh"]["edge_f1"] == result.means["recommended"]["edge_f1"]  # it is the same model
    assert result.means["ceiling"]["edge_f1"] != result.means["recommended"]["edge_f1"]
    assert result.remarks == [
        "As recommended: canny 100/200, strength 1, guidance 4, 1 steps of UniPC. Each row changes one of these."
    ]


def test_more_steps_take_longer(evaluation: Evaluation) -> None:
    edges = evaluation.clips[0].edges
    short, long = (evaluation.samples.control(edges, "c", 0, SamplingOptions(steps=steps)).seconds for steps in (1, 8))
    assert long > 2 * short > 0


def test_models_to_compare_are_checked(tiny_base: Path, tiny_control: Path) -> None:
    assert named_model(f"mine={tiny_control}") == ("mine", str(tiny_control))
    for text in ("mine", "=x", "mine="):
        with pytest.raises(argparse.ArgumentTypeError, match="write NAME=FOLDER"):
            evaluate_samples.named_model(text)
    with pytest.raises(ModelError, match="no/such"):
        named_model("mine=no/such/folder")
    with pytest.raises(ModelError, match=tiny_base.name):
        named_model(f"mine={tiny_base}")
    with pytest.raises(ModelError, match="needs a ControlNet"):
        named_model("mine=models/riff-pix2pix-mini")
