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
        steps: denoising steps. guidance_scale: classifier-free guidance, 1 is off.
        strength: conditioning scale of the ControlNet, 0 is none. guess_mode: apply the ControlNet to the conditional prediction
            alone.
    """

    steps: int = 20
    guidance_scale: float = 4.0
    strength: float = 1.0
    guess_mode: bool = False
    negative_prompt: str = ""

    @property
    def recommendation(self) -> dict[str, float]:
        """What `riff.json` recommends for a model that is to be sampled with these options."""
        return {"steps": self.steps, "guidance_scale": self.guidance_scale, "strength": self.strength}

    @property
    def terms(self) -> list[tuple[float, bool]]:
        """The predictions that guidance sums: their weights, and whether they are conditioned on the prompt."""
        # Without guidance the unconditional prediction has weight 0 and is skipped.
        return [(1 - self.guidance_scale, False), (self.guidance_scale, True)] if self.guidance_scale > 1 else [(1.0, True)]


@dataclass(frozen=True)
class EditOptions:
    """Options of an InstructPix2Pix pipeline.

    Attributes:
        steps: denoising steps. guidance_scale: guidance by the instruction.
        image_guidance_scale: guidance by the input image; below 1 the output departs from it.
    """

    steps: int = 20
    guidance_scale: float = 7.5
    image_guidance_scale: float = 1.5
    negative_prompt: str = ""

    @property
    def recommendation(self) -> dict[str, float]:
        """As of `SamplingOptions`."""
        scales = {"guidance_scale": self.guidance_scale, "image_guidance_scale": self.image_guidance_scale}
        return {"steps": self.steps} | scales

    @property
    def terms(self) -> list[tuple[float, bool, bool]]:
        """The predictions that guidance sums: their weights, and whether they are conditioned on image and instruction.

        Predictions of weight 0 are skipped: at an image scale of 1 that saves a third of the time.
        """
        image, text = self.image_guidance_scale, self.guidance_scale
        terms = [(1 - image, False, False), (image - text, True, False), (text, True, True)]
        return [term for term in terms if term[0] != 0]


def without_control(options: SamplingOptions) -> SamplingOptions:
    """The same options for the base model alone: a ControlNet of strength 0 adds nothing."""
    return SamplingOptions(options.steps, options.guidance_scale, strength=0.0, negative_prompt=options.negative_prompt)


def options_for(model: str | Path, guidance_scale: float | None, strength: float | None, **options: Any) -> SamplingOptions:
    """Options of a ControlNet pipeline; what is None or missing is as the model's `riff.json` recommends, or the default.

    Args:
        options: further fields of `SamplingOptions`.
    """
    return SamplingOptions(**_recommended(SamplingOptions, model, guidance_scale=guidance_scale, strength=strength, **options))


def edit_options_for(
    model: str | Path, guidance_scale: float | None = None, image_guidance_scale: float | None = None, **options: Any
) -> EditOptions:
    """`options_for` of an InstructPix2Pix pipeline."""
    scales = {"guidance_scale": guidance_scale, "image_guidance_scale": image_guidance_scale}
    return EditOptions(**_recommended(EditOptions, model, **scales, **options))


def edit_target(model: str | Path) -> str:
    """What a model generates, from its `riff.json`: the whole `mix` (default), or the `vocals` alone, to be added to the input.

    Raises:
        ModelError: another value.
    """
    target = read_origin(model).get("target", "mix")
    if target not in TARGETS:
        raise ModelError(f'{model}: its riff.json has "target": {target!r}; it must be {" or ".join(TARGETS)}')
    return target


def _recommended(options: type, model: str | Path, **given: Any) -> dict[str, Any]:
    sampling = read_origin(model).get("sampling", {})
    kinds = {"steps": int, "guidance_scale": float, "strength": float, "image_guidance_scale": float}
    recommended = {name: kind(sampling[name]) for name, kind in kinds.items() if name in sampling and hasattr(options, name)}
    return recommended | {name: value for name, value in given.items() if value is not None}
