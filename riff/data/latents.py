"""What training reads instead of pictures and text: the VAE's latents and the text encoder's embeddings, computed once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from riff.cli import warn
from riff.data.cache import ArrayCache
from riff.data.stores import PairStore
from riff.errors import DataError
from riff.spectrogram.image import image_size, load_grey

Record = TypeVar("Record")


@dataclass(frozen=True)
class Encoded:
    """Caches for the pictures and texts of pairs.

    moments: (2, channels, height, width) float16 rows, the mean and standard deviation of the scaled latents.
    texts: (77, width) float16 rows. keys: of a picture by its name in the store. A text's key is the text; "" is there.
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
    store: PairStore, pictures: Sequence[str], texts: Sequence[str], pipeline: Any, names: tuple[str, str], device: str = "cpu"
) -> Encoded:
    """Encode what is not encoded yet; keyed by the pictures' content and the models' weights.

    Args:
        pictures: names in the store, of one size (`of_one_size`).
        pipeline: one with a `vae`, a `text_encoder` and a `tokenizer`. names: its `encoder_names`.

    Raises:
        DataError: a picture that is missing or broken.
    """
    vae, text_encoder, tokenizer = pipeline.vae, pipeline.text_encoder, pipeline.tokenizer
    keys = {picture: _content_key(store.read(picture)) for picture in dict.fromkeys(pictures)}
    picture_of = {key: picture for picture, key in keys.items()}
    moments, encoded_texts = (
        ArrayCache(store.cache / f"{kind}-{name}") for kind, name in zip(("latents", "texts"), names, strict=True)
    )

    @torch.inference_mode()
    def encode_images(batch: Sequence[str]) -> np.ndarray:
        grey = [load_grey(store.open(picture_of[key])) for key in batch]
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


def of_one_size(
    store: PairStore, records: Sequence[Record], pictures: Callable[[Record], Sequence[str]], check: Callable[[int, int], None]
) -> tuple[list[Record], tuple[int, int]]:
    """The records whose pictures have the commonest (height, width) that fits, and that size; others are named and left out.

    Args:
        pictures: names in the store of a record's pictures. check: raises `DataError` of a height and width that do not fit.

    Raises:
        DataError: a picture that is missing or broken, or no size that fits.
    """
    sizes = {name: image_size(store.open(name)) for record in records for name in pictures(record)}
    reasons: dict[tuple[int, int], str] = {}
    for size in set(sizes.values()):
        try:
            check(*size)
        except DataError as error:
            reasons[size] = str(error)
    counts = Counter(size for size in sizes.values() if size not in reasons)
    if not counts:
        raise DataError(f"{next(iter(sizes))}: {next(iter(reasons.values()))}")
    usual = counts.most_common(1)[0][0]
    for name, (height, width) in sizes.items():
        if (height, width) != usual:
            reason = reasons.get((height, width), f"{width}x{height} pixels, and most are {usual[1]}x{usual[0]}")
            warn(f"left out: {name}: {reason}")
    kept = [record for record in records if all(sizes[name] == usual for name in pictures(record))]
    if not kept:
        raise DataError("the pictures of every pair differ in size; make the pairs again")
    return kept, usual


def _content_key(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
