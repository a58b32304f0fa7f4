"""Training data as a pure function of the step, so that a stopped run resumes exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from riff.data.latents import Encoded
from riff.data.records import EditRecord, PairRecord
from riff.data.stores import PairStore
from riff.errors import DataError
from riff.spectrogram.image import load_grey

Example = dict[str, torch.Tensor]


class SongClip(Protocol):
    """A record of either type of pairs."""

    @property
    def song(self) -> str: ...
    @property
    def start_s(self) -> float: ...
    @property
    def semitones(self) -> float: ...


Record = TypeVar("Record", bound=SongClip)


class ControlDataset(Dataset):
    """ControlNet pairs as tensors.

    An example holds `moments` float32 (2, channels, height, width), `text` and `no_text` float32 (77, width), and `hint`
    uint8 (1, image height, image width), 0 or 255: a twelfth of the bytes of three float channels, which the objective makes of it.
    """

    def __init__(self, store: PairStore, records: Sequence[PairRecord], encoded: Encoded) -> None:
        self._store, self.records, self._encoded = store, list(records), encoded

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        record = self.records[index]
        return {
            "moments": self._encoded.image(record.target),
            "text": self._encoded.text(record.prompt),
            "no_text": self._encoded.text(""),
            "hint": torch.from_numpy(load_grey(self._store.open(record.source), background=0))[None],
        }


class EditDataset(Dataset):
    """Edit pairs as tensors.

    An example holds `moments` float32 (2, channels, height, width) of the edited image, `image` float32 (channels, height,
    width), the mean of the input image's scaled latents, and `text` and `no_text` float32 (77, width).
    """

    def __init__(self, records: Sequence[EditRecord], encoded: Encoded) -> None:
        self.records, self._encoded = list(records), encoded

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        record = self.records[index]
        return {
            "moments": self._encoded.image(record.edited_file_path),
            "image": self._encoded.image(record.input_file_path)[0],
            "text": self._encoded.text(record.edit_prompt),
            "no_text": self._encoded.text(""),
        }


class StepSampler(Sampler[list[int]]):
    """Endless batches of indices in shuffled epochs; batch k depends on the seed and k alone.

    Args:
        size: of the data set. batch_size: indices a batch; an epoch's end may lie inside a batch.
        start: number of the first batch.
        rank, processes: each process takes its part of the batches that one process with the multiplied batch size would take.
    """

    def __init__(self, size: int, batch_size: int, seed: int, start: int = 0, rank: int = 0, processes: int = 1) -> None:
        if size < 1:
            raise DataError("no pairs are left to train on; make more, or hold out fewer songs")
        self._size, self._batch_size, self._seed = size, batch_size, seed
        self._batch, self._stride = start * processes + rank, processes

    def __iter__(self) -> Iterator[list[int]]:
        epoch, order = -1, np.empty(0, int)
        batch = self._batch
        while True:
            indices = []
            for position in range(batch * self._batch_size, (batch + 1) * self._batch_size):
                if position // self._size != epoch:
                    epoch = position // self._size
                    order = np.random.default_rng([self._seed, epoch]).permutation(self._size)
                indices.append(int(order[position % self._size]))
            yield indices
            batch += self._stride


def split_by_song(records: Sequence[Record], val_share: float) -> tuple[list[Record], list[Record]]:
    """(training, held-out) pairs; all clips and pitches of a song are on one side.

    The songs are ranked by a hash of their names, so that a song added later moves few others. At least one song is held
    out if there are two or more and the share is above 0; a single song is never held out.
    """
    songs = sorted({record.song for record in records}, key=lambda song: hashlib.blake2b(song.encode()).digest())
    count = min(len(songs) - 1, max(1, round(len(songs) * val_share))) if val_share > 0 else 0
    held_out = set(songs[:count])
    return [r for r in records if r.song not in held_out], [r for r in records if r.song in held_out]


def one_of_each_song(records: Sequence[Record], count: int) -> list[Record]:
    """At most `count` records of different songs: of each the least shifted, then the earliest."""
    chosen: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: (abs(record.semitones), record.song, record.start_s)):
        chosen.setdefault(record.song, record)
    return list(chosen.values())[:count]
