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


def model_type_of(model: str | Path) -> ModelType:
    """`CONTROL` or `EDIT`, for a whole pipeline or its trained part alone.

    Args:
        model: folder, checkpoint file of the original code, or the hub id of either.

    Raises:
        ModelError: nothing there, or a model of another kind.
    """
    name, examples = str(model), " or ".join(kind.example for kind in KINDS)
    if not Path(name).exists() and looks_like_path(name):
        raise ModelError(
            f"{name}: no such folder; in the repository's folder there are {' and '.join(kind.example for kind in KINDS)}"
        )
    found = identify(name, f"{examples}, in the repository, needs no network")
    for kind in KINDS:
        if found.kind == kind.name:
            return kind
    raise wrong_kind(name, found, " or ".join(kind.name for kind in KINDS), examples)
