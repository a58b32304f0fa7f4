"""Experiments: questions about a model that a table of metrics answers.

An experiment is a file NAME.py in this folder with one object, `EXPERIMENT`, and its name in `NAMES`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from riff.errors import ModelError

if TYPE_CHECKING:  # --help needs the names, and not the models' libraries
    from riff.experiments.experiment import Experiment
    from riff.models.model_types import ModelType

NAMES = ("control", "edit", "fit", "melody", "takes", "need", "seeds", "prompts", "settings", "ladder")
ALL = "all"


def find_experiments(names: list[str], model: str | None = None) -> list[tuple[Experiment, ModelType]]:
    """The experiments of these names, each once and in this order, with the type of the model that they evaluate.

    Args:
        names: some of `NAMES`; with `ALL` among them, every experiment that the model's type fits.
        model: folder or hub id (default: each experiment's own example).

    Raises:
        ModelError: no model there, or its type does not fit an experiment given by name.
    """
    from riff.models.model_types import model_type_of

    model_type = model_type_of(model) if model else None
    found: list[tuple[Experiment, ModelType]] = []
    for name in dict.fromkeys(NAMES if ALL in names else names):
        experiment: Experiment = import_module(f"{__name__}.{name}").EXPERIMENT
        if model_type is None or model_type in experiment.model_types:
            found.append((experiment, model_type or experiment.model_types[0]))
        elif ALL not in names:
            needed = experiment.model_types[0]
            raise ModelError(f"{model}: is {model_type.name}, and experiment {name} needs {needed.name}, such as {needed.example}")
    return found
