"""Encoded pairs for training: what both types of pairs share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, Generic, Self

from torch.utils.data import Dataset

from riff.data.datasets import Record, split_by_song
from riff.data.latents import Encoded, encode, of_one_size
from riff.data.stores import PairStore
from riff.errors import DataError
from riff.models.encoders import check_size, encoder_names, warn_of_long


@dataclass(frozen=True)
class TrainingData(Generic[Record]):
    """Encoded pairs, split by song.

    Attributes:
        store: of their images. training, held_out: of different songs.
        encoded: latents of the images that are encoded, and embeddings of the prompts. names: `encoder_names` of what encoded them.
    """

    store: PairStore
    training: list[Record]
    held_out: list[Record]
    encoded: Encoded
    names: tuple[str, str]

    @classmethod
    def prepare(
        cls,
        store: PairStore,
        records: Sequence[Record],
        pipeline: Any,
        device: str,
        val_share: float,
        resolution: int | None = None,
    ) -> Self:
        """Split pairs by song, and compute their missing latents and embeddings.

        Args:
            store, records: of the pairs, from `open_pairs`.
            resolution: required height and width of the images, None for any that fits the model.

        Raises:
            DataError: missing images, or none of a size that fits the model.
        """
        check = partial(check_size, pipeline, what="an image")
        records, size = of_one_size(store, records, lambda record: (*cls.conditions(record), *cls.images(record)), check)
        if resolution is not None and size != (resolution, resolution):
            raise DataError(
                f"resolution {resolution}: the images in {store.folder} are {size[0]}x{size[1]}, and resizing a spectrogram "
                "changes its sound; leave it out, or make the pairs again"
            )
        training, held_out = split_by_song(records, val_share)
        texts, names = [cls.prompt(record) for record in records], encoder_names(pipeline)
        warn_of_long(pipeline.tokenizer, texts)
        images = [path for record in records for path in cls.images(record)]
        return cls(store, training, held_out, encode(store, images, texts, pipeline, names, device), names)

    @staticmethod
    @abstractmethod
    def images(record: Record) -> tuple[str, ...]:
        """The names of a record's images that are encoded."""

    @staticmethod
    def conditions(record: Record) -> tuple[str, ...]:
        """The names of images that a model takes as they are."""
        return ()

    @staticmethod
    @abstractmethod
    def prompt(record: Record) -> str: ...

    @abstractmethod
    def examples(self, records: Sequence[Record]) -> Dataset:
        """Records as tensors."""

    def description(self) -> dict[str, Any]:
        """`describe_data` of these pairs."""

        def describe(record: Record) -> str:
            return " ".join([*(self.encoded.keys[path] for path in self.images(record)), self.prompt(record)])

        return describe_data(self.training, self.held_out, describe)


def describe_data(training: Sequence[Record], held_out: Sequence[Record], describe: Callable[[Record], str]) -> dict[str, Any]:
    """Describe the data of a run for its checkpoints, to recognise other data on resuming: hashes, and no song's name.

    Args:
        describe: a record -> hashes of its images, and its prompt.

    Returns:
        `training` and `held_out`: songs. `pairs`: one hash of all training pairs, in order. `count`: of training pairs.
    """

    def short(text: str) -> str:
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def songs(records: Sequence[Record]) -> list[str]:
        return sorted({short(record.song) for record in records})

    pairs = short("".join(short(f"{record.song} {describe(record)}") for record in training))
    return {"training": songs(training), "held_out": songs(held_out), "pairs": pairs, "count": len(training)}
