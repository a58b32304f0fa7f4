"""Training data as a pure function of the step: any run that stops can go on exactly where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from riff.data.latents import EncodedPairs
from riff.data.records import PairRecord
from riff.errors import DataError
from riff.spectrogram.image import load_grey

Example = dict[str, torch.Tensor]


class ControlDataset(Dataset):
    """Pairs as tensors.

    An example holds `moments` float32 (2, channels, height, width), `text` and `no_text` float32 (77, width), and `hint`
    float32 (3, image height, image width), 0 or 1.
    """

    def __init__(self, folder: Path, records: Sequence[PairRecord], encoded: EncodedPairs) -> None:
        self._folder, self.records, self._encoded = folder, list(records), encoded

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        record = self.records[index]
        edges = load_grey(self._folder / record.source).astype(np.float32) / 255.0
        return {
            "moments": self._tensor(self._encoded.moments[self._encoded.keys[record.target]]),
            "text": self._tensor(self._encoded.texts[record.prompt]),
            "no_text": self._tensor(self._encoded.texts[""]),
            "hint": torch.from_numpy(edges)[None].repeat(3, 1, 1),
        }

    @staticmethod
    def _tensor(row: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(row.astype(np.float32))


class StepSampler(Sampler[list[int]]):
    """Endless batches of indices, in shuffled epochs, from any batch on: batch k is the same whoever asks for it.

    Args:
        size: of the data set. batch_size: indices a batch; an epoch's end may lie inside a batch.
        start: number of the first batch.
    """

    def __init__(self, size: int, batch_size: int, seed: int, start: int = 0) -> None:
        if size < 1:
            raise DataError("--train_data_dir: no pairs are left to train on; make more, or lower --val_share")
        self._size, self._batch_size, self._seed, self._start = size, batch_size, seed, start

    def __iter__(self) -> Iterator[list[int]]:
        epoch, order = -1, np.empty(0, int)
        batch = self._start
        while True:
            indices = []
            for place in range(batch * self._batch_size, (batch + 1) * self._batch_size):
                if place // self._size != epoch:
                    epoch = place // self._size
                    order = np.random.default_rng([self._seed, epoch]).permutation(self._size)
                indices.append(int(order[place % self._size]))
            yield indices
            batch += 1


def split_by_song(records: Sequence[PairRecord], val_share: float) -> tuple[list[PairRecord], list[PairRecord]]:
    """(training, held-out) pairs; all clips and pitches of a song are on one side.

    The songs are ranked by a hash of their names, so that a song added later moves few others. At least one song is held
    out if there are two or more and the share is above 0; of a single song, nothing is.
    """
    songs = sorted({record.song for record in records}, key=lambda song: hashlib.blake2b(song.encode()).digest())
    count = min(len(songs) - 1, max(1, round(len(songs) * val_share))) if val_share > 0 else 0
    held_out = set(songs[:count])
    return [r for r in records if r.song not in held_out], [r for r in records if r.song in held_out]
