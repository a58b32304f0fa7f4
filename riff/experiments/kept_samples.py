"""Samples that are kept by what they were drawn from, so that no experiment draws again what another one drew."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from diffusers import StableDiffusionImg2ImgPipeline, UniPCMultistepScheduler

from riff.sampling.options import SamplingOptions
from riff.sampling.pipelines import image_to_image_pipeline, sample_control, sample_image_to_image

MOST_KEPT = 500  # pictures of 256 KB


class Sample(NamedTuple):
    """pixels: uint8, shape (height, width), not to be changed. seconds: that it took to draw."""

    pixels: np.ndarray
    seconds: float


class KeptSamples:
    """BatchRng of one pipeline. The same edges, prompt, seed and options give the sample that was drawn before.

    Args:
        pipeline: from `load_ready`.
        most: samples that are kept; those that nobody asked for longest are let go.
    """

    def __init__(self, pipeline: Any, most: int = MOST_KEPT) -> None:
        self.pipeline = pipeline
        self._most = most
        self._kept: OrderedDict[Hashable, Sample] = OrderedDict()

    def control(
        self, edges: np.ndarray, prompt: str, seed: int, options: SamplingOptions, sampler: type = UniPCMultistepScheduler
    ) -> Sample:
        """One draw of `sample_control`. sampler: a class of diffusers' schedulers."""

        def draw() -> np.ndarray:
            usual = self.pipeline.scheduler
            self.pipeline.scheduler = sampler.from_config(usual.config)  # type: ignore[attr-defined]
            try:
                return sample_control(self.pipeline, [edges], [prompt], [seed], options)[0]
            finally:
                self.pipeline.scheduler = usual

        return self._keep(("control", _name(edges), prompt, seed, options, sampler), draw)

    def image_to_image(self, start: np.ndarray, prompt: str, seed: int, options: SamplingOptions, change: float) -> Sample:
        """One draw of `sample_image_to_image` with the pipeline's base."""
        key = ("image to image", _name(start), prompt, seed, options, change)
        return self._keep(key, lambda: sample_image_to_image(self._from_pictures, [start], [prompt], [seed], options, change)[0])

    @cached_property
    def _from_pictures(self) -> StableDiffusionImg2ImgPipeline:
        return image_to_image_pipeline(self.pipeline)

    def _keep(self, key: Hashable, draw: Callable[[], np.ndarray]) -> Sample:
        if key not in self._kept:
            began = time.perf_counter()
            pixels = draw()
            self._kept[key] = Sample(pixels, time.perf_counter() - began)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def _name(pixels: np.ndarray) -> str:
    """A short name for exactly this picture."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
