"""The models in the box: they load in plain diffusers, draw within seconds, the control holds, and edits are performed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT
from diffusers import StableDiffusionPipeline

from demo.evaluation import demo_clips
from riff.experiments.control import EXPERIMENT
from riff.experiments.edit import edit_case
from riff.experiments.experiment import load_evaluation
from riff.metrics.melody import register_obeyed
from riff.models.loading import load_edit_pipeline
from riff.sampling.edit import generate_candidates
from riff.sampling.options import edit_options_for, edit_target
from riff.sampling.pipelines import prepare_pipeline

MODELS = ROOT / "models"


def test_their_sizes() -> None:
    def megabytes(folder: str) -> float:
        return sum(path.stat().st_size for path in (MODELS / folder).rglob("*") if path.is_file()) / 1e6

    assert megabytes("riffusion-mini") < 30
    assert megabytes("riff-cnet-mini") < 15
    assert megabytes("riff-pix2pix-mini") < 25


def test_riffusion_mini_draws_in_plain_diffusers() -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(MODELS / "riffusion-mini", torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    prompts = ["Generate a sad female vocal ballad melody", "Generate an intense female vocal rock melody"]
    generators = [torch.Generator().manual_seed(0) for _ in prompts]
    samples = pipeline(prompts, num_inference_steps=20, guidance_scale=4.0, generator=generators).images
    ballad, rock = (np.array(image) for image in samples)
    assert ballad.shape == rock.shape == (512, 512, 3)
    assert min(ballad.std(), rock.std()) > 20  # no flat grey
    assert ballad[:100].mean() > rock[:100].mean() + 10  # cymbals darken the highest bands of a rock song alone


def test_riff_cnet_mini_follows_the_accompaniment() -> None:
    """On two unseen songs the control covers at least half of the way from floor to ceiling (README: 16 songs)."""
    means = EXPERIMENT.measure(load_evaluation(str(MODELS / "riff-cnet-mini"), demo_clips(3, 2), steps=10), {}).means
    assert means["covered"]["edge_f1"] > 0.5
    assert means["control"]["gradient_correlation"] > means["floor"]["gradient_correlation"] + 0.2
    assert means["ceiling"]["edge_f1"] >= 0.6


def test_riff_pix2pix_mini_adds_the_voice_that_is_asked_for() -> None:
    """On three unseen songs, for a man and for a woman each; that the vocal fits as well counts in most (its card: 12 songs)."""
    model = MODELS / "riff-pix2pix-mini"
    pipeline = prepare_pipeline(load_edit_pipeline(model))
    options, target = edit_options_for(model, steps=12), edit_target(model)
    obeyed, performed = [], []
    for number, clip in enumerate(demo_clips(3, 3)):
        for singer in ("male", "female"):
            case = replace(edit_case("add", clip), prompt=f"add a happy {singer} vocal pop melody")
            take = generate_candidates(pipeline, case, options, number, target=target)[0]
            assert take.verdict.scores.backing_kept > 0.9, take.verdict
            performed.append(take.verdict.performed)
            obeyed.append(register_obeyed(case.prompt, take.verdict.scores.median_note))
    assert sum(map(bool, obeyed)) >= 5
    assert sum(performed) >= 4


@pytest.mark.parametrize("name", ["riffusion-mini", "riff-cnet-mini", "riff-pix2pix-mini"])
def test_their_cards_are_there(name: str) -> None:
    card = (MODELS / name / "README.md").read_text()
    assert "cannot do" in card
    assert card.startswith("---\n")
