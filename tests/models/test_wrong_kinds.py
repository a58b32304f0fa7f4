"""A model of the wrong kind: one line says what it is, what is needed, and which script takes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

import sample_riff_cnet
from riff.errors import ModelError
from riff.models.base import load_base
from riff.models.control import attach_control, load_control_pipeline
from riff.models.edit import attach_edit, load_edit_pipeline, load_to_edit, save_edit_pipeline
from riff.sampling.song import load_song_model
from riff.spectrogram.edges import save_edges

MODELS = ROOT / "models"
LOADERS: dict[str, Callable[[str], Any]] = {
    "sample_riff_cnet.py": load_control_pipeline,
    "inference_instruct_pix2pix.py": load_edit_pipeline,
    "inpaint_song.py": load_song_model,
    "cnet_riff_add_control.py": lambda name: attach_control(load_base(name)),
    "train_instruct_pix2pix.py": load_to_edit,
}
TRAINED = {"ControlNet": "riff-cnet-mini", "edit model": "riff-pix2pix-mini"}
TAKES = {  # what each script takes beside a base
    "sample_riff_cnet.py": ["ControlNet"],
    "inference_instruct_pix2pix.py": ["edit model"],
    "inpaint_song.py": ["ControlNet", "edit model"],
    "cnet_riff_add_control.py": [],
    "train_instruct_pix2pix.py": ["edit model"],
}


def refusal(script: str, model: Path) -> str:
    with pytest.raises(ModelError) as caught:
        LOADERS[script](str(model))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("script", LOADERS)
def test_a_trained_model_in_another_ones_place(script: str) -> None:
    for kind, folder in TRAINED.items():
        if kind not in TAKES[script]:
            said = refusal(script, MODELS / folder)
            assert said.startswith(f"{MODELS / folder}: is a")
            assert f"{kind}, and " in said
            assert " is needed here, such as " in said
            assert "inpaint_song.py" in said.rpartition(";")[2]


@pytest.mark.parametrize("script", ["sample_riff_cnet.py", "inference_instruct_pix2pix.py", "inpaint_song.py"])
def test_a_base_in_a_trained_models_place(script: str) -> None:
    said = refusal(script, MODELS / "riffusion-mini")
    assert ": is a base model, and " in said
    assert "cnet_riff_add_control.py takes it, as --base" in said


@pytest.fixture(scope="module")
def oddments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders and files that no script takes."""
    folder = tmp_path_factory.mktemp("oddments")
    for name in ("empty", "lora", "checkpoint", "other"):
        (folder / name).mkdir()
    weight = {"lora_unet_down_blocks_0_proj_in.lora_up.weight": torch.zeros(2, 2)}
    save_file(weight, folder / "lora" / "pytorch_lora_weights.safetensors")
    save_file(weight, folder / "lora.safetensors")
    save_file(weight, folder / "checkpoint" / "riffusion.ckpt")
    (folder / "other" / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.1"}')
    for part in ("unet", "vae", "text_encoder"):
        (folder / part).symlink_to(MODELS / "riffusion-mini" / part)
    return folder


@pytest.mark.parametrize("script", LOADERS)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unet", ": is a UNet alone, and "),
        ("vae", ": is a VAE alone, and "),
        ("text_encoder", ": is a text encoder alone, and "),
        ("other", ": is a StableDiffusionXLPipeline, and "),
        ("lora", ": is a LoRA, and "),
        ("lora.safetensors", ": is a LoRA; no script takes it: merge it"),
        ("empty", ": this folder holds nothing"),
        ("checkpoint", "; name the file, "),
    ],
)
def test_what_no_script_takes(script: str, name: str, words: str, oddments: Path) -> None:
    said = refusal(script, oddments / name)
    assert said.startswith(str(oddments / name))
    assert words in said


def test_an_edit_model_is_no_base_for_a_controlnet(tiny_base: Path, tmp_path: Path) -> None:
    save_edit_pipeline(attach_edit(load_base(str(tiny_base))), tmp_path / "edit", {"base": str(tiny_base)})
    assert "the base is an edit model" in refusal("cnet_riff_add_control.py", tmp_path / "edit")
    assert load_to_edit(str(tmp_path / "edit"))[0].unet.config.in_channels == 8
    assert isinstance(load_base(str(tmp_path / "edit")), StableDiffusionPipeline)


def test_a_controlnet_on_a_base_that_it_does_not_fit(tiny_base: Path) -> None:
    with pytest.raises(ModelError, match=r"riff-cnet-mini: a ControlNet of another base: its in_channels is 16, the base's 4"):
        load_control_pipeline(MODELS / "riff-cnet-mini", base=str(tiny_base))


def test_the_script_says_it(tmp_path: Path) -> None:
    save_edges(tmp_path / "edges.png", np.zeros((512, 512), np.uint8))
    flags = [
        "--control",
        str(tmp_path / "edges.png"),
        "--model",
        str(MODELS / "riff-pix2pix-mini"),
        "--output",
        str(tmp_path / "out"),
    ]
    with pytest.raises(ModelError, match=r"is an edit model, and a ControlNet is needed.*inference_instruct_pix2pix\.py"):
        sample_riff_cnet.main([*flags, "--device", "cpu"])
