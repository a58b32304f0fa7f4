"""The VAE and the text encoder: sizes that fit, encoded images and texts, and prompts that are too long.

Images are encoded as in training, their modes unscaled; decoded ones are the mean of the three channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from riff.cli import warn
from riff.errors import DataError

SHOWN = 80  # characters of what is left out


def latent_factor(pipeline: DiffusionPipeline) -> int:
    """Pixels of the image for each latent pixel, along one side: 8 in Stable Diffusion."""
    return 2 ** (len(pipeline.vae.config.block_out_channels) - 1)


def size_multiples(pipeline: DiffusionPipeline) -> tuple[int, int]:
    """What an image's height and width must be multiples of.

    The latents are halved between the UNet's stages, and where their number is odd, diffusers' UNet evens it out. That is for
    widths such as 568, which Riffusion's data sets have; a spectrogram's height is 512.
    """
    factor = latent_factor(pipeline)
    return factor * 2 ** (len(pipeline.unet.config.block_out_channels) - 1), factor


def check_size(pipeline: DiffusionPipeline, height: int, width: int, what: str) -> None:
    """Refuse an image that does not fit (`size_multiples`).

    Raises:
        DataError: names the image as `what`, and the sizes that fit.
    """
    rows, columns = size_multiples(pipeline)
    if height % rows or width % columns or not height * width:
        raise DataError(
            f"{what} of {height}x{width} does not fit this model; heights must be multiples of {rows}, widths of {columns}"
        )


def encode_images(vae: Any, images: Sequence[np.ndarray]) -> Any:
    """Latent distribution, unscaled, of images: uint8 (height, width) each -> (images, channels, height / f, width / f)."""
    scaled = torch.from_numpy(np.stack(images).astype(np.float32) / 127.5 - 1.0)[:, None].repeat(1, 3, 1, 1)
    return vae.encode(scaled.to(vae.device, vae.dtype)).latent_dist


@torch.inference_mode()
def through_autoencoder(vae: Any, pixels: np.ndarray) -> np.ndarray:
    """Encode and decode an image: uint8 (height, width) -> the same."""
    decoded = vae.decode(encode_images(vae, [pixels]).mode()).sample.float().mean(dim=1)[0]
    return ((decoded + 1.0) * 127.5).round().clamp(0, 255).byte().cpu().numpy()


@torch.inference_mode()
def encode_texts(pipeline: Any, texts: Sequence[str]) -> torch.Tensor:
    """The text encoder's embeddings of texts, truncated to its length: (texts, tokens, width)."""
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    length = tokenizer.model_max_length
    tokens = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return encoder(tokens.input_ids.to(encoder.device)).last_hidden_state


def words_left_out(tokenizer: Any, texts: Iterable[str]) -> dict[str, str]:
    """The texts of more tokens than `tokenizer.model_max_length`, each with the words that truncation drops."""
    limit, unique = tokenizer.model_max_length, list(dict.fromkeys(texts))
    tokens = dict(zip(unique, tokenizer(unique, verbose=False).input_ids if unique else [], strict=True))
    # The last token that is kept is the mark of the text's end.
    return {text: tokenizer.decode(own[limit - 1 : -1]).strip() for text, own in tokens.items() if len(own) > limit}


def warn_of_long(tokenizer: Any, texts: Iterable[str]) -> None:
    """Warn, once for each set of texts, of the words that are truncated."""
    if tails := words_left_out(tokenizer, texts):
        first = next(iter(tails.values()))
        shown = first if len(first) <= SHOWN else f"{first[:SHOWN]}..."
        many = f"{len(tails)} prompts are" if len(tails) > 1 else "the prompt is"
        which = "of the first, this is left out" if len(tails) > 1 else "this is left out"
        _warn_once(f'{many} longer than the {tokenizer.model_max_length} tokens that the model reads; {which}: "{shown}"')


@cache
def _warn_once(message: str) -> None:
    """A prompt is embedded for every take."""
    warn(message)


def weights_hash(*modules: torch.nn.Module) -> str:
    """Hash of all of these weights, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def sampled_hash(parameters: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Hash of about 256 values of each tensor: 0.04 s for the UNet of Stable Diffusion 1.5, where all take 7 s."""
    digest = hashlib.sha256()
    for name, tensor in parameters:
        values = tensor.detach().reshape(-1)
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(values[:: max(1, len(values) // 256)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def encoder_names(pipeline: Any) -> tuple[str, str]:
    """Hashes of the VAE's and the text encoder's weights, the names of their caches."""
    return weights_hash(pipeline.vae), weights_hash(pipeline.text_encoder)
