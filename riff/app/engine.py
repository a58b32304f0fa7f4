"""Generation for the page: one model in memory, its takes of a part, and the edges that control them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from riff.app.songs import Part
from riff.audio.notes import Note
from riff.cli import ROOT
from riff.errors import OptionError
from riff.models.model_types import CONTROL, EDIT, model_type_of
from riff.sampling.edit import ScoredTake
from riff.sampling.melody import NONE, STRENGTH, PlacedTune, Tune, TuneGuide, tune_for
from riff.sampling.mixback import Mix
from riff.sampling.options import EditOptions, SamplingOptions, edit_options_for, options_for
from riff.sampling.rendering import render_mix
from riff.sampling.song import SongModel, SongSampler, generate_take, load_song_model
from riff.sampling.stream import SongStream
from riff.seeds import seed_after
from riff.spectrogram.edges import canny_edges
from riff.tagging.label import write_prompt

# The edit model first: it does better on recorded songs.
INCLUDED = (EDIT.example, CONTROL.example)
TRAINED_HERE = ("models/riff-pix2pix-final", "models/riff-cnet-final")
MOST_STEPS, MOST_TAKES, MOST_CANDIDATES = 100, 4, 8
MOST = {"scale": 15.0, "strength": 3.0, "image_scale": 10.0, "melody_strength": 1.0}  # that can be chosen
VARIATIONS = (0.6, 1.5)  # of a take's strength
RANDOM_SEEDS = 1_000_000  # range of seeds where none is given: short enough to type in again


@dataclass(frozen=True)
class ModelChoice:
    """A model to choose on the page.

    Attributes:
        name: folder, file or hub id. title: unique display name, without the server's paths. options: its recommended ones.
        melody, melody_strength: likewise, as in `TakeRequest`.
    """

    name: str
    title: str
    options: SamplingOptions | EditOptions
    melody: str = NONE
    melody_strength: float = STRENGTH

    @property
    def follows_edges(self) -> bool:
        return isinstance(self.options, SamplingOptions)


def parse_seed(text: str | None) -> int | None:
    """The seed that a visitor typed, None where the field is empty.

    Raises:
        OptionError: it is no whole number.
    """
    typed = (text or "").strip()
    if typed and not (typed.isdecimal() and typed.isascii() and len(typed) < 20):
        raise OptionError(f"seed: {typed[:20]} is no seed; give a whole number, or leave it empty for another one every time")
    return int(typed) if typed else None


def description(words: Mapping[str, str]) -> str:
    """`write_prompt` without its verb."""
    return write_prompt(words).partition(" ")[2]


@dataclass(frozen=True)
class TakeRequest:
    """Settings of the takes to generate.

    Attributes:
        model: title of an offered model.
        scale, strength, image_scale: as in `SamplingOptions` and `EditOptions`; a model ignores those it does not have.
        seed: of the first take; further takes use the following seeds; None for a random one.
        takes: number of takes. best_of: candidates per take. canny: thresholds of the edges.
        melody, melody_strength: source and strength of a `Tune`, or `none`. notes: of the tune; empty for those of its source.
    """

    model: str
    prompt: str
    negative_prompt: str = ""
    steps: int = 20
    scale: float = 4.0
    strength: float = 1.0
    image_scale: float = 1.5
    guess_mode: bool = False
    seed: int | None = None
    takes: int = 1
    best_of: int = 1
    canny: tuple[int, int] = (100, 200)
    melody: str = NONE
    melody_strength: float = STRENGTH
    notes: tuple[Note, ...] = ()

    @property
    def settings(self) -> TakeRequest:
        """What takes of other seeds have in common."""
        return replace(self, seed=None, takes=1)

    def each_take(self) -> list[TakeRequest]:
        """A request for each take, with its own seed; random ones where none is given."""
        first = secrets.randbelow(RANDOM_SEEDS) if self.seed is None else self.seed
        return [replace(self, seed=seed_after(first, number), takes=1) for number in range(self.takes)]

    def variations(self, follows_edges: bool) -> list[TakeRequest]:
        """The same take, held to its melody less and more; without a melody, to its edges or its backing.

        Raises:
            OptionError: its strength is 0.
        """
        field = "melody_strength" if self.melody != NONE else "strength" if follows_edges else "image_scale"
        own = getattr(self, field)
        values: list[dict[str, Any]] = [{field: round(min(MOST[field], factor * own), 2)} for factor in VARIATIONS]
        if others := [replace(self, **value) for value in values if value[field] != own]:
            return others
        raise OptionError(f"its {field.replace('_', ' ')} is 0, of which there is no less and no more; change the settings instead")

    def __post_init__(self) -> None:
        limits = {"steps": (self.steps, MOST_STEPS), "takes": (self.takes, MOST_TAKES), "best of": (self.best_of, MOST_CANDIDATES)}
        for name, (number, most) in limits.items():
            if not 1 <= number <= most:
                raise OptionError(f"{name}: {number} is not possible; give 1 to {most}")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise OptionError(f"seed: {self.seed} is not possible; give 0 to {2**32 - 1}")
        if not 0 <= self.melody_strength <= 1:
            raise OptionError(f"strength of the melody: {self.melody_strength:g} is not possible; give 0 to 1")
        if len(self.prompt) > 1_000 or len(self.negative_prompt) > 1_000:
            raise OptionError("the prompt is longer than 1000 characters; shorten it")


def offered_models(further: Sequence[str] = ()) -> list[ModelChoice]:
    """Further models, then those trained in the repository or the working folder, then the included small ones.

    Raises:
        ModelError: a model is missing or of no known type. OptionError: there is no model at all.
    """
    folders = [root / name for name in (*TRAINED_HERE, *INCLUDED) for root in (ROOT, Path.cwd())]
    names = list(dict.fromkeys([*further, *(str(folder) for folder in folders if folder.is_dir())]))
    if not names:
        raise OptionError(f"no {' or '.join(INCLUDED)} here; run this in the repository's folder, or give --model")
    titles = [name if "/" in name and not Path(name).exists() else Path(name).name for name in names]
    return [_choice(name, name if titles.count(title) > 1 else title) for name, title in zip(names, titles, strict=True)]


def _choice(name: str, title: str) -> ModelChoice:
    tune = tune_for(name, None, None)
    melody = (tune.source, tune.strength) if tune else (NONE, STRENGTH)
    if model_type_of(name) is CONTROL:
        return ModelChoice(name, title, options_for(name, None, None), *melody)
    return ModelChoice(name, title, edit_options_for(name), *melody)


class Engine:
    """Generates takes. Not thread-safe.

    Args:
        models: to offer. base: to use instead of the one that each model names.
    """

    def __init__(self, models: Sequence[ModelChoice], base: str | None = None, device: str = "cpu") -> None:
        self.models = {choice.title: choice for choice in models}
        self.device, self._base = device, base
        self._loaded: tuple[str, SongModel] | None = None  # by its title

    def choice(self, title: str) -> ModelChoice:
        """An offered model.

        Raises:
            OptionError: no such model; a browser may send any title.
        """
        if title not in self.models:
            raise OptionError("this model is not offered here; choose one of the list")
        return self.models[title]

    def is_loaded(self, title: str) -> bool:
        return self._loaded is not None and self._loaded[0] == title

    def load(self, title: str) -> SongModel:
        """Load an offered model; the previous one is freed first, so that only one is in memory."""
        choice = self.choice(title)
        loaded = self._loaded
        if loaded is None or not self.is_loaded(title):
            self._loaded = None
            loaded = self._loaded = title, load_song_model(choice.name, self._base, self.device)
        return loaded[1]

    def sampler(
        self, part: Part, request: TakeRequest, edges: np.ndarray | None = None, guide: TuneGuide | None = None
    ) -> SongSampler:
        """A sampler for takes of a part.

        Args:
            edges: uint8, 0 or 255, the shape of the backing's image, to follow instead of the backing's own.
            guide: the tune to follow.
        """
        model = self._configured(request)
        edges = edges if model.follows_edges else None
        return SongSampler(model, part.backing, self.prompt(request), edges=edges, guide=guide)

    def stream(
        self, part: Part, request: TakeRequest, edges: np.ndarray | None = None, on_step: Callable[[], object] = lambda: None
    ) -> SongStream:
        """What generates a take of a part piece by piece.

        Args:
            request: with a seed. edges: as for `sampler`.
        """
        guide, seed = self.guide(part, request), request.seed or 0
        return SongStream(
            *(self._configured(request), part.song, part.backing, self.prompt(request), seed, guide), edges=edges, on_step=on_step
        )

    def steer(self, stream: SongStream, part: Part, request: TakeRequest) -> None:
        """Let what a stream has not generated yet follow other settings, of the same model.

        Raises:
            AudioError, DataError: as `guide`; then nothing changes.
        """
        stream.guide = self.guide(part, request)
        stream.model, stream.prompt = self._configured(request), self.prompt(request)

    def _configured(self, request: TakeRequest) -> SongModel:
        """A request's model with its settings."""
        model = self.load(request.model)
        options: SamplingOptions | EditOptions
        if isinstance(model.options, EditOptions):
            options = EditOptions(request.steps, request.scale, request.image_scale, request.negative_prompt)
        else:
            options = SamplingOptions(request.steps, request.scale, request.strength, request.guess_mode, request.negative_prompt)
        return replace(model, options=options, canny=request.canny)

    def prompt(self, request: TakeRequest) -> str:
        """What the model is asked for: the request's prompt in its words, or its default."""
        return self.load(request.model).prompt_for(request.prompt)

    def guide(self, part: Part, request: TakeRequest) -> TuneGuide | None:
        """The tune that takes of a part follow, if they follow one.

        Raises:
            AudioError, DataError: no tune can be made or found.
        """
        if request.melody == NONE:
            return None
        tune = Tune(request.melody, request.melody_strength, notes=request.notes)
        return TuneGuide(tune, part.song, part.backing, self.load(request.model).target, self.prompt(request))

    def tune(self, part: Part, request: TakeRequest) -> PlacedTune:
        """The tune that the source of a request's melody holds for a part, or for its seed.

        Raises:
            AudioError, DataError: as `guide`.
        """
        seed = replace(request, takes=1).each_take()[0].seed or 0
        return TuneGuide(Tune(request.melody), part.song, part.backing, "vocals", self.prompt(request)).tune(seed)

    def take(
        self, part: Part, sampler: SongSampler, seed: int, best_of: int, on_step: Callable[[], object]
    ) -> tuple[ScoredTake, Mix]:
        """One take, and its mix with the part's accompaniment."""
        take = generate_take(sampler, seed, best_of, on_step)
        return take, render_mix(part.song, take.output, sampler.model.target)


def edges_of(part: Part, canny: tuple[int, int]) -> np.ndarray:
    """Canny edges of the backing: uint8, 0 or 255, the shape of its image.

    Raises:
        OptionError: the lower threshold is above the upper one.
    """
    low, high = canny
    if low > high:
        raise OptionError(f"the lower threshold of the edges, {low}, is above the upper one, {high}; swap them")
    return canny_edges(part.backing.pixels, low, high)
