"""Which of the two kinds of trained models is this? Told before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from riff.errors import ModelError
from riff.models.control import CONTROL
from riff.models.edit import EDIT
from riff.models.folders import ModelType
from riff.models.identify import identify, wrong_kind
from riff.models.sources import looks_like_path

KINDS = (CONTROL, EDIT)


def model_type_of(model: str | Path, *accepted: ModelType) -> ModelType:
    """The type of a whole pipeline or of its trained part alone, without loading it.

    Args:
        model: folder, checkpoint file of the original code, or the hub id of either.
        accepted: types to choose from (default: all).

    Raises:
        ModelError: nothing there, or a model of no accepted type.
    """
    types = accepted or KINDS
    name, examples = str(model), " or ".join(one.example for one in types)
    if not Path(name).exists() and looks_like_path(name):
        scripts = " or ".join(one.script for one in types)
        raise ModelError(f"{name}: no such folder; train one with {scripts}, or use {examples} in the repository's folder")
    found = identify(name, f"{examples}, in the repository, needs no network")
    for model_type in types:
        if found.kind == model_type.name:
            return model_type
    raise wrong_kind(name, found, " or ".join(one.name for one in types), examples)
