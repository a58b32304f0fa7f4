"""What training reads instead of pictures and text: the VAE's latents and the text encoder's embeddings, computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from riff.data.cache import ArrayCache
from riff.errors import DataError
from riff.spectrogram.image import image_size, load_grey

CACHE_FOLDER = ".cache"


@dataclass(frozen=True)
class Encoded:
    """Caches for the pictures and texts of a folder.

    moments: (2, channels, height, width) float16 rows, the mean and standard deviation of the scaled latents.
    texts: (77, width) float16 rows. keys: of a picture by its path in the folder. A text's key is the text; "" is there.
    """

    moments: ArrayCache
    texts: ArrayCache
    keys: dict[str, str]

    def picture(self, path: str) -> torch.Tensor:
        """Its latents' mean and standard deviation, float32, shape (2, channels, height, width)."""
        return _tensor(self.moments[self.keys[path]])

    def text(self, text: str) -> torch.Tensor:
        """float32, shape (77, width)."""
        return _tensor(self.texts[text])


def _tensor(row: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(row.astype(np.float32))


def encode(
    folder: Path, pictures: Sequence[str], texts: Sequence[str], pipeline: Any, names: tuple[str, str], device: str = "cpu"
) -> Encoded:
    """Encode what is not encoded yet; keyed by the pictures' content and the models' weights.

    Args:
        pictures: paths in the folder, of one size (`check_sizes`).
        pipeline: one with a `vae`, a `text_encoder` and a `tokenizer`. names: its `encoder_names`.

    Raises:
        DataError: a picture that is missing or broken.
    """
    vae, text_encoder, tokenizer = pipeline.vae, pipeline.text_encoder, pipeline.tokenizer
    keys = {picture: _file_key(folder / picture) for picture in dict.fromkeys(pictures)}
    paths = {key: folder / picture for picture, key in keys.items()}
    moments, encoded_texts = (
        ArrayCache(folder / CACHE_FOLDER / f"{kind}-{name}") for kind, name in zip(("latents", "texts"), names, strict=True)
    )

    @torch.inference_mode()
    def encode_images(batch: Sequence[str]) -> np.ndarray:
        grey = [load_grey(paths[key]) for key in batch]
        pixels = torch.from_numpy(np.stack(grey).astype(np.float32) / 127.5 - 1.0)
        posterior = vae.encode(pixels[:, None].repeat(1, 3, 1, 1).to(device)).latent_dist
        scaled = torch.stack([posterior.mean, posterior.std], dim=1) * vae.config.scaling_factor
        return scaled.half().cpu().numpy()

    @torch.inference_mode()
    def encode_texts(batch: Sequence[str]) -> np.ndarray:
        length = tokenizer.model_max_length
        tokens = tokenizer(list(batch), padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        return text_encoder(tokens.to(device)).last_hidden_state.half().cpu().numpy()

    # Channels last and, on a CPU, one picture at a time: what fits into its caches goes four times as fast.
    vae.to(device, memory_format=torch.channels_last)
    text_encoder.to(device)
    moments.fill(list(keys.values()), encode_images, 8 if device == "cuda" else 1, "latents")
    encoded_texts.fill(["", *texts], encode_texts, 64, "texts")
    vae.to("cpu")
    text_encoder.to("cpu")
    return Encoded(moments, encoded_texts, keys)


def check_sizes(folder: Path, pictures: Sequence[str]) -> tuple[int, int]:
    """The (height, width) that all pictures of a folder have.

    Raises:
        DataError: one that is missing, broken, or of another size than the first.
    """
    first = image_size(folder / pictures[0])
    for picture in pictures:
        size = image_size(folder / picture)
        if size != first:
            raise DataError(
                f"{folder / picture}: {size[0]}x{size[1]} pixels, but {pictures[0]} has {first[0]}x{first[1]}; "
                "make all pictures the same way"
            )
    return first


def _file_key(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: this picture of a pair is missing ({error.strerror}); make the pairs again") from error
