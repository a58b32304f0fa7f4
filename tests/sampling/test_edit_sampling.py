"""Edits use InstructPix2Pix's guidance by image and text at every pair of scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from riff.errors import DataError, OptionError
from riff.models.edit import attach_edit
from riff.models.loading import load_base
from riff.sampling.edit import sample_edit
from riff.sampling.options import EditOptions
from riff.sampling.pipelines import prepare_pipeline

SIZE = 128
PROMPTS = ["add a female vocal pop melody", "add a male vocal rock melody"]


@pytest.fixture(scope="module")
def pipeline(tiny_base: Path) -> StableDiffusionInstructPix2PixPipeline:
    """The tiny base with an eight-channel first layer that takes the input image as well."""
    made = attach_edit(load_base(str(tiny_base)))
    torch.manual_seed(1)
    torch.nn.init.normal_(made.unet.conv_in.weight, std=0.1)  # as if trained
    return prepare_pipeline(made)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE), dtype=np.uint8))


def stock(pipeline, image: np.ndarray, prompt: str, seed: int, options: EditOptions) -> np.ndarray:  # type: ignore[no-untyped-def]
    edited = pipeline(
        prompt=[prompt],
        image=[Image.fromarray(image).convert("RGB")],
        negative_prompt=[options.negative_prompt],
        num_inference_steps=options.steps,
        guidance_scale=options.guidance_scale,
        image_guidance_scale=options.image_guidance_scale,
        generator=[torch.Generator().manual_seed(seed)],
        output_type="np",
    ).images[0]
    return np.round(edited.mean(axis=2) * 255).astype(np.uint8)


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize(("image_scale", "text_scale"), [(1.5, 7.5), (1.0, 3.0), (2.0, 1.1)])
def test_images_equal_the_stock_pipelines_where_it_uses_guidance(pipeline, images, image_scale, text_scale) -> None:
    options = EditOptions(3, text_scale, image_scale, negative_prompt="noise")
    ours = sample_edit(pipeline, images[:1], PROMPTS[:1], [5], options)[0]
    assert difference(ours, stock(pipeline, images[0], PROMPTS[0], 5, options)) <= 1  # the order of a sum


def test_guidance_works_at_image_scales_below_one(pipeline, images) -> None:
    options = EditOptions(3, 7.5, 0.8)
    ours = sample_edit(pipeline, images[:1], PROMPTS[:1], [5], options)[0]
    assert difference(ours, stock(pipeline, images[0], PROMPTS[0], 5, options)) > 8


def test_scales_of_one_are_the_prediction_from_image_and_instruction(pipeline, images) -> None:
    ours = sample_edit(pipeline, images[:1], PROMPTS[:1], [5], EditOptions(3, 1.0, 1.0))[0]
    unguided = stock(pipeline, images[0], PROMPTS[0], 5, EditOptions(3, 1.0, 1.0))  # stock predicts the conditional alone
    assert difference(ours, unguided) <= 1


def test_scales_of_zero_are_the_unconditional_prediction(pipeline, images) -> None:
    first, second = (
        sample_edit(pipeline, [one], [prompt], [5], EditOptions(2, 0.0, 0.0))[0]
        for one, prompt in zip(images, PROMPTS, strict=True)
    )
    np.testing.assert_array_equal(first, second)
    with_image = sample_edit(pipeline, images[:1], PROMPTS[:1], [5], EditOptions(2, 0.0, 1.0))[0]
    assert difference(first, with_image) > 0


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 3), st.floats(0, 10), st.lists(st.integers(0, 2**31), min_size=2, max_size=2))
def test_a_seeds_image_does_not_depend_on_the_batch(pipeline, images, image_scale, text_scale, seeds) -> None:
    options = EditOptions(2, text_scale, image_scale)
    steps: list[int] = []
    together = sample_edit(pipeline, images, PROMPTS, seeds, options, on_step=steps.append)
    alone = [sample_edit(pipeline, [p], [t], [s], options)[0] for p, t, s in zip(images, PROMPTS, seeds, strict=True)]
    np.testing.assert_array_equal(together, alone)
    assert steps == [1, 2, 3, 4]
    assert all(one.shape == (SIZE, SIZE) and one.dtype == np.uint8 for one in together)


def test_invalid_inputs_are_refused_before_sampling(pipeline, images) -> None:
    with pytest.raises(DataError, match="multiples of 64"):
        sample_edit(pipeline, [np.zeros((100, SIZE), np.uint8)], PROMPTS[:1], [0])
    with pytest.raises(DataError, match="2 images, 1 instructions and 1 seeds"):
        sample_edit(pipeline, images, PROMPTS[:1], [0])
    with pytest.raises(OptionError, match="steps 0: give 1 or more"):
        sample_edit(pipeline, images[:1], PROMPTS[:1], [0], EditOptions(steps=0))
    assert sample_edit(pipeline, [], [], []) == []
