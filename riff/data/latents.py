"""The VAE's latents and the text encoder's embeddings of all pairs, computed once and cached."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from riff.cli import progress_bar, warn
from riff.data.stores import PairStore
from riff.errors import DataError
from riff.files import atomic_path, make_folder, write_json
from riff.models.encoders import encode_images, encode_texts
from riff.spectrogram.image import image_size, load_grey

Record = TypeVar("Record")


@dataclass(frozen=True)
class Encoded:
    """Caches for the images and texts of pairs.

    moments: (2, channels, height, width) float16 rows, the mean and standard deviation of the scaled latents.
    texts: (77, width) float16 rows. keys: of images, by their names in the store. A text's key is the text; "" is included.
    """

    moments: ArrayCache
    texts: ArrayCache
    keys: dict[str, str]

    def image(self, path: str) -> torch.Tensor:
        """Mean and standard deviation of an image's latents, float32, shape (2, channels, height, width)."""
        return _tensor(self.moments[self.keys[path]])

    def text(self, text: str) -> torch.Tensor:
        """float32, shape (77, width)."""
        return _tensor(self.texts[text])


def _tensor(row: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(row.astype(np.float32))


def encode(
    store: PairStore, images: Sequence[str], texts: Sequence[str], pipeline: Any, names: tuple[str, str], device: str = "cpu"
) -> Encoded:
    """Encode what is not cached yet; cache keys are hashes of the images' bytes and the models' weights.

    Args:
        images: names in the store, of one size (`of_one_size`).
        pipeline: with a `vae`, a `text_encoder` and a `tokenizer`. names: its `encoder_names`.

    Raises:
        DataError: an image is missing or broken.
    """
    vae, text_encoder = pipeline.vae, pipeline.text_encoder
    keys = {image: _content_key(store.read(image)) for image in dict.fromkeys(images)}
    image_of = {key: image for image, key in keys.items()}
    moments, encoded_texts = (
        ArrayCache(store.cache / f"{prefix}-{name}") for prefix, name in zip(("latents", "texts"), names, strict=True)
    )

    @torch.inference_mode()
    def image_rows(batch: Sequence[str]) -> np.ndarray:
        posterior = encode_images(vae, [load_grey(store.open(image_of[key])) for key in batch])
        scaled = torch.stack([posterior.mean, posterior.std], dim=1) * vae.config.scaling_factor
        return scaled.half().cpu().numpy()

    def text_rows(batch: Sequence[str]) -> np.ndarray:
        return encode_texts(pipeline, batch).half().cpu().numpy()

    # Channels last and, on a CPU, one image at a time, which fits into its caches: four times as fast.
    vae.to(device, memory_format=torch.channels_last)
    text_encoder.to(device)
    moments.fill(list(keys.values()), image_rows, 8 if device == "cuda" else 1, "latents")
    encoded_texts.fill(["", *texts], text_rows, 64, "texts")
    vae.to("cpu")
    text_encoder.to("cpu")
    return Encoded(moments, encoded_texts, keys)


def of_one_size(
    store: PairStore, records: Sequence[Record], images: Callable[[Record], Sequence[str]], check: Callable[[int, int], None]
) -> tuple[list[Record], tuple[int, int]]:
    """The records whose images have the commonest valid (height, width), and that size; the others are reported and left out.

    Args:
        images: names in the store of a record's images. check: raises `DataError` for an invalid height and width.

    Raises:
        DataError: an image is missing or broken, or no size is valid.
    """
    sizes = {name: image_size(store.open(name)) for record in records for name in images(record)}
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
    kept = [record for record in records if all(sizes[name] == usual for name in images(record))]
    if not kept:
        raise DataError("the images of every pair differ in size; make the pairs again")
    return kept, usual


def _content_key(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


SHARD_ROWS = 256


class ArrayCache:
    """Rows of one shape and dtype by key, in shards on disk, each complete or absent: an interrupted run loses at most one.

    Files: `rows-HASH.npy` with the rows and `rows-HASH.json` with their keys (written last), where HASH is that of the keys,
    so concurrent processes never write different keys under one name. Shards whose files do not match, and those of earlier
    versions (`shard-00000.npy`), are ignored and computed again.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._locations: dict[str, tuple[str, int]] = {}
        self._shards: dict[str, np.ndarray] = {}
        for file in sorted(self.folder.glob("rows-*.json")):
            keys = _read_keys(file)
            if keys is not None and file.stem == _shard_name(keys):
                self._locations.update({key: (file.stem, row) for row, key in enumerate(keys)})

    def __contains__(self, key: str) -> bool:
        return key in self._locations

    def __getitem__(self, key: str) -> np.ndarray:
        """The row, read-only, of the stored shape and dtype."""
        shard, row = self._locations[key]
        if shard not in self._shards:
            self._shards[shard] = np.load(self.folder / f"{shard}.npy", mmap_mode="r")
        return self._shards[shard][row]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_shards": {}}  # a worker process maps the files itself

    def fill(self, keys: Sequence[str], compute: Callable[[Sequence[str]], np.ndarray], batch_size: int, description: str) -> int:
        """Compute the rows of the missing keys, in order and in batches, and return their number.

        Args:
            compute: keys -> array of one row per key.
        """
        missing = [key for key in dict.fromkeys(keys) if key not in self]
        with progress_bar(total=len(missing), desc=description, disable=None if missing else True) as progress:
            for start in range(0, len(missing), SHARD_ROWS):
                shard_keys, rows = missing[start : start + SHARD_ROWS], []
                for first in range(0, len(shard_keys), batch_size):
                    batch = shard_keys[first : first + batch_size]
                    rows.append(compute(batch))
                    progress.update(len(batch))
                self._store(shard_keys, np.concatenate(rows))
        return len(missing)

    def _store(self, keys: list[str], rows: np.ndarray) -> None:
        make_folder(self.folder)
        name = _shard_name(keys)
        with atomic_path(self.folder / f"{name}.npy") as temporary:
            np.save(temporary, rows)
        write_json(self.folder / f"{name}.json", keys)
        self._locations.update({key: (name, row) for row, key in enumerate(keys)})


def _shard_name(keys: Sequence[str]) -> str:
    return f"rows-{hashlib.blake2b(json.dumps(keys).encode(), digest_size=16).hexdigest()}"


def _read_keys(file: Path) -> list[str] | None:
    """The keys of a shard; None where they cannot be read, or the rows are missing or of another number."""
    try:
        keys = json.loads(file.read_text(encoding="utf-8"))
        rows = np.load(file.with_suffix(".npy"), mmap_mode="r")
    except (OSError, ValueError, EOFError):  # EOFError: an empty file
        return None
    return keys if isinstance(keys, list) and len(keys) == len(rows) else None
