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
from riff.data.records import PairRecord
from riff.errors import DataError
from riff.spectrogram.image import load_grey

CACHE_FOLDER = ".cache"


@dataclass(frozen=True)
class EncodedPairs:
    """Caches for the targets of a folder of pairs.

    moments: (2, channels, height, width) float16 rows, the mean and standard deviation of the scaled latents.
    texts: (77, width) float16 rows. keys: of a record's target picture. The text's key is the prompt.
    """

    moments: ArrayCache
    texts: ArrayCache
    keys: dict[str, str]


def encode_pairs(
    folder: Path,
    records: Sequence[PairRecord],
    vae: Any,
    text_encoder: Any,
    tokenizer: Any,
    model_names: tuple[str, str],
    device: str = "cpu",
) -> EncodedPairs:
    """Encode what is not encoded yet; keyed by the pictures' content and the models' weights.

    Args:
        vae: diffusers' AutoencoderKL. text_encoder, tokenizer: CLIP's.
        model_names: names of exactly the VAE's and the text encoder's weights.

    Raises:
        DataError: a picture that is missing, broken or of another size than the first.
    """
    keys = {record.target: _file_key(folder / record.target) for record in records}
    paths = {key: folder / target for target, key in keys.items()}
    moments, texts = (
        ArrayCache(folder / CACHE_FOLDER / f"{kind}-{name}") for kind, name in zip(("latents", "texts"), model_names, strict=True)
    )

    @torch.inference_mode()
    def encode_images(batch: Sequence[str]) -> np.ndarray:
        grey = [load_grey(paths[key]) for key in batch]
        if len({picture.shape for picture in grey}) > 1:
            raise DataError(f"{paths[batch[0]].parent}: pictures of different sizes; make all pairs the same way")
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
    texts.fill(["", *(record.prompt for record in records)], encode_texts, 64, "texts")
    vae.to("cpu")
    text_encoder.to("cpu")
    return EncodedPairs(moments, texts, keys)


def _file_key(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: this picture of a pair is missing ({error.strerror}); make the pairs again") from error
