"""What is saved here runs in diffusers' stock pipelines with no dtype given; half precision from elsewhere is read here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image

from riff.models.cldm import write_checkpoint
from riff.models.control import attach_control
from riff.models.convert import checkpoint_to_folder, part_folders
from riff.models.edit import attach_edit
from riff.models.folders import save_pipeline
from riff.models.loading import load_base, load_control_pipeline, load_edit_pipeline

MODELS = ROOT / "models"
MINI = MODELS / "riffusion-mini"
CLASSES: dict[str, Any] = {
    "base": StableDiffusionPipeline,
    "control": StableDiffusionControlNetPipeline,
    "edit": StableDiffusionInstructPix2PixPipeline,
}


def draw(pipeline: Any) -> np.ndarray:
    """A sample of one step, float32, shape (height, width, 3)."""
    pipeline.set_progress_bar_config(disable=True)
    image = {} if type(pipeline) is StableDiffusionPipeline else {"image": Image.new("RGB", (512, 512))}
    output = pipeline("a sad song", num_inference_steps=1, output_type="np", generator=torch.Generator().manual_seed(0), **image)
    return np.asarray(output.images[0])


def stock_control() -> Any:
    controlnet = ControlNetModel.from_pretrained(MODELS / "riff-cnet-mini")
    return StableDiffusionControlNetPipeline.from_pretrained(MINI, controlnet=controlnet)


def stock_edit() -> Any:
    unet = UNet2DConditionModel.from_pretrained(MODELS / "riff-pix2pix-mini")
    return StableDiffusionInstructPix2PixPipeline.from_pretrained(MINI, unet=unet)


@pytest.mark.parametrize(
    ("stock", "ours"),
    [
        (lambda: StableDiffusionPipeline.from_pretrained(MINI), lambda: load_base("mini")),
        (stock_control, lambda: load_control_pipeline(MODELS / "riff-cnet-mini")),
        (stock_edit, lambda: load_edit_pipeline(MODELS / "riff-pix2pix-mini")),
    ],
    ids=CLASSES,
)
def test_the_models_in_the_repository_run_in_stock_pipelines(stock: Callable[[], Any], ours: Callable[[], Any]) -> None:
    sample = draw(stock())
    assert sample.std() > 0.05
    assert np.array_equal(sample, draw(ours()))


def in_half(kind: str, tiny_base: Path, dtype: torch.dtype) -> Any:
    base = load_base(str(tiny_base))
    return (attach_control(base) if kind == "control" else attach_edit(base) if kind == "edit" else base).to(dtype)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("kind", ["control", "edit"])
def test_a_saved_model_runs_in_its_stock_pipeline(kind: str, half: bool, tiny_base: Path, tmp_path: Path) -> None:
    pipeline = in_half(kind, tiny_base, torch.float16)
    save_pipeline(pipeline, tmp_path / "saved", {"base": str(tiny_base)}, half=half)
    assert pipeline.unet.dtype == torch.float16  # as before
    assert np.isfinite(draw(CLASSES[kind].from_pretrained(tmp_path / "saved"))).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_converted_half_checkpoint_runs_in_the_stock_pipeline(dtype: torch.dtype, tiny_base: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "half.safetensors", *part_folders(str(tiny_base), None, False), dtype=dtype)
    assert checkpoint_to_folder(tmp_path / "half.safetensors", tmp_path / "folder", base=str(tiny_base)) == CLASSES["base"].__name__
    assert np.isfinite(draw(StableDiffusionPipeline.from_pretrained(tmp_path / "folder"))).all()


@pytest.mark.parametrize("kind", CLASSES)
def test_a_folder_of_a_half_precision_variant_is_read(kind: str, tiny_base: Path, tmp_path: Path) -> None:
    """As others publish them: `NAME.fp16.safetensors`, a text encoder in fp16, and no other weights beside them."""
    in_half(kind, tiny_base, torch.float16).save_pretrained(tmp_path / "fp16", variant="fp16")
    load = {"base": lambda name: load_base(str(name)), "control": load_control_pipeline, "edit": load_edit_pipeline}[kind]
    sample = draw(load(tmp_path / "fp16"))
    assert np.isfinite(sample).all()
    if part := {"control": "controlnet", "edit": "unet"}.get(kind):
        shutil.copytree(tmp_path / "fp16" / part, tmp_path / "part")
        assert np.array_equal(sample, draw(load(tmp_path / "part", base=str(tmp_path / "fp16"))))  # type: ignore[call-arg]
