"""What kind of trained model is this? Told by its configuration, or by a checkpoint's weights, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from diffusers import DiffusionPipeline, UNet2DConditionModel

from riff.errors import ModelError
from riff.models.cldm import read_checkpoint
from riff.models.control import CONTROL
from riff.models.edit import EDIT
from riff.models.folders import ModelKind
from riff.models.sources import explain, fetch_part, find_checkpoint, looks_like_path

KINDS = (CONTROL, EDIT)


def kind_of_model(model: str | Path) -> ModelKind:
    """`CONTROL` or `EDIT`, for a whole pipeline or its trained part alone.

    Args:
        model: folder, checkpoint file of the original code, or the hub id of either.

    Raises:
        ModelError: nothing there, or a model of another kind.
    """
    name = str(model)
    ways_out = " or ".join(kind.example for kind in KINDS)
    way_out = f"{ways_out}, in the repository, needs no network"
    if file := find_checkpoint(name, way_out):
        checkpoint = read_checkpoint(file)
        if "controlnet" in checkpoint.parts or checkpoint.is_edit:
            return CONTROL if "controlnet" in checkpoint.parts else EDIT
        raise ModelError(f"{name}: neither {' nor '.join(kind.name for kind in KINDS)}; use {ways_out}")
    folder = fetch_part(name, way_out)
    if not folder.is_dir() and looks_like_path(name):
        raise ModelError(
            f"{name}: no such folder; in the repository's folder there are {' and '.join(kind.example for kind in KINDS)}"
        )
    part_alone = folder.is_dir() and not (folder / "model_index.json").exists()
    try:
        config = (UNet2DConditionModel if part_alone else DiffusionPipeline).load_config(folder if part_alone else name)
    except (OSError, ValueError) as error:
        raise explain(error, name, way_out) from error
    said = config.get("_class_name")
    for kind in KINDS:
        if said == (kind.part_class if part_alone else kind.pipeline).__name__:
            return kind
    raise ModelError(f"{name}: is a {said}, neither {' nor '.join(kind.name for kind in KINDS)}; use {ways_out}")
