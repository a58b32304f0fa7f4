"""An experiment: a question about a model, what is measured to answer it, and how the answer is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from riff.cli import progress_bar
from riff.experiments.control import COMPARED_ITERATIONS, ClipPictures, Scored, TrueClip, means_by_kind
from riff.experiments.kept_samples import KeptSamples
from riff.experiments.songs import clips_of_folder
from riff.models.loading import load_control_pipeline, load_edit_pipeline
from riff.models.model_types import CONTROL, ModelType
from riff.sampling.pipelines import prepare_pipeline
from riff.seeds import seed_after
from riff.spectrogram.image import SpectrogramImage

Means = Mapping[str, Mapping[str, float]]  # by row of the table, then by metric


@dataclass(frozen=True)
class Bench:
    """What an experiment works with.

    Attributes:
        model: folder or hub id of what is measured. pipeline: it, ready to draw. samples: its draws, kept from one
            experiment to the next.
        clips: that no model saw. on_clip: called when one is done. load_clips: others, by what --songs takes.
        sound_iterations: of every sound that is compared.
    """

    model: str
    pipeline: Any
    samples: KeptSamples
    clips: Sequence[TrueClip]
    seed: int = 0
    device: str = "cpu"
    on_clip: Callable[[], object] = lambda: None
    load_clips: Callable[[str], Sequence[TrueClip]] = lambda songs: clips_of_folder(Path(songs))
    sound_iterations: int = COMPARED_ITERATIONS

    def pictures(self) -> Iterator[tuple[ClipPictures, int]]:
        """Every clip with its seed, the same in all experiments; a clip counts as done when the next is asked for."""
        for index, clip in enumerate(self.clips):
            yield ClipPictures(clip, iterations=self.sound_iterations), seed_after(self.seed, index)
            self.on_clip()


@dataclass(frozen=True)
class Shown:
    """A picture for the page: of which clip, under which name its files lie, and what stands below it."""

    clip: str
    name: str
    caption: str
    image: SpectrogramImage


@dataclass(frozen=True)
class Result:
    """What an experiment found.

    Attributes:
        sampling: how was drawn. scored: clip by clip. means: the table. shown: what the page may show.
        remarks: what the reader must know of this run, such as why a column is empty.
    """

    sampling: Mapping[str, Any]
    scored: Sequence[Scored]
    means: Means
    shown: Sequence[Shown]
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Experiment:
    """A question, and how it is answered.

    Attributes:
        name: as --experiment says it. question: the page's title. intro: a sentence under it.
        kind: of model that it needs, whose example is the default. other_kinds: that would do as well.
        metrics: the table's columns: name in the results -> heading. rows: likewise; a row without a heading shows its name.
        note: what the reader must know to read the table.
        run: measures; takes the bench and, by name, the command's `flags`.
    """

    name: str
    question: str
    intro: str
    kind: ModelType
    metrics: Mapping[str, str]
    note: str
    run: Callable[..., Result]
    flags: Sequence[str] = ()
    other_kinds: Sequence[ModelType] = ()
    rows: Mapping[str, str] = field(default_factory=dict)

    def measure(self, bench: Bench, flags: Mapping[str, Any]) -> Result:
        """Run over the bench's clips with a progress bar; `flags` holds the command's, those of others too."""
        with progress_bar(total=len(bench.clips), desc=self.name, unit="song") as progress:
            return self.run(replace(bench, on_clip=progress.update), **{flag: flags[flag] for flag in self.flags})

    def heading(self, row: str) -> str:
        return self.rows.get(row, row)


def load_bench(kind: ModelType, model: str, base: str | None, device: str, clips: Sequence[TrueClip], seed: int = 0) -> Bench:
    """A bench for a model of a kind, which draws nothing twice.

    Raises:
        ModelError: no such model, or one of another kind.
    """
    pipeline = load_ready(kind, model, base, device)
    return Bench(model, pipeline, KeptSamples(pipeline), clips, seed, device)


def load_ready(kind: ModelType, model: str, base: str | None, device: str) -> Any:
    """A model's pipeline on its device, ready to draw.

    Raises:
        ModelError: nothing there, or a model of another kind.
    """
    if kind is CONTROL:
        return prepare_pipeline(load_control_pipeline(model, base), device)
    return prepare_pipeline(load_edit_pipeline(model, base), device)


def mean_scores(scored: Sequence[Scored], metrics: Sequence[str]) -> dict[str, dict[str, float]]:
    """Mean of every metric by kind of picture, over the clips that have it; `clips` counts all of the kind."""
    clips = Counter(one.kind for one in scored)
    return {kind: means | {"clips": clips[kind]} for kind, means in means_by_kind(scored, metrics).items()}


def shown_with(scored: Sequence[Scored], caption: Callable[[Scored], str]) -> list[Shown]:
    """Every picture that was scored, with its caption."""
    return [Shown(one.clip, one.kind, caption(one), one.image) for one in scored]
