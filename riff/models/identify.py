"""What a model is: told by its configuration or by the names of its weights, before anything of it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline, UNet2DConditionModel

from riff.errors import ModelError
from riff.models.cldm import LORA_WAY_OUT, WHOLE, Checkpoint, read_checkpoint
from riff.models.ldm_keys import PART_NAMES
from riff.models.sources import CHECKPOINTS, explain, fetch_part, find_checkpoint

CONTROL, EDIT, BASE, LORA = "a ControlNet", "an edit model", "a base model", "a LoRA"
PIPELINES = {
    "StableDiffusionPipeline": BASE,
    "StableDiffusionImg2ImgPipeline": BASE,
    "StableDiffusionControlNetPipeline": CONTROL,
    "StableDiffusionInstructPix2PixPipeline": EDIT,
}
PARTS = {"ControlNetModel": CONTROL, "AutoencoderKL": "a VAE alone", "CLIPTextModel": "a text encoder alone"}
UNET = "a UNet alone"
TAKEN_BY = {
    CONTROL: "sample_riff_cnet.py and inpaint_song.py take it, as --model",
    EDIT: "inference_instruct_pix2pix.py takes it, as --model_id, and inpaint_song.py, as --model",
    BASE: "cnet_riff_add_control.py takes it, as --base, and train_instruct_pix2pix.py, as --pretrained_model_name_or_path",
    UNET: "no script takes it: name the folder of the whole pipeline",
    PARTS["AutoencoderKL"]: "no script takes it: name the folder of the whole pipeline",
    PARTS["CLIPTextModel"]: "no script takes it: name the folder of the whole pipeline",
    LORA: LORA_WAY_OUT,
}


@dataclass(frozen=True)
class Found:
    """A model's kind, as a person says it. alone: whether it is one part of a pipeline, without the others."""

    kind: str
    alone: bool


def identify(name: str, way_out: str) -> Found:
    """Tell what a folder, a checkpoint file of the original code, or the hub id of either holds.

    Args:
        way_out: what to do where the hub does not give it, for the message.

    Raises:
        ModelError: a folder that holds no model, a file that cannot be read, or a hub that does not give it.
    """
    if file := find_checkpoint(name, way_out):
        return identify_checkpoint(read_checkpoint(file))
    return identify_folder(fetch_part(name, way_out), way_out)


def identify_folder(folder: Path, way_out: str) -> Found:
    """As `identify`, of a diffusers folder, or the hub id of a whole pipeline (`fetch_part`)."""
    if folder.is_dir() and not (folder / "model_index.json").exists():
        return Found(_kind_of_part(folder), alone=True)
    try:
        said = DiffusionPipeline.load_config(str(folder)).get("_class_name")
    except (OSError, ValueError) as error:
        raise explain(error, str(folder), way_out) from error
    return Found(PIPELINES.get(str(said), f"a {said}"), alone=False)


def identify_checkpoint(checkpoint: Checkpoint) -> Found:
    """What the parts of a checkpoint file make."""
    alone = not set(WHOLE) <= checkpoint.parts.keys()
    if "controlnet" in checkpoint.parts or checkpoint.is_edit:
        return Found(CONTROL if "controlnet" in checkpoint.parts else EDIT, alone)
    return Found(f"{' and '.join(PART_NAMES[part] for part in checkpoint.parts)} alone" if alone else BASE, alone)


def _kind_of_part(folder: Path) -> str:
    files = sorted(path.name for path in folder.iterdir())
    if "config.json" in files:
        try:
            config: dict[str, Any] = UNet2DConditionModel.load_config(folder)
        except (OSError, ValueError) as error:
            raise explain(error, str(folder), "") from error
        said = str(config.get("_class_name") or next(iter(config.get("architectures") or ["model of no known class"])))
        if said == UNet2DConditionModel.__name__:
            return EDIT if config["in_channels"] == 2 * config["out_channels"] else UNET
        return PARTS.get(said, f"a {said}")
    if "adapter_config.json" in files or any("lora" in name.lower() for name in files):
        return LORA
    checkpoints = [name for name in files if name.endswith(CHECKPOINTS)]
    holds = f"; name the file, {folder / checkpoints[0]}" if len(checkpoints) == 1 else ""
    what = "no model (neither model_index.json nor config.json)" if files else "nothing, it is empty"
    raise ModelError(f"{folder}: this folder holds {what}{holds}")


def wrong_kind(name: str, found: Found, needed: str, example: str) -> ModelError:
    """One line for a model in a place where another kind is needed. example: one of that kind."""
    taken = TAKEN_BY.get(found.kind, "no script takes it")
    return ModelError(f"{name}: is {found.kind}, and {needed} is needed here, such as {example}; {taken}")
