"""Load a base model: a Stable Diffusion 1.x pipeline that draws spectrograms."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from riff.cli import ROOT
from riff.errors import DataError, ModelError

DEFAULT_BASE = "riffusion/riffusion-model-v1"
MINI = "mini"
MINI_FOLDER = ROOT / "models" / "riffusion-mini"
SINGLE_FILES = (".ckpt", ".safetensors", ".pt", ".pth", ".bin")
WITHOUT_SAFETY_CHECKER: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}

# "Loading pipeline components" is over before it can be read; downloads keep their bars.
diffusers_logging.disable_progress_bar()
transformers_logging.disable_progress_bar()


def load_base(base: str, config: str | None = None, dtype: torch.dtype = torch.float32, **hub: Any) -> StableDiffusionPipeline:
    """Load a base pipeline on the CPU, without a safety checker: it looks for faces, and these are spectrograms.

    Args:
        base: `mini`, a diffusers folder, a `.ckpt` or `.safetensors` file, or a hub id.
        config: folder or hub id that describes a single file's geometry (default: what diffusers infers, from the hub).
        hub: `revision`, `variant` and `cache_dir` of a download.

    Raises:
        ModelError: nothing there, not a pipeline, a file that would execute code, or a hub that cannot be reached.
    """
    source = resolve_base(base)
    if Path(source).is_file():
        return _load_file(Path(source), config, dtype)
    if not Path(source).is_dir() and looks_like_path(base):
        raise ModelError(f"{base}: no such folder or file; give a hub id, a folder, a file, or mini")
    if Path(source).is_dir() and not (Path(source) / "model_index.json").exists():
        raise ModelError(f"{base}: this folder is no diffusers pipeline (no model_index.json)")
    try:
        # By name, so that an edit or control pipeline's folder serves as a base as well.
        return StableDiffusionPipeline.from_pretrained(source, torch_dtype=dtype, **WITHOUT_SAFETY_CHECKER, **hub)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise explain(error, base, "--base mini, a small model in the repository, needs no network") from error


def resolve_base(base: str) -> str:
    """`mini` as its folder; anything else as it is."""
    return str(MINI_FOLDER) if base == MINI else base


def looks_like_path(name: str) -> bool:
    """Whether a name is meant as a place on disk and not as a hub id such as `owner/name`."""
    return name.startswith((".", "/", "~", "models/", "outputs/")) or name.count("/") != 1 or name.endswith(SINGLE_FILES)


def explain(error: Exception, name: str, way_out: str) -> ModelError:
    """A loading error of the libraries, which is many lines, as one line."""
    text = " ".join(str(error).split())
    if Path(name).exists() or name == MINI:
        return ModelError(f"{name}: cannot be loaded ({type(error).__name__}: {text[:200]})")
    return ModelError(f"{name}: not on disk, and the hub did not give it ({type(error).__name__}: {text[:120]}); {way_out}")


def check_weights_file(path: Path) -> None:
    """Refuse a weights file that is missing, broken, or a pickle that would run code.

    Raises:
        ModelError: names the file.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path}: refused, it holds more than weights and could run code; convert it to safetensors") from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{path}: cannot be read as a checkpoint ({str(error).splitlines()[0][:120]})") from error


def _load_file(path: Path, config: str | None, dtype: torch.dtype) -> StableDiffusionPipeline:
    check_weights_file(path)
    try:
        return StableDiffusionPipeline.from_single_file(
            str(path),
            config=config,
            torch_dtype=dtype,
            local_files_only=bool(config and Path(config).is_dir()),
            **WITHOUT_SAFETY_CHECKER,
        )
    except Exception as error:  # the libraries raise whatever comes up inside them
        way_out = "give --base_config a diffusers folder of the same geometry"
        text = " ".join(str(error).split())[:160]
        raise ModelError(f"{path}: cannot be loaded as a Stable Diffusion checkpoint ({text}); {way_out}") from error


def latent_factor(pipeline: DiffusionPipeline) -> int:
    """Pixels of the image a latent place stands for, along one side: 8 in Stable Diffusion."""
    return 2 ** (len(pipeline.vae.config.block_out_channels) - 1)


def size_multiple(pipeline: DiffusionPipeline) -> int:
    """What a picture's height and width must be multiples of: its latents are halved between the UNet's stages."""
    return latent_factor(pipeline) * 2 ** (len(pipeline.unet.config.block_out_channels) - 1)


def check_size(pipeline: DiffusionPipeline, height: int, width: int, what: str) -> None:
    """Refuse a picture that the latents do not divide.

    Raises:
        DataError: names the picture as `what`, and the sizes that fit.
    """
    factor = size_multiple(pipeline)
    if height % factor or width % factor:
        raise DataError(f"{what} of {height}x{width} does not fit this model; height and width must be multiples of {factor}")


def weights_hash(*modules: torch.nn.Module) -> str:
    """A short name for exactly these weights."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def encoder_names(pipeline: Any) -> tuple[str, str]:
    """Short names of exactly this VAE's and this text encoder's weights, which what they encoded belongs to."""
    return weights_hash(pipeline.vae), weights_hash(pipeline.text_encoder)
