"""Train an objective on encoded pairs: what both model types share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from torch.utils.data import Dataset

from riff.data.datasets import Record
from riff.data.latents import Encoded
from riff.data.stores import PairStore
from riff.training.checkpoints import describe_data
from riff.training.memory import stored
from riff.training.module import NoiseTraining, Objective
from riff.training.options import TrainingOptions
from riff.training.processes import ALONE, Processes
from riff.training.run import RunSettings, run_training
from riff.training.run_dir import RunDir
from riff.training.samples import SampleLog
from riff.training.validation import FigureLog, ValidationLog, some_of_all


@dataclass(frozen=True)
class TrainingData(Generic[Record]):
    """Encoded pairs, split by song.

    Attributes:
        store: of their images. training, held_out: of different songs.
        encoded: latents of all their images, and embeddings of their prompts. names: `encoder_names` of what encoded them.
    """

    store: PairStore
    training: list[Record]
    held_out: list[Record]
    encoded: Encoded
    names: tuple[str, str]

    @abstractmethod
    def examples(self, records: Sequence[Record]) -> Dataset:
        """Records as tensors."""

    @abstractmethod
    def content(self, record: Record) -> str:
        """Hashes of a record's images, and its prompt."""


def train(
    pipeline: Any,
    objective: Objective,
    data: TrainingData[Any],
    options: TrainingOptions,
    run_dir: RunDir,
    settings: RunSettings,
    figures: FigureLog,
    samples: SampleLog,
    resume: Path | None = None,
    processes: Processes = ALONE,
) -> tuple[int, str]:
    """Train the objective's models, which are the pipeline's, in place.

    Returns:
        The last step, and why the run stopped early ("" if it did not).

    Raises:
        ModelError: `resume` is of another model. DataError: or of another split of the songs.
        TrainingError: as `run_training`.
    """
    content = describe_data(data.training, data.held_out, data.content)
    fingerprint = "-".join(filter(None, (*data.names, objective.frozen_name)))
    held_out = data.examples(some_of_all(data.held_out, settings.validation_images))
    validation = ValidationLog(held_out, figures, settings.validate_every, settings.validation_images)
    with stored(objective, pipeline.vae, options.savings, settings.precision):
        module = NoiseTraining(
            objective, pipeline.scheduler, data.examples(data.training), options, fingerprint, processes, content
        )
        return run_training(module, run_dir, settings, figures, [validation, samples], resume, processes)
