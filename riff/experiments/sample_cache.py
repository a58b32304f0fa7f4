"""A cache of a model's samples, so that no experiment generates again what another one generated."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from diffusers import StableDiffusionImg2ImgPipeline

from riff.sampling.options import SamplingOptions
from riff.sampling.pipelines import image_to_image_pipeline, sample_control, sample_image_to_image

CACHE_SIZE = 500  # images of 256 KB


class Sample(NamedTuple):
    """pixels: uint8, shape (n_mels, frames), not to be changed. seconds: that the sampling took."""

    pixels: np.ndarray
    seconds: float


class SampleCache:
    """Generates samples, and keeps them by everything that decides them.

    Args:
        pipeline: of a ControlNet, ready to sample from. size: samples that are kept; the least recently used goes first.
    """

    def __init__(self, pipeline: Any, size: int = CACHE_SIZE) -> None:
        self.pipeline = pipeline
        self._size = size
        self._kept: OrderedDict[Hashable, Sample] = OrderedDict()

    def control(self, edges: np.ndarray, prompt: str, seed: int, options: SamplingOptions, sampler: type | None = None) -> Sample:
        """One sample of `sample_control`. sampler: a scheduler class of diffusers, None for the pipeline's own."""
        sampler = sampler or type(self.pipeline.scheduler)

        def generate() -> np.ndarray:
            usual = self.pipeline.scheduler
            self.pipeline.scheduler = sampler.from_config(usual.config)  # type: ignore[attr-defined]
            try:
                return sample_control(self.pipeline, [edges], [prompt], [seed], options)[0]
            finally:
                self.pipeline.scheduler = usual

        return self._cached(("control", _hash(edges), prompt, seed, options, sampler), generate)

    def image_to_image(self, start: np.ndarray, prompt: str, seed: int, options: SamplingOptions, change: float) -> Sample:
        """One sample of `sample_image_to_image` from the pipeline's base."""
        key = ("image to image", _hash(start), prompt, seed, options, change)
        return self._cached(key, lambda: sample_image_to_image(self._base, [start], [prompt], [seed], options, change)[0])

    @cached_property
    def _base(self) -> StableDiffusionImg2ImgPipeline:
        return image_to_image_pipeline(self.pipeline)

    def _cached(self, key: Hashable, generate: Callable[[], np.ndarray]) -> Sample:
        if key not in self._kept:
            start = time.perf_counter()
            pixels = generate()
            self._kept[key] = Sample(pixels, time.perf_counter() - start)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def _hash(pixels: np.ndarray) -> str:
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
