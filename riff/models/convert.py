"""Convert a model on disk: a checkpoint file of the original code into a diffusers folder, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from riff.errors import ModelError
from riff.models.cldm import Checkpoint, blueprint_of, load_base_parts, read_config, read_original_checkpoint
from riff.models.control import with_control
from riff.models.edit import with_unet
from riff.models.folders import model_folder, write_weights
from riff.models.ldm_keys import PREFIXES
from riff.models.model_types import BASE, EDIT, LORA, Identified, identify_folder, wrong_type
from riff.models.sources import DEFAULT_BASE, MINI, SINGLE_FILES, as_model_error, looks_like_path, read_origin, resolve_base

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PART_CLASSES = {"ControlNetModel": "controlnet", "UNet2DConditionModel": "unet"}  # of a part's folder alone


def checkpoint_to_folder(
    file: Path,
    output: Path,
    base: str | None = None,
    dtype: torch.dtype | None = None,
    hint_range: float = 1,
    controlnet_only: bool = False,
    replaces: Iterable[str] = (),
) -> str:
    """Write a folder that diffusers loads: a pipeline of what the file holds, or its ControlNet alone.

    Args:
        file: whole, or a ControlNet's weights alone.
        base: whose geometry, tokenizer and scheduler a pipeline takes; a ControlNet of Stable Diffusion 1.5's shapes needs none.
        dtype: None keeps each weight's own; a text encoder becomes float32 either way (`write_weights`).
        hint_range: the file's ControlNet takes hints from 0 to this, the folder's from 0 to 1.
        replaces: files of the folder, as in `model_folder`.

    Returns:
        The class of diffusers that loads the folder.

    Raises:
        ModelError: the file is no such checkpoint, does not fit the base, or needs one that is not given.
    """
    checkpoint = read_original_checkpoint(file, hint_range)
    if controlnet_only or set(checkpoint.parts) == {"controlnet"}:
        model: Any = checkpoint.module("controlnet", blueprint_of(base), dtype)
    else:
        model = _pipeline(checkpoint, base, dtype)
    with model_folder(output, {"base": base} if base else {}, replaces) as temporary:
        write_weights(model, temporary)
    return type(model).__name__


def _pipeline(checkpoint: Checkpoint, base: str | None, dtype: torch.dtype | None) -> DiffusionPipeline:
    if base is None:
        raise ModelError(
            f"{checkpoint.path}: has no tokenizer and no scheduler, which a pipeline needs; name a base, a folder or hub id, "
            f"that has them ({DEFAULT_BASE}), or convert the ControlNet alone"
        )
    pipeline = load_base_parts(checkpoint, base, dtype)
    if "controlnet" in checkpoint.parts:
        return with_control(pipeline, checkpoint.module("controlnet", blueprint_of(base), dtype))
    return with_unet(pipeline, pipeline.unet) if checkpoint.is_edit else pipeline


def part_folders(model: str, base: str | None, controlnet_only: bool) -> tuple[dict[str, Path], Path | None]:
    """What `write_checkpoint` takes: the folders of a model's parts by name, and that of its scheduler.

    Args:
        model: folder or hub id of a pipeline, or the folder of a ControlNet or an edit UNet alone.
        base: that a part alone belongs to (default: the one that it names).
        controlnet_only: the ControlNet and nothing else; it has no scheduler.

    Raises:
        ModelError: no such model, or one that the original code does not know.
    """
    folder = pipeline_folder(model)
    if (folder / "model_index.json").is_file():
        parts, scheduler = {part: folder / part for part in PREFIXES if (folder / part).is_dir()}, folder / "scheduler"
    else:
        found = identify_folder(folder, "")
        if not (folder / "config.json").is_file():
            raise wrong_type(model, Identified(LORA, alone=True), "a pipeline or a part of one", EDIT.example)
        class_name = str(read_config(folder / "config.json").get("_class_name"))
        if class_name not in PART_CLASSES:
            raise ModelError(f"{model}: is a {class_name}, and neither a pipeline nor {' nor '.join(PART_CLASSES)}")
        parts, scheduler = {PART_CLASSES[class_name]: folder}, None
        base = base or read_origin(folder).get("base")
        if not controlnet_only and base:
            base_found = identify_folder(pipeline_folder(base), "")
            if base_found.alone or base_found.name not in (BASE, found.name):
                raise wrong_type(base, base_found, f"the whole pipeline of {BASE}", MINI)
            base_parts, scheduler = part_folders(base, None, False)
            parts = base_parts | parts
    if controlnet_only:
        if "controlnet" not in parts:
            raise ModelError(f"{model}: has no ControlNet to convert alone")
        return {"controlnet": parts["controlnet"]}, None
    if "vae" not in parts:
        raise ModelError(f"{model}: one part of a model whose base is not known; name it, or convert the ControlNet alone")
    return parts, scheduler


def pipeline_folder(model: str) -> Path:
    """The folder that a model is in, downloaded from the hub if it is there.

    Raises:
        ModelError: there is none.
    """
    folder = Path(resolve_base(model))
    if folder.is_dir():
        return folder
    if folder.exists() or looks_like_path(model):
        raise ModelError(f"{model}: no such folder")
    try:
        return Path(DiffusionPipeline.download(model))
    except (OSError, ValueError) as error:
        raise as_model_error(error, model, "give a folder") from error


def hash_weights(sources: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of checkpoint files, and of every file of weights in folders, by path."""
    files = [path for source in sources for path in ([source] if source.is_file() else sorted(source.glob("*")))]
    hashes = {}
    for path in files:
        if path.suffix in SINGLE_FILES:
            with open(path, "rb") as file:
                hashes[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
