"""Model folders: a whole pipeline, or the one part of it that was trained, beside the name of the base it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, DiffusionPipeline
from torch import nn

from riff.errors import ModelError, OptionError
from riff.files import atomic_folder, files_below, make_folder, read_mapping, write_json
from riff.models.base import load_base
from riff.models.cldm import hint_range_of, load_base_parts, read_checkpoint
from riff.models.identify import identify_checkpoint, identify_folder, wrong_kind
from riff.models.ldm import blueprint_of_pipeline
from riff.models.sources import (
    DEFAULT_BASE,
    ORIGIN_FILE,
    WITHOUT_SAFETY_CHECKER,
    explain,
    fetch_part,
    find_checkpoint,
    looks_like_path,
    only_variant,
    read_origin,
    resolve_base,
)


@dataclass(frozen=True)
class ModelType:
    """What tells one kind of trained model from another.

    Attributes:
        name: as a person says it. pipeline: diffusers' class. part: the trained part's name in it. part_class: its class.
        combine: a pipeline of this kind from a base's pipeline and the part.
        script: that trains one. example: a small one in the repository.
    """

    name: str
    pipeline: Any
    part: str
    part_class: Any
    combine: Callable[[Any, Any], Any]
    script: str
    example: str


MANIFEST = "manifest.json"  # how a model was made, beside it


def check_output(
    folder: Path,
    flag: str,
    overwrite: bool,
    *,
    inputs: Iterable[str | Path | None] = (),
    beside: Iterable[Path] = (),
    version: int | None = None,
) -> list[str]:
    """Refuse a folder for a model unless it is new, empty, or holds a model of this project that may be replaced.

    Args:
        flag: that named it. overwrite: any model may be replaced.
        inputs: models that the command reads, which are never replaced; hub ids may be among them.
        beside: folders that may lie in it, or around it; nothing in them is touched.
        version: of a training run that goes on; it replaces what it left itself.

    Returns:
        The files of the model to be replaced, for `save_model`.

    Raises:
        OptionError: the folder holds something else, or an input.
        RiffError: it cannot be written to.
    """
    if not folder.exists():
        make_folder(folder.resolve().parent)
        return []
    if not folder.is_dir():
        raise OptionError(f"{flag} {folder}: is a file; choose a folder")
    make_folder(folder)
    for source in inputs:
        if source is not None and Path(source).exists() and Path(source).resolve().is_relative_to(folder.resolve()):
            raise OptionError(f"{flag} {folder}: this would replace its own input {source}; choose another folder")
    root, places = folder.resolve(), [path.resolve() for path in beside]
    left = (f".{root.name}.tmp.", f".{root.name}.old.")  # by a process that was killed while it wrote a model there
    others = [
        path
        for path in root.iterdir()
        if not path.name.startswith(left) and not any(place.is_relative_to(path) for place in places)
    ]
    if not others:
        return []
    if not (folder / ORIGIN_FILE).is_file():
        names = ", ".join(sorted(path.name for path in others)[:3]) + (", ..." if len(others) > 3 else "")
        raise OptionError(f"{flag} {folder}: holds {names}, and no model of this project; choose a new or an empty folder")
    if not overwrite and (version is None or read_origin(folder).get("version") != version):
        raise OptionError(f"{flag} {folder}: holds a model already; use --overwrite to replace it, or choose another folder")
    return _files_of_model(folder)


def _files_of_model(folder: Path) -> list[str]:
    """The files that `model_folder` wrote; of a model of an earlier version, which does not name them, those of its parts."""
    named = read_origin(folder).get("files")
    if named is not None:
        return [*named, MANIFEST]
    index = folder / "model_index.json"
    parts = {name for name, value in read_mapping(index).items() if isinstance(value, list)} if index.exists() else set()
    top = {index.name, "config.json", ORIGIN_FILE, MANIFEST}
    return [
        file
        for file in files_below(folder)
        if file.split("/")[0] in parts or file in top or ("/" not in file and file.startswith("diffusion_pytorch_model"))
    ]


@contextmanager
def model_folder(folder: str | Path, origin: dict, replaces: Iterable[str] = ()) -> Iterator[Path]:
    """`atomic_folder` for a model, with the file by which it is known as one of this project.

    Args:
        origin: which base this stands on (`{"base": ...}`), and whatever else should be remembered.
        replaces: what `check_output` returned.
    """
    with atomic_folder(folder, replaces) as temporary:
        yield temporary
        write_json(temporary / ORIGIN_FILE, origin | {"files": [*files_below(temporary), ORIGIN_FILE]})


def save_model(
    kind: ModelType,
    pipeline: Any,
    folder: str | Path,
    origin: dict,
    part_only: bool = False,
    half: bool = False,
    replaces: Iterable[str] = (),
) -> None:
    """Write a folder that the kind's diffusers pipeline loads, or the trained part alone.

    Args:
        half: store fp16, half the size; the text encoder stays in float32 (`write_weights`).
        origin, replaces: as in `model_folder`.
    """
    part = getattr(pipeline, kind.part)
    model = part if part_only else pipeline
    with model_folder(folder, origin, replaces) as temporary:
        before = part.dtype
        write_weights(model, temporary, torch.float16 if half else torch.float32)
        model.to(dtype=before)


def write_weights(model: Any, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write a pipeline, or one part of it, as safetensors that stock diffusers loads and runs with no dtype given.

    Without a dtype diffusers loads its own models in float32 whatever they are stored in, and transformers loads the text
    encoder in what it is stored in. So that is stored in float32, which holds half precision to the bit.

    Args:
        dtype: of the weights but the text encoder's; None keeps each weight's own. The model is changed in place.
    """
    modules = model.components if isinstance(model, DiffusionPipeline) else {"": model}
    for name, module in modules.items():
        if isinstance(module, ConfigMixin):
            module.register_to_config(_name_or_path="")  # the path that it was loaded from, on this machine
        if isinstance(module, nn.Module):
            module.to(memory_format=torch.contiguous_format)  # safetensors takes no other
            if wanted := torch.float32 if name == "text_encoder" else dtype:
                module.to(dtype=wanted)
    model.save_pretrained(folder, safe_serialization=True)


def load_model(kind: ModelType, model: str | Path, base: str | None = None) -> Any:
    """Load a whole pipeline, or a trained part with the base that it names, in float32 on the CPU.

    Args:
        model: folder, checkpoint file of the original code, or the hub id of either.
        base: use this base instead of the one that the model names. A file that is a whole model keeps its own weights, and
            takes geometry, tokenizer and scheduler from this base.

    Raises:
        ModelError: nothing there, or a model of another kind.
    """
    name = str(model)
    way_out = f"{kind.example}, in the repository, needs no network"
    if file := find_checkpoint(name, way_out):
        return _load_checkpoint(kind, name, file, base)
    folder = fetch_part(name, way_out)
    if not folder.is_dir() and looks_like_path(name):
        raise ModelError(f"{name}: no such folder; train one with {kind.script}, or use {kind.example} in the repository's folder")
    found = identify_folder(folder, way_out)
    if found.kind != kind.name:
        raise wrong_kind(name, found, kind.name, kind.example)
    try:
        if found.alone:
            part = kind.part_class.from_pretrained(folder, torch_dtype=torch.float32, variant=only_variant(folder))
            return _combine(kind, name, load_base(base or _base_of(kind, folder)), part)
        options = {"torch_dtype": torch.float32, "variant": only_variant(name), **WITHOUT_SAFETY_CHECKER}
        pipeline = kind.pipeline.from_pretrained(name, **options)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise explain(error, name, way_out) from error
    return _combine(kind, name, load_base(base), getattr(pipeline, kind.part)) if base else pipeline


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


def _load_checkpoint(kind: ModelType, name: str, file: Path, base: str | None) -> Any:
    checkpoint = read_checkpoint(file, hint_range_of(name))
    found = identify_checkpoint(checkpoint)
    if found.kind != kind.name:
        raise wrong_kind(name, found, kind.name, kind.example)
    is_whole = set(checkpoint.parts) != {kind.part}
    if not is_whole and base is None:
        raise ModelError(f"{name}: {kind.name} alone, and a checkpoint file does not say its base; give --base")
    pipeline = load_base_parts(checkpoint, base, torch.float32) if is_whole else load_base(str(base))
    if is_whole and kind.part in pipeline.components:
        part = getattr(pipeline, kind.part)
    else:
        part = checkpoint.module(kind.part, blueprint_of_pipeline(pipeline, base or DEFAULT_BASE), torch.float32)
    return _combine(kind, name, pipeline, part)


def _combine(kind: ModelType, name: str, base: Any, part: Any) -> Any:
    try:
        return kind.combine(base, part)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error


def _base_of(kind: ModelType, folder: Path) -> str:
    base = read_origin(folder).get("base")
    if not base:
        raise ModelError(f"{folder}: {kind.name} that does not say its base; give --base")
    return base
