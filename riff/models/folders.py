"""Write model folders: a whole pipeline, or the part of it that was trained, beside the name of its base."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, DiffusionPipeline
from torch import nn

from riff.errors import ExistsError, OptionError
from riff.files import atomic_folder, files_below, make_folder, read_mapping, write_json
from riff.models.model_types import MODEL_TYPES
from riff.models.sources import ORIGIN_FILE, read_origin

MANIFEST = "manifest.json"  # how a model was made, beside it


def check_output(
    folder: Path,
    overwrite: bool,
    *,
    inputs: Iterable[str | Path | None] = (),
    beside: Iterable[Path] = (),
    version: int | None = None,
) -> list[str]:
    """Refuse a folder for a model unless it is new, empty, or holds a model of this project that may be replaced.

    Args:
        overwrite: any model may be replaced.
        inputs: models that the command reads, which are never replaced; hub ids may be among them.
        beside: folders that may lie in it, or around it; nothing in them is touched.
        version: of a training run that goes on; it replaces what it left itself.

    Returns:
        The files of the model to be replaced, for `save_pipeline`.

    Raises:
        ExistsError: the folder holds a model that may not be replaced.
        OptionError: it holds something else, or an input.
        RiffError: it cannot be written to.
    """
    if not folder.exists():
        make_folder(folder.resolve().parent)
        return []
    if not folder.is_dir():
        raise OptionError(f"{folder}: is a file; choose a folder")
    make_folder(folder)
    for source in inputs:
        if source is not None and Path(source).exists() and Path(source).resolve().is_relative_to(folder.resolve()):
            raise OptionError(f"{folder}: this would replace its own input {source}; choose another folder")
    root, kept = folder.resolve(), [path.resolve() for path in beside]
    leftovers = (f".{root.name}.tmp.", f".{root.name}.old.")  # by a process that was killed while it wrote a model there
    existing = [
        path
        for path in root.iterdir()
        if not path.name.startswith(leftovers) and not any(inner.is_relative_to(path) for inner in kept)
    ]
    if not existing:
        return []
    if not (folder / ORIGIN_FILE).is_file():
        names = ", ".join(sorted(path.name for path in existing)[:3]) + (", ..." if len(existing) > 3 else "")
        raise OptionError(f"{folder}: holds {names}, and no model of this project; choose a new or an empty folder")
    if not overwrite and (version is None or read_origin(folder).get("version") != version):
        raise ExistsError(f"{folder}: holds a model already")
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
    """`atomic_folder` for a model, with `riff.json`, which identifies it as one of this project.

    Args:
        origin: contents of `riff.json`: the base that this belongs to (`{"base": ...}`), and further facts.
        replaces: what `check_output` returned.
    """
    with atomic_folder(folder, replaces) as temporary:
        yield temporary
        write_json(temporary / ORIGIN_FILE, origin | {"files": [*files_below(temporary), ORIGIN_FILE]})


def save_pipeline(
    pipeline: Any,
    folder: str | Path,
    origin: dict,
    part_only: bool = False,
    half: bool = False,
    replaces: Iterable[str] = (),
) -> None:
    """Write a control or edit pipeline as a folder that diffusers loads, or its trained part alone.

    Args:
        half: store fp16, half the size; the text encoder stays in float32 (`write_weights`).
        origin, replaces: as in `model_folder`.
    """
    model_type = next(model_type for model_type in MODEL_TYPES if isinstance(pipeline, model_type.pipeline))
    part = getattr(pipeline, model_type.part)
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
