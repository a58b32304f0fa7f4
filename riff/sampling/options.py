"""Sampling options of both model types: given by the user, recommended by the model, or the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riff.errors import ModelError
from riff.models.sources import read_origin

TARGETS = ("mix", "vocals")


@dataclass(frozen=True)
class SamplingOptions:
    """Options of a ControlNet pipeline.

    Attributes:
        steps: denoising steps of the UniPC sampler. guidance_scale: classifier-free guidance, 1 is off.
        strength: conditioning scale of the ControlNet, 0 is none. guess_mode: apply the ControlNet to the conditional prediction
            alone.
    """

    steps: int = 20
    guidance_scale: float = 4.0
    strength: float = 1.0
    guess_mode: bool = False
    negative_prompt: str = ""


@dataclass(frozen=True)
class EditOptions:
    """Options of an InstructPix2Pix pipeline.

    Attributes:
        steps: denoising steps of the UniPC sampler. guidance_scale: guidance by the instruction.
        image_guidance_scale: guidance by the input image; below 1 the output departs from it.
    """

    steps: int = 20
    guidance_scale: float = 7.5
    image_guidance_scale: float = 1.5
    negative_prompt: str = ""


def without_control(options: SamplingOptions) -> SamplingOptions:
    """The same options for the base model alone: a ControlNet of strength 0 adds nothing."""
    return SamplingOptions(options.steps, options.guidance_scale, strength=0.0, negative_prompt=options.negative_prompt)


def options_for(model: str | Path, guidance_scale: float | None, strength: float | None, **options: Any) -> SamplingOptions:
    """Options of a ControlNet pipeline; a scale that is None is the one that the model's `riff.json` recommends, or the default.

    Args:
        options: further fields of `SamplingOptions`.
    """
    return SamplingOptions(**_scales(SamplingOptions, model, guidance_scale=guidance_scale, strength=strength), **options)


def edit_options_for(
    model: str | Path, guidance_scale: float | None = None, image_guidance_scale: float | None = None, **options: Any
) -> EditOptions:
    """`options_for` of an InstructPix2Pix pipeline."""
    scales = _scales(EditOptions, model, guidance_scale=guidance_scale, image_guidance_scale=image_guidance_scale)
    return EditOptions(**scales, **options)


def edit_target(model: str | Path) -> str:
    """What a model generates, from its `riff.json`: the whole `mix` (default), or the `vocals` alone, to be added to the input.

    Raises:
        ModelError: another value.
    """
    target = read_origin(model).get("target", "mix")
    if target not in TARGETS:
        raise ModelError(f'{model}: its riff.json has "target": {target!r}; it must be {" or ".join(TARGETS)}')
    return target


def _scales(options: type, model: str | Path, **given: float | None) -> dict[str, Any]:
    recommended = read_origin(model).get("sampling", {})
    return {name: float(recommended.get(name, getattr(options, name)) if value is None else value) for name, value in given.items()}
