"""Every experiment by its name. An experiment is one object, `EXPERIMENT`, in a file of its own; its entry here is all it needs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from riff.errors import OptionError

if TYPE_CHECKING:  # --help needs the names alone, and not the models' libraries
    from riff.experiments.bench import Experiment
    from riff.models.model_types import ModelType

MODULES = {
    "control": "riff.experiments.control_experiment",
    "edit": "riff.experiments.edit_experiment",
    "need": "riff.experiments.need",
    "seeds": "riff.experiments.seeds",
    "prompts": "riff.experiments.prompts",
    "settings": "riff.experiments.settings",
    "ladder": "riff.experiments.ladder_experiment",
}
ALL = "all"


def find_experiments(names: list[str], model: str | None = None) -> list[tuple[Experiment, ModelType]]:
    """The experiments of these names, in this order, each once, with the kind of model that answers it; `all` is every one
    that a model of this kind can answer.

    Args:
        model: folder or hub id (default: each experiment's own).

    Raises:
        OptionError: the model is not of the kind that an experiment asked for by its name needs.
        ModelError: no model there, or of no kind that is known.
    """
    from riff.models.model_types import model_type_of

    kind = model_type_of(model) if model else None
    found = [_load(name) for name in dict.fromkeys(MODULES if ALL in names else names)]
    wrong = [one for one in found if kind not in (None, one.kind, *one.other_kinds)]
    if wrong and ALL not in names:
        one = wrong[0]
        raise OptionError(f"--experiment {one.name} needs {one.kind.name}, and {model} is none; use {one.kind.example}")
    return [(one, kind or one.kind) for one in found if one not in wrong]


def _load(name: str) -> Experiment:
    experiment: Experiment = import_module(MODULES[name]).EXPERIMENT
    return experiment
