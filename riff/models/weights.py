"""Files of weights, read without running anything that they hold, and mapped into memory rather than copied."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from riff.errors import ModelError

# Lightning before 1.5 kept the state of its callbacks under their classes, and the well-known Stable Diffusion files have one.
LIGHTNING_CLASS = re.compile(r"(pytorch_lightning|lightning)\.[\w.]*callbacks\.[\w.]+")


class _InertClass:
    """Replaces a class of Lightning's that a checkpoint names: the class itself is neither imported nor run."""


def check_weights_file(path: Path) -> None:
    """Refuse a weights file that is missing, broken, or a pickle that would run code.

    Raises:
        ModelError: names the file.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if path.suffix != ".safetensors":
        load_pickle(path)


def load_pickle(path: Path) -> Any:
    """What a `.ckpt`, `.pt`, `.pth` or `.bin` file holds, its tensors mapped from the file.

    Raises:
        ModelError: it is broken, or holds more than plain data and could run code; nothing of it has run then.
    """
    is_archive = zipfile.is_zipfile(path)  # what was written before torch 1.6 is a bare pickle instead, and cannot be mapped
    with open(path, "rb") as file:
        if not is_archive and file.read(1) != pickle.PROTO:
            instead = "give one that PyTorch or safetensors wrote, a diffusers folder or a hub id"
            raise ModelError(f"{path}: cannot be read as a checkpoint; {instead}")
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path) if is_archive else []
        inert = [(_InertClass, name) for name in named if LIGHTNING_CLASS.fullmatch(name)]
        with torch.serialization.safe_globals(inert):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path}: refused, it holds more than weights and could run code; convert it to safetensors") from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read as a checkpoint ({_first_line(error)[:120]})") from error


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weights file by name; those under `state_dict`, where there is one (Lightning's other state is not read).

    Raises:
        ModelError: no such file, not readable, unsafe, or no weights in it.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be loaded as safetensors ({_first_line(error)[:120]})") from error
    loaded = load_pickle(path)
    while isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    tensors = {str(name): value for name, value in loaded.items()} if isinstance(loaded, Mapping) else {}
    tensors = {name: value for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ModelError(f"{path}: holds no weights")
    return tensors


def read_folder(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of one part of a diffusers folder, of all its shards; a variant (`NAME.fp16.safetensors`) where it has no other.

    Raises:
        ModelError: no weights there, or they cannot be read.
    """
    for pattern in (r"[^.]+\.safetensors", r"[^.]+\.bin", r".+\.safetensors", r".+\.bin"):
        files = sorted(path for path in folder.glob("*") if re.fullmatch(pattern, path.name))
        if files:
            return {name: tensor for path in files for name, tensor in read_tensors(path).items()}
    raise ModelError(f"{folder}: holds no weights (.safetensors or .bin)")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
