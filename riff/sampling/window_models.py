"""Noise prediction in windows of a long image, by a ControlNet that follows edges or by InstructPix2Pix."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from riff.models.encoders import encode_images, encode_texts, latent_factor, warn_of_long
from riff.sampling.known_region import pad_frames
from riff.sampling.options import EditOptions, SamplingOptions
from riff.sampling.pipelines import to_rgb
from riff.spectrogram.image import SILENCE

CACHED_HINTS = 64  # windows whose encoded edges are cached, 2.6 MB each at Stable Diffusion's size


class ControlWindows:
    """Predicts windows of a song that follow its edges, as diffusers' ControlNet pipeline predicts a clip.

    Args:
        pipeline: a ControlNet pipeline (`prepare_pipeline`).
        edges: uint8, shape (height, frames), 0 or 255, of the whole song.
        prompt: for the whole song.
    """

    def __init__(self, pipeline: Any, edges: np.ndarray, prompt: str, options: SamplingOptions) -> None:
        self._unet, self._strength, self._guess_mode = pipeline.unet, options.strength, options.guess_mode
        self._controlnet = _without_hint_encoder(pipeline.controlnet)
        self._encode_hint, self._factor = pipeline.controlnet.controlnet_cond_embedding, latent_factor(pipeline)
        self._edges = pad_frames(edges, self._factor, 0)
        self._hints: dict[tuple[int, int], torch.Tensor] = {}  # by the window's start in frames and width in columns
        self._weights = [weight for weight, _ in options.terms]
        texts = [prompt if with_prompt else options.negative_prompt for _, with_prompt in options.terms]
        warn_of_long(pipeline.tokenizer, texts)
        self._embeddings = encode_texts(pipeline, texts)

    @torch.inference_mode()
    def noise(self, latents: torch.Tensor, timestep: torch.Tensor, starts: Sequence[int]) -> torch.Tensor:
        noisy = latents.to(self._unet.dtype).repeat(len(self._weights), 1, 1, 1)
        embeddings = self._embeddings.repeat_interleave(len(starts), dim=0)
        down, mid = self._residuals(noisy, timestep, embeddings, starts) if self._strength != 0 else (None, None)
        predicted = self._unet(
            noisy, timestep, embeddings, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False
        )[0]
        return _weighted_sum(predicted, self._weights)

    def _residuals(
        self, noisy: torch.Tensor, timestep: torch.Tensor, embeddings: torch.Tensor, starts: Sequence[int]
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The ControlNet's residuals for the UNet's down blocks and mid block."""
        # In guess mode the unconditional prediction has no control, so guidance strengthens the control.
        controlled = len(starts) if self._guess_mode else len(noisy)
        hints = torch.cat([self._hint(start, noisy.shape[-1]) for start in starts])
        down, mid = self._controlnet(
            noisy[-controlled:],
            timestep,
            embeddings[-controlled:],
            controlnet_cond=hints.repeat(controlled // len(starts), 1, 1, 1),
            conditioning_scale=self._strength,
            guess_mode=self._guess_mode,
            return_dict=False,
        )
        padding = (0, 0) * 3 + (len(noisy) - controlled, 0)
        return [nn.functional.pad(residual, padding) for residual in down], nn.functional.pad(mid, padding)

    def _hint(self, start: int, columns: int) -> torch.Tensor:
        """A window's encoded edges, cached: their encoder works at full resolution and can cost as much as the rest."""
        if (start, columns) in self._hints:
            return self._hints[start, columns]
        edges = to_rgb([self._edges[:, start : start + columns * self._factor]])
        hint = self._encode_hint(edges.to(self._unet.device, self._unet.dtype))
        if len(self._hints) < CACHED_HINTS:
            self._hints[start, columns] = hint
        return hint


class EditWindows:
    """Predicts windows of a song edited by an instruction, with guidance by image and text.

    The noise is predicted without conditioning, e(0,0), from the image, e(I,0), and from image and instruction, e(I,T),
    and combined as e(0,0) + s_I (e(I,0) - e(0,0)) + s_T (e(I,T) - e(I,0)) (Brooks, Holynski and Efros, CVPR 2023) at every
    pair of scales. diffusers' own pipeline disables guidance when s_I < 1 or s_T <= 1.

    Args:
        pipeline: an edit pipeline (`prepare_pipeline`).
        image: uint8, shape (height, frames), of the whole song.
        instruction: for the whole song.
    """

    def __init__(self, pipeline: Any, image: np.ndarray, instruction: str, options: EditOptions) -> None:
        self._unet, self._vae, self._factor = pipeline.unet, pipeline.vae, latent_factor(pipeline)
        self._image = pad_frames(image, self._factor, SILENCE)
        self._latents: dict[tuple[int, int], torch.Tensor] = {}  # by the window's start in frames and width in columns
        texts = [options.negative_prompt, instruction]
        warn_of_long(pipeline.tokenizer, texts)
        embeddings = encode_texts(pipeline, texts)
        self._weights, self._with_image, with_text = zip(*options.terms, strict=True)
        self._embeddings = embeddings[torch.tensor(with_text).long()]

    @torch.inference_mode()
    def noise(self, latents: torch.Tensor, timestep: torch.Tensor, starts: Sequence[int]) -> torch.Tensor:
        noisy = latents.to(self._unet.dtype).repeat(len(self._weights), 1, 1, 1)
        image_latents = torch.cat([self._encoded(start, latents.shape[-1]) for start in starts])
        conditions = [image_latents if with_image else torch.zeros_like(image_latents) for with_image in self._with_image]
        embeddings = self._embeddings.repeat_interleave(len(starts), dim=0)
        predicted = self._unet(torch.cat([noisy, torch.cat(conditions)], dim=1), timestep, embeddings, return_dict=False)[0]
        return _weighted_sum(predicted, self._weights)

    def _encoded(self, start: int, columns: int) -> torch.Tensor:
        """A window's latents, cached; unscaled, as in training."""
        if (start, columns) not in self._latents:
            window = self._image[:, start : start + columns * self._factor]
            self._latents[start, columns] = encode_images(self._vae, [window]).mode()
        return self._latents[start, columns]


def _weighted_sum(predicted: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """(predictions * windows, channels, height, width) -> float32, shape (windows, channels, height, width)."""
    by_prediction = predicted.unflatten(0, (len(weights), -1)).float()
    return (torch.tensor(weights, device=predicted.device).view(-1, 1, 1, 1, 1) * by_prediction).sum(dim=0)


def _without_hint_encoder(controlnet: Any) -> Any:
    """A copy of the ControlNet, with shared weights, that takes encoded hints in place of images."""
    taking_hints = copy.copy(controlnet)
    taking_hints._modules = {**controlnet._modules, "controlnet_cond_embedding": nn.Identity()}
    taking_hints.register_to_config(controlnet_conditioning_channel_order="rgb")  # encoded hints have no channel order
    return taking_hints
