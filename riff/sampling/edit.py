"""Sampling with InstructPix2Pix: spectrogram images edited by an instruction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from diffusers import StableDiffusionInstructPix2PixPipeline

from riff.errors import DataError, OptionError
from riff.models.encoders import check_size, latent_factor
from riff.sampling.options import EditOptions
from riff.sampling.window_models import EditWindows
from riff.sampling.windows import WindowLayout, sample_windows

WIDTH_MULTIPLE = 8  # pixels a latent column of Stable Diffusion; smaller models may have coarser ones
DEFAULTS = EditOptions()


def sample_edit(
    pipeline: StableDiffusionInstructPix2PixPipeline,
    images: Sequence[np.ndarray],
    prompts: Sequence[str],
    seeds: Sequence[int],
    options: EditOptions = DEFAULTS,
    on_step: Callable[[int], object] | None = None,
) -> list[np.ndarray]:
    """Sample one edited spectrogram image for each input image, instruction and seed (guidance: `EditWindows`).

    Args:
        images: uint8, shape (height, width), of sizes that fit (`check_image`).
        seeds: of the initial noise, generated on the CPU for the same result on every device.
        on_step: called with the number of finished denoising steps, over all images.

    Returns:
        uint8 grey levels, shape (height, width) each. Images are processed one by one, so results do not depend on the batch.

    Raises:
        DataError: images of a size that does not fit the model, or not as many as instructions and seeds.
        OptionError: no steps.
    """
    if not len(images) == len(prompts) == len(seeds):
        raise DataError(f"{len(images)} images, {len(prompts)} instructions and {len(seeds)} seeds; give one of each a sample")
    if options.steps < 1:
        raise OptionError(f"steps {options.steps}: give 1 or more")
    for image in images:
        check_image(pipeline, image)
    samples = []
    for number, (image, prompt, seed) in enumerate(zip(images, prompts, seeds, strict=True)):
        steps_before = number * options.steps

        def report(step: int, steps_before: int = steps_before) -> None:
            if on_step is not None:
                on_step(steps_before + step)

        height, width = len(image), _padded_width(pipeline, image)
        predictor, one_window = EditWindows(pipeline, image, prompt, options), WindowLayout(width)
        edited = sample_windows(pipeline, predictor, width, seed, options.steps, one_window, on_step=report, height=height)
        samples.append(np.ascontiguousarray(edited[:, : image.shape[1]]))
    return samples


def check_image(pipeline: StableDiffusionInstructPix2PixPipeline, image: np.ndarray) -> None:
    """Check that `sample_edit` can process an image of this size, uint8 (height, width).

    Raises:
        DataError: it cannot; the message names sizes that fit.
    """
    check_size(pipeline, len(image), _padded_width(pipeline, image), "an image")


def _padded_width(pipeline: StableDiffusionInstructPix2PixPipeline, image: np.ndarray) -> int:
    """Width at which an image is edited: widths that fit Stable Diffusion are padded to whole latent columns of this model."""
    width, factor = image.shape[1], latent_factor(pipeline)
    return width if width % WIDTH_MULTIPLE else -(-width // factor) * factor
