"""An experiment: a question about a model, the measurements that answer it, and their table."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from riff.cli import progress_bar
from riff.experiments.clips import ReferenceClip, clips_of_folder
from riff.experiments.sample_cache import SampleCache
from riff.models.model_types import ModelType
from riff.sampling.melody import COMPOSE, Tune, tune_for
from riff.sampling.options import SamplingOptions
from riff.sampling.song import SongModel, load_song_model
from riff.seeds import seed_after
from riff.spectrogram.image import SpectrogramImage

Means = Mapping[str, Mapping[str, float]]  # by row of the table, then by metric


@dataclass(frozen=True)
class ScoredImage:
    """A spectrogram image of one clip with its scores.

    Attributes:
        row: of the table that its scores belong to. caption: under the image on the page; without one it is not shown.
    """

    clip: str
    row: str
    image: SpectrogramImage
    scores: Mapping[str, float]
    caption: str = ""


@dataclass(frozen=True)
class Result:
    """The measurements of an experiment.

    Attributes:
        sampling: the sampling options. scored: images with scores, clip by clip.
        means: the table (default: the means of the experiment's metrics). unscored: images that are only shown.
        remarks: about this run, such as why a column is empty.
    """

    sampling: Mapping[str, Any]
    scored: Sequence[ScoredImage]
    means: Means = field(default_factory=dict)
    unscored: Sequence[ScoredImage] = ()
    remarks: Sequence[str] = ()

    @property
    def shown(self) -> list[ScoredImage]:
        return [one for one in (*self.scored, *self.unscored) if one.caption]


@dataclass(frozen=True)
class Evaluation:
    """A model and the clips that it is evaluated on.

    Attributes:
        name: folder or hub id of the model. samples: of the model, kept from one experiment to the next.
        clips: that are not in the model's training data. load_clips: other clips, from a value of --songs.
        label: of the progress bar.
    """

    name: str
    model: SongModel
    samples: SampleCache
    clips: Sequence[ReferenceClip]
    seed: int = 0
    device: str = "cpu"
    load_clips: Callable[[str], Sequence[ReferenceClip]] = clips_of_folder
    label: str = ""

    @property
    def control_options(self) -> SamplingOptions:
        assert isinstance(self.model.options, SamplingOptions)  # `find_experiments` has checked the model's type
        return self.model.options

    @property
    def composed_tune(self) -> Tune:
        """A tune to compose, at the strength that the model recommends."""
        tune = tune_for(self.name, COMPOSE, None)
        assert tune is not None  # only without a source there is none
        return tune

    def seeded_clips(self) -> Iterator[tuple[ReferenceClip, int]]:
        """Every clip with its seed, which is the same in all experiments, under a progress bar."""
        for index, clip in enumerate(progress_bar(self.clips, desc=self.label, unit="song")):
            yield clip, seed_after(self.seed, index)


def load_evaluation(
    name: str, clips: Sequence[ReferenceClip], base: str | None = None, device: str = "cpu", seed: int = 0, **sampling: Any
) -> Evaluation:
    """Load a model for evaluation.

    Args:
        base, device, sampling: as in `load_song_model`.

    Raises:
        ModelError: no model there.
    """
    model = load_song_model(name, base, device, **sampling)
    return Evaluation(name, model, SampleCache(model.pipeline), clips, seed, device)


@dataclass(frozen=True)
class Experiment:
    """A question about a model, and how it is answered.

    Attributes:
        name: as --experiment takes it. question: the page's title. intro: a sentence under it.
        model_types: of the models that can be evaluated; the example of the first is the default model.
        metrics: the table's columns, from names in the results to headings. rows: likewise; a row without a heading shows its name.
        note: what the reader must know to read the table.
        run: the measurements, from an `Evaluation` and, by name, the flags of the command that are its further parameters.
    """

    name: str
    question: str
    intro: str
    model_types: Sequence[ModelType]
    metrics: Mapping[str, str]
    note: str
    run: Callable[..., Result]
    rows: Mapping[str, str] = field(default_factory=dict)

    @property
    def flags(self) -> list[str]:
        """Names of the command's flags that `run` takes."""
        return list(inspect.signature(self.run).parameters)[1:]

    def measure(self, evaluation: Evaluation, flags: Mapping[str, Any]) -> Result:
        """Run on the evaluation's clips; `flags` may hold more than this experiment's."""
        result = self.run(replace(evaluation, label=self.name), **{flag: flags[flag] for flag in self.flags})
        return result if result.means else replace(result, means=mean_scores(result.scored, self.metrics))

    def heading(self, row: str) -> str:
        return self.rows.get(row, row)


def mean_scores(scored: Sequence[ScoredImage], metrics: Iterable[str], count: bool = True) -> dict[str, dict[str, float]]:
    """Mean of every metric by row, in order of appearance, over the clips that have the metric.

    Args:
        count: add `clips`, the number of clips of the row.
    """
    means: dict[str, dict[str, float]] = {}
    for row, clips in Counter(one.row for one in scored).items():
        scores = [one.scores for one in scored if one.row == row]
        values = {metric: [found[metric] for found in scores if metric in found] for metric in metrics}
        means[row] = {metric: float(np.mean(found)) for metric, found in values.items() if found}
        means[row] |= {"clips": clips} if count else {}
    return means
