"""What a model is: identified by its configuration or by the names of its weights, before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffusers import (
    ControlNetModel,
    DiffusionPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)

from riff.errors import ModelError
from riff.models.cldm import LORA_REMEDY, PIPELINE_PARTS, Checkpoint, read_original_checkpoint
from riff.models.ldm_keys import PART_NAMES
from riff.models.sources import (
    CHECKPOINTS,
    adapted_model,
    as_model_error,
    fetch_part,
    looks_like_path,
    resolve_base,
    resolve_checkpoint,
)


@dataclass(frozen=True)
class ModelType:
    """A type of trained models.

    Attributes:
        name: in messages. pipeline: diffusers' class. part: the trained part's name in it. part_class: its class.
        script: that trains one. example: a small one in the repository.
    """

    name: str
    pipeline: Any
    part: str
    part_class: Any
    script: str
    example: str


CONTROL = ModelType(
    name="a ControlNet",
    pipeline=StableDiffusionControlNetPipeline,
    part="controlnet",
    part_class=ControlNetModel,
    script="cnet_riff_training.py",
    example="models/riff-cnet-mini",
)
EDIT = ModelType(
    name="an edit model",
    pipeline=StableDiffusionInstructPix2PixPipeline,
    part="unet",
    part_class=UNet2DConditionModel,
    script="train_instruct_pix2pix.py",
    example="models/riff-pix2pix-mini",
)
MODEL_TYPES = (CONTROL, EDIT)
BASE, LORA, UNET, VAE, TEXT_ENCODER = "a base model", "a LoRA", "a UNet alone", "a VAE alone", "a text encoder alone"
PIPELINES = {
    "StableDiffusionPipeline": BASE,
    "StableDiffusionImg2ImgPipeline": BASE,
    "StableDiffusionControlNetPipeline": CONTROL.name,
    "StableDiffusionInstructPix2PixPipeline": EDIT.name,
}
PARTS = {"ControlNetModel": CONTROL.name, "AutoencoderKL": VAE, "CLIPTextModel": TEXT_ENCODER}
USES = {
    CONTROL.name: "sample_riff_cnet.py and inpaint_song.py take it",
    EDIT.name: "inference_instruct_pix2pix.py and inpaint_song.py take it",
    BASE: "cnet_riff_add_control.py and train_instruct_pix2pix.py take it",
    LORA: LORA_REMEDY,
} | dict.fromkeys((UNET, VAE, TEXT_ENCODER), "no script takes it: name the folder of the whole pipeline")


@dataclass(frozen=True)
class Identified:
    """What a model is, in words. alone: whether it is one part of a pipeline, without the others."""

    name: str
    alone: bool


def identify(name: str, remedy: str) -> Identified:
    """Identify what a folder, a checkpoint file of the original code, or the hub id of either holds.

    Args:
        remedy: what to do if the hub does not have it, for the message.

    Raises:
        ModelError: a folder that holds no model, a file that cannot be read, or a hub that does not give it.
    """
    if file := resolve_checkpoint(name, remedy):
        return identify_checkpoint(read_original_checkpoint(file))
    return identify_folder(fetch_part(name, remedy), remedy)


def identify_folder(folder: Path, remedy: str) -> Identified:
    """As `identify`, of a diffusers folder, or the hub id of a whole pipeline (`fetch_part`); adapters are what they adapt."""
    if adapted := adapted_model(folder):
        return replace(identify(adapted, remedy), alone=True)
    if folder.is_dir() and not (folder / "model_index.json").exists():
        return Identified(_name_of_part(folder), alone=True)
    try:
        class_name = DiffusionPipeline.load_config(str(folder)).get("_class_name")
    except (OSError, ValueError) as error:
        raise as_model_error(error, str(folder), remedy) from error
    return Identified(PIPELINES.get(str(class_name), f"a {class_name}"), alone=False)


def identify_checkpoint(checkpoint: Checkpoint) -> Identified:
    """What the parts of a checkpoint file make."""
    alone = not set(PIPELINE_PARTS) <= checkpoint.parts.keys()
    if "controlnet" in checkpoint.parts or checkpoint.is_edit:
        return Identified(CONTROL.name if "controlnet" in checkpoint.parts else EDIT.name, alone)
    return Identified(f"{' and '.join(PART_NAMES[part] for part in checkpoint.parts)} alone" if alone else BASE, alone)


def _name_of_part(folder: Path) -> str:
    files = sorted(path.name for path in folder.iterdir())
    if "config.json" in files:
        try:
            config: dict[str, Any] = UNet2DConditionModel.load_config(folder)
        except (OSError, ValueError) as error:
            raise as_model_error(error, str(folder), "") from error
        class_name = str(config.get("_class_name") or next(iter(config.get("architectures") or ["model of no known class"])))
        if class_name == UNet2DConditionModel.__name__:
            return EDIT.name if config["in_channels"] == 2 * config["out_channels"] else UNET
        return PARTS.get(class_name, f"a {class_name}")
    if "adapter_config.json" in files or any("lora" in name.lower() for name in files):
        return LORA
    checkpoints = [name for name in files if name.endswith(CHECKPOINTS)]
    holds = f"; name the file, {folder / checkpoints[0]}" if len(checkpoints) == 1 else ""
    what = "no model (neither model_index.json nor config.json)" if files else "nothing, it is empty"
    raise ModelError(f"{folder}: this folder holds {what}{holds}")


def wrong_type(name: str, found: Identified, needed: str, example: str) -> ModelError:
    """The error of a model where another type is needed. example: a model of that type."""
    use = USES.get(found.name, "no script takes it")
    return ModelError(f"{name}: is {found.name}, and {needed} is needed here, such as {example}; {use}")


def model_type_of(model: str | Path, *accepted: ModelType) -> ModelType:
    """The type of a whole pipeline or of its trained part alone, without loading it.

    Args:
        model: folder, checkpoint file of the original code, or the hub id of either.
        accepted: types to choose from (default: all).

    Raises:
        ModelError: nothing there, or a model of no accepted type.
    """
    types = accepted or MODEL_TYPES
    name, examples = str(model), " or ".join(model_type.example for model_type in types)
    if not Path(resolve_base(name)).exists() and looks_like_path(name):
        scripts = " or ".join(model_type.script for model_type in types)
        raise ModelError(f"{name}: no such folder; train one with {scripts}, or use {examples} in the repository's folder")
    found = identify(name, f"{examples}, in the repository, needs no network")
    for model_type in types:
        if found.name == model_type.name:
            return model_type
    raise wrong_type(name, found, " or ".join(model_type.name for model_type in types), examples)
