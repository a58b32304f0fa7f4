"""Load a model: a base, which is a Stable Diffusion 1.x pipeline of spectrograms, a control pipeline, or an edit pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionControlNetPipeline, StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from riff.errors import ModelError
from riff.files import read_mapping
from riff.models.cldm import hint_range_of, load_base_parts, read_original_checkpoint
from riff.models.control import with_control
from riff.models.edit import attach_edit, with_unet
from riff.models.ldm import blueprint_of_pipeline
from riff.models.lora import fuse_lora
from riff.models.model_types import (
    BASE,
    CONTROL,
    EDIT,
    PIPELINES,
    Identified,
    ModelType,
    identify_checkpoint,
    identify_folder,
    wrong_type,
)
from riff.models.sources import (
    DEFAULT_BASE,
    MINI,
    ORIGIN_FILE,
    WITHOUT_SAFETY_CHECKER,
    adapted_model,
    as_model_error,
    fetch_part,
    looks_like_path,
    only_variant,
    read_origin,
    resolve_base,
    resolve_checkpoint,
)

# "Loading pipeline components" is over before it can be read; downloads keep their bars.
diffusers_logging.disable_progress_bar()
transformers_logging.disable_progress_bar()


def load_base(base: str, config: str | None = None, dtype: torch.dtype = torch.float32, **hub: Any) -> StableDiffusionPipeline:
    """Load a base pipeline on the CPU, without a safety checker: it looks for faces, and these are spectrograms.

    Args:
        base: `mini`, a diffusers folder, a `.ckpt` or `.safetensors` file, or the hub id of a folder or of such a file.
        config: whose geometry, tokenizer and scheduler a file takes: `mini`, a folder or a hub id (default: Stable Diffusion
            1.5's geometry, and the rest from the default base on the hub).
        hub: `revision`, `variant` and `cache_dir` of a download.

    Raises:
        ModelError: nothing there, not a pipeline, a file that would execute code, or a hub that cannot be reached.
    """
    remedy = "mini, a small model in the repository, needs no network"
    if file := resolve_checkpoint(base, remedy, hub.get("revision"), hub.get("cache_dir")):
        return load_base_parts(read_original_checkpoint(file), config, dtype)
    source = resolve_base(base)
    if not Path(source).is_dir() and looks_like_path(base):
        raise ModelError(f"{base}: no such folder or file; give a hub id, a folder, a file, or mini")
    found = identify_folder(Path(source), remedy) if Path(source).is_dir() else None
    if found and (found.alone or found.name not in PIPELINES.values()):
        raise wrong_type(base, found, f"the whole pipeline of {BASE}", MINI)
    try:
        hub.setdefault("variant", only_variant(source, hub.get("revision"), hub.get("cache_dir")))
        # By name, so that an edit or control pipeline's folder serves as a base as well.
        return StableDiffusionPipeline.from_pretrained(source, torch_dtype=dtype, **WITHOUT_SAFETY_CHECKER, **hub)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise as_model_error(error, base, remedy) from error


def load_control_pipeline(model: str | Path, base: str | None = None) -> StableDiffusionControlNetPipeline:
    """Load a whole control pipeline, or a ControlNet with the base that it names (`load_pipeline`)."""
    return load_pipeline(CONTROL, model, base)


def load_edit_pipeline(model: str | Path, base: str | None = None) -> StableDiffusionInstructPix2PixPipeline:
    """Load a whole edit pipeline, or a widened UNet with the base that it names (`load_pipeline`)."""
    return load_pipeline(EDIT, model, base)


def load_to_edit(
    model: str, copy_bias: bool = True, widen: bool = True, **hub: Any
) -> tuple[StableDiffusionInstructPix2PixPipeline, str]:
    """Load what an edit model is to be trained from: a base, or an edit model, whole or its UNet alone.

    Args:
        widen: whether a base is accepted, whose UNet is widened. hub: as in `load_base`.

    Returns:
        The pipeline, and the name of the base that a UNet alone would stand on.

    Raises:
        ModelError: nothing there, or a model that cannot be widened, or that would have to be.
    """
    folder = Path(resolve_base(model))
    if (folder / ORIGIN_FILE).exists() and not (folder / "model_index.json").exists():
        found = identify_folder(folder, "")
        if found.name != EDIT.name:
            raise wrong_type(model, found, f"{BASE} or {EDIT.name}", f"{MINI} or {EDIT.example}")
        pipeline = load_edit_pipeline(folder)
        while (adapted := adapted_model(folder)) is not None:
            folder = Path(adapted)
        return pipeline, read_origin(folder).get("base", str(folder))
    base = load_base(model, **hub)
    if not widen and base.unet.config.in_channels == base.vae.config.latent_channels:
        raise wrong_type(model, Identified(BASE, alone=False), f"{EDIT.name} to adapt", EDIT.example)
    return attach_edit(base, copy_bias), model


def load_pipeline(model_type: ModelType, model: str | Path, base: str | None = None) -> Any:
    """Load a whole pipeline, or a trained part with the base that it names, in float32 on the CPU.

    Args:
        model: folder, checkpoint file of the original code, or the hub id of either; or adapters that `save_lora` wrote, which
            are added to the weights of the model that they name.
        base: use this base instead of the one that the model names. A file that is a whole model keeps its own weights, and
            takes geometry, tokenizer and scheduler from this base.

    Raises:
        ModelError: nothing there, or a model of another type.
    """
    name = str(model)
    remedy = f"{model_type.example}, in the repository, needs no network"
    if file := resolve_checkpoint(name, remedy):
        return _load_checkpoint(model_type, name, file, base)
    folder = fetch_part(name, remedy)
    if not folder.is_dir() and looks_like_path(name):
        raise ModelError(
            f"{name}: no such folder; train one with {model_type.script}, or use {model_type.example} in the repository's folder"
        )
    if adapted := adapted_model(folder):
        return fuse_lora(load_pipeline(model_type, base or adapted), folder)
    found = identify_folder(folder, remedy)
    if found.name != model_type.name:
        raise wrong_type(name, found, model_type.name, model_type.example)
    try:
        if found.alone:
            part = model_type.part_class.from_pretrained(folder, torch_dtype=torch.float32, variant=only_variant(folder))
            return _combine(model_type, name, load_base(base or _base_of(model_type, folder)), part)
        options = {"torch_dtype": torch.float32, "variant": only_variant(name), **WITHOUT_SAFETY_CHECKER}
        pipeline = model_type.pipeline.from_pretrained(name, **options)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise as_model_error(error, name, remedy) from error
    return _combine(model_type, name, load_base(base) if base else pipeline, getattr(pipeline, model_type.part))


def read_configs(model: str, names: Sequence[str], load: Callable[[], Any]) -> dict[str, dict[str, Any]]:
    """The configurations of a pipeline's parts; where it is a folder, without its weights.

    Args:
        load: loads the pipeline, where it is none.
    """
    files = {name: Path(resolve_base(model)) / name / "config.json" for name in names}
    if all(file.exists() for file in files.values()):
        return {name: read_mapping(file) for name, file in files.items()}
    pipeline = load()
    return {name: dict(getattr(pipeline, name).config) for name in names}


def _load_checkpoint(model_type: ModelType, name: str, file: Path, base: str | None) -> Any:
    checkpoint = read_original_checkpoint(file, hint_range_of(name))
    found = identify_checkpoint(checkpoint)
    if found.name != model_type.name:
        raise wrong_type(name, found, model_type.name, model_type.example)
    is_whole = set(checkpoint.parts) != {model_type.part}
    if not is_whole and base is None:
        raise ModelError(f"{name}: {model_type.name} alone, and its base is not known; name it")
    pipeline = load_base_parts(checkpoint, base, torch.float32) if is_whole else load_base(str(base))
    if is_whole and model_type.part in pipeline.components:
        part = getattr(pipeline, model_type.part)
    else:
        part = checkpoint.module(model_type.part, blueprint_of_pipeline(pipeline, base or DEFAULT_BASE), torch.float32)
    return _combine(model_type, name, pipeline, part)


def _combine(model_type: ModelType, name: str, base: Any, part: Any) -> Any:
    try:
        return (with_control if model_type is CONTROL else with_unet)(base, part)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error


def _base_of(model_type: ModelType, folder: Path) -> str:
    base = read_origin(folder).get("base")
    if not base:
        raise ModelError(f"{folder}: {model_type.name} whose base is not known; name it")
    return base
