"""What denoises windows of a long picture: a ControlNet that follows edges, or an edit model that looks at a picture."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from riff.models.base import latent_factor
from riff.models.prompts import warn_of_long
from riff.sampling.control import SamplingOptions
from riff.sampling.known_region import pad_frames
from riff.sampling.windows import encode_image
from riff.spectrogram.image import SILENCE

if TYPE_CHECKING:  # riff.sampling.edit draws with what is here
    from riff.sampling.edit import EditOptions

KEPT_HINTS = 64  # windows whose encoded edges are kept, 2.6 MB each at Stable Diffusion's size; a longer song's are made anew


class ControlWindows:
    """Predicts windows of a song under the control of its edges, as diffusers' pipeline predicts a clip.

    Args:
        pipeline: a ControlNet pipeline (`prepare_pipeline`).
        edges: uint8, shape (height, frames), 0 or 255, of the whole song.
        prompt: for all of it.
    """

    def __init__(self, pipeline: Any, edges: np.ndarray, prompt: str, options: SamplingOptions) -> None:
        self._unet, self._strength, self._guess_mode = pipeline.unet, options.strength, options.guess_mode
        self._controlnet = _without_hint_encoder(pipeline.controlnet)
        self._encode_hint, self._factor = pipeline.controlnet.controlnet_cond_embedding, latent_factor(pipeline)
        self._edges = pad_frames(edges, self._factor, 0)
        self._features: dict[tuple[int, int], torch.Tensor] = {}  # by the window's start in frames and width in columns
        scale = options.guidance_scale
        # Without guidance the prediction that knows no prompt counts for nothing and is not made.
        self._weights, texts = ([1 - scale, scale], [options.negative_prompt, prompt]) if scale > 1 else ([1.0], [prompt])
        self._words = embed_texts(pipeline, texts)

    @torch.inference_mode()
    def noise(self, latents: torch.Tensor, timestep: torch.Tensor, starts: Sequence[int]) -> torch.Tensor:
        noisy = latents.to(self._unet.dtype).repeat(len(self._weights), 1, 1, 1)
        words = self._words.repeat_interleave(len(starts), dim=0)
        down, mid = self._control(noisy, timestep, words, starts) if self._strength != 0 else (None, None)
        predicted = self._unet(
            noisy, timestep, words, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False
        )[0]
        return _combine(predicted, self._weights)

    def _control(
        self, noisy: torch.Tensor, timestep: torch.Tensor, words: torch.Tensor, starts: Sequence[int]
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """What the ControlNet adds to the UNet's features."""
        # In guess mode what knows no prompt knows no control either: the control is what guidance strengthens.
        controlled = len(starts) if self._guess_mode else len(noisy)
        features = torch.cat([self._hint(start, noisy.shape[-1]) for start in starts])
        down, mid = self._controlnet(
            noisy[-controlled:],
            timestep,
            words[-controlled:],
            controlnet_cond=features.repeat(controlled // len(starts), 1, 1, 1),
            conditioning_scale=self._strength,
            guess_mode=self._guess_mode,
            return_dict=False,
        )
        before = (0, 0) * 3 + (len(noisy) - controlled, 0)
        return [nn.functional.pad(one, before) for one in down], nn.functional.pad(mid, before)

    def _hint(self, start: int, columns: int) -> torch.Tensor:
        """A window's encoded edges: working on the full picture, their encoder can cost as much as everything else."""
        if (start, columns) in self._features:
            return self._features[start, columns]
        edges = self._edges[:, start : start + columns * self._factor].astype(np.float32) / 255.0
        hint = torch.from_numpy(edges)[None, None].repeat(1, 3, 1, 1)
        features = self._encode_hint(hint.to(self._unet.device, self._unet.dtype))
        if len(self._features) < KEPT_HINTS:
            self._features[start, columns] = features
        return features


class EditWindows:
    """Predicts windows of a song that an instruction changes, by three-way guidance.

    The noise is predicted without anything, e(0,0), from the picture, e(I,0), and from picture and instruction, e(I,T),
    and combined as e(0,0) + s_I (e(I,0) - e(0,0)) + s_T (e(I,T) - e(I,0)) (Brooks, Holynski and Efros, CVPR 2023) at every
    pair of scales. diffusers' own pipeline leaves all guidance out when s_I < 1 or s_T <= 1.

    Args:
        pipeline: an edit pipeline (`prepare_pipeline`).
        picture: uint8, shape (height, frames), of the whole song.
        instruction: for all of it.
    """

    def __init__(self, pipeline: Any, picture: np.ndarray, instruction: str, options: EditOptions) -> None:
        self._unet, self._vae, self._factor = pipeline.unet, pipeline.vae, latent_factor(pipeline)
        self._picture = pad_frames(picture, self._factor, SILENCE)
        self._latents: dict[tuple[int, int], torch.Tensor] = {}  # by the window's start in frames and width in columns
        no_text, text = embed_texts(pipeline, [options.negative_prompt, instruction])
        s_image, s_text = options.image_guidance_scale, options.guidance_scale
        # The formula by prediction: its weight, whether it knows the picture, and its words. What counts for nothing is not
        # predicted: at s_I = 1 that saves a third of the time.
        terms = [(1 - s_image, False, no_text), (s_image - s_text, True, no_text), (s_text, True, text)]
        terms = [term for term in terms if term[0] != 0]
        self._weights, self._with_picture = [weight for weight, _, _ in terms], [knows for _, knows, _ in terms]
        self._words = torch.stack([words for _, _, words in terms])

    @torch.inference_mode()
    def noise(self, latents: torch.Tensor, timestep: torch.Tensor, starts: Sequence[int]) -> torch.Tensor:
        noisy = latents.to(self._unet.dtype).repeat(len(self._weights), 1, 1, 1)
        pictures = torch.cat([self._encoded(start, latents.shape[-1]) for start in starts])
        conditions = [pictures if knows else torch.zeros_like(pictures) for knows in self._with_picture]
        words = self._words.repeat_interleave(len(starts), dim=0)
        predicted = self._unet(torch.cat([noisy, torch.cat(conditions)], dim=1), timestep, words, return_dict=False)[0]
        return _combine(predicted, self._weights)

    def _encoded(self, start: int, columns: int) -> torch.Tensor:
        """A window's latents, kept; unscaled, as the model was trained."""
        if (start, columns) not in self._latents:
            window = self._picture[:, start : start + columns * self._factor]
            self._latents[start, columns] = encode_image(self._vae, window)
        return self._latents[start, columns]


def _combine(predicted: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """The weighted sum of (predictions * windows, channels, height, width): float32, shape (windows, channels, height, width)."""
    by_prediction = predicted.unflatten(0, (len(weights), -1)).float()
    return (torch.tensor(weights, device=predicted.device).view(-1, 1, 1, 1, 1) * by_prediction).sum(dim=0)


def _without_hint_encoder(controlnet: Any) -> Any:
    """The same ControlNet, of the same weights, that takes encoded hints in place of pictures; the one given stays as it is."""
    taking_features = copy.copy(controlnet)
    taking_features._modules = {**controlnet._modules, "controlnet_cond_embedding": nn.Identity()}
    taking_features.register_to_config(controlnet_conditioning_channel_order="rgb")  # features have no such order
    return taking_features


@torch.inference_mode()
def embed_texts(pipeline: Any, texts: list[str]) -> torch.Tensor:
    """The text encoder's embeddings: (texts, tokens, width). What is longer than it reads is warned of."""
    tokenizer = pipeline.tokenizer
    warn_of_long(tokenizer, texts)
    tokens = tokenizer(texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt")
    return pipeline.text_encoder(tokens.input_ids.to(pipeline.device)).last_hidden_state
