"""A model of the wrong type: one line says what it is, what is needed, and which script takes it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

import cnet_riff_add_control
import inference_instruct_pix2pix
import sample_riff_cnet
from riff.errors import ModelError, OptionError
from riff.models.control import attach_control
from riff.models.edit import attach_edit
from riff.models.folders import save_pipeline
from riff.models.loading import load_base, load_control_pipeline, load_edit_pipeline, load_to_edit
from riff.models.model_types import CONTROL, model_type_of
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
    for model_type, folder in TRAINED.items():
        if model_type not in TAKES[script]:
            message = refusal(script, MODELS / folder)
            assert message.startswith(f"{MODELS / folder}: is a")
            assert f"{model_type}, and " in message
            assert " is needed here, such as " in message
            assert "inpaint_song.py" in message.rpartition(";")[2]


@pytest.mark.parametrize("script", ["sample_riff_cnet.py", "inference_instruct_pix2pix.py", "inpaint_song.py"])
def test_a_base_in_a_trained_models_place(script: str) -> None:
    message = refusal(script, MODELS / "riffusion-mini")
    assert ": is a base model, and " in message
    assert "cnet_riff_add_control.py and train_instruct_pix2pix.py take it" in message


@pytest.fixture(scope="module")
def unsupported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders and files that no script takes."""
    folder = tmp_path_factory.mktemp("unsupported")
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
def test_what_no_script_takes(script: str, name: str, words: str, unsupported: Path) -> None:
    message = refusal(script, unsupported / name)
    assert message.startswith(str(unsupported / name))
    assert words in message


def test_an_edit_model_is_no_base_for_a_controlnet(tiny_base: Path, tmp_path: Path) -> None:
    save_pipeline(attach_edit(load_base(str(tiny_base))), tmp_path / "edit", {"base": str(tiny_base)})
    assert "the base is an edit model" in refusal("cnet_riff_add_control.py", tmp_path / "edit")
    assert load_to_edit(str(tmp_path / "edit"))[0].unet.config.in_channels == 8
    assert isinstance(load_base(str(tmp_path / "edit")), StableDiffusionPipeline)


def test_a_controlnet_on_a_base_that_it_does_not_fit(tiny_base: Path) -> None:
    with pytest.raises(ModelError, match=r"riff-cnet-mini: a ControlNet of another base: its in_channels is 16, the base's 4"):
        load_control_pipeline(MODELS / "riff-cnet-mini", base=str(tiny_base))


def test_the_scripts_error(tmp_path: Path) -> None:
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


CONTROLNET, EDIT_MODEL, BASE_MODEL = (str(MODELS / name) for name in ("riff-cnet-mini", "riff-pix2pix-mini", "riffusion-mini"))
SONG = ["--audio", str(ROOT / "raw-audio" / "pop-0000.ogg"), "--separator", "none"]
ADAPT = ["--model", CONTROLNET, "--dry_run"]
REFUSED = [  # script, its other flags, the flag, and what it does not take
    *(("sample_riff_cnet", SONG, "--model", model) for model in (EDIT_MODEL, BASE_MODEL, "mini")),
    *(("inference_instruct_pix2pix", SONG, "--model", model) for model in (CONTROLNET, BASE_MODEL, "mini")),
    *(("inpaint_song", SONG, "--model", model) for model in (BASE_MODEL, "mini")),
    *(("cnet_riff_training", ["--dry_run"], "--model", model) for model in (EDIT_MODEL, BASE_MODEL, "mini")),
    *(("cnet_riff_training", ADAPT, "--base", model) for model in (CONTROLNET, EDIT_MODEL)),
    ("train_instruct_pix2pix", ["--dry_run"], "--model", CONTROLNET),
    *(("cnet_riff_add_control", [], "--base", model) for model in (CONTROLNET, EDIT_MODEL)),
    *(("tools.convert_checkpoint", ["--input", CONTROLNET], "--base", model) for model in (CONTROLNET, EDIT_MODEL)),
    *(("tools.convert_checkpoint", ["--input", EDIT_MODEL], "--base", model) for model in (CONTROLNET, EDIT_MODEL)),
    *(("tools.evaluate_samples", ["--experiment", "edit"], "--model", model) for model in (CONTROLNET, BASE_MODEL)),
    *(("tools.evaluate_samples", ["--experiment", "control"], "--model", model) for model in (EDIT_MODEL, BASE_MODEL)),
    *(("upload_checkpoints", ["0", "me/x", "--dry_run"], "--model", model) for model in (EDIT_MODEL, BASE_MODEL)),
    ("riff.app.engine", [], "--model", BASE_MODEL),
]
NAMES = {CONTROLNET: "a ControlNet", EDIT_MODEL: "an edit model", BASE_MODEL: "a base model", "mini": "a base model"}


@pytest.mark.parametrize(("script", "flags", "flag", "model"), REFUSED)
def test_every_script_says_what_a_model_of_the_wrong_type_is(
    script: str, flags: list[str], flag: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "lightning_logs" / "version_0"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("sd_locked: true\n")  # of a ControlNet
    monkeypatch.chdir(tmp_path)
    output = {"upload_checkpoints": [], "tools.convert_checkpoint": ["--output", "made.ckpt"]}.get(script, ["--output", "made"])
    module = importlib.import_module(script)
    start = (
        partial(module.offered_models, [model])
        if script == "riff.app.engine"
        else partial(module.main, [*flags, flag, model, *output])
    )
    with pytest.raises(ModelError, match=rf"^({flag} )?{model}: is {NAMES[model]}, and .* need(s|ed) ") as caught:
        start()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("made*"))


def test_a_base_that_is_a_folder_takes_no_other_ones_configuration(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"--base_config {EDIT_MODEL}: --base is a folder"):
        cnet_riff_add_control.main(["--base", "mini", "--base_config", EDIT_MODEL, "--output", str(tmp_path / "out")])


@pytest.mark.parametrize(
    ("script", "flag", "model"),
    [(sample_riff_cnet, "--model", "riff-pix2pix-mini"), (inference_instruct_pix2pix, "--model_id", "riff-cnet-mini")],
)
def test_the_model_type_is_checked_before_the_song_is_separated(script: Any, flag: str, model: str, tmp_path: Path) -> None:
    song = ["--audio", str(ROOT / "raw-audio" / "pop-0000.ogg"), "--separator", "stems", "--stems_dir", str(tmp_path)]
    with pytest.raises(ModelError, match=f"{model}: is a"):  # and not that the song has no stems
        script.main([*song, flag, str(MODELS / model), "--device", "cpu"])


def test_an_accepted_type(tmp_path: Path) -> None:
    assert model_type_of(MODELS / "riff-cnet-mini", CONTROL) is CONTROL
    with pytest.raises(ModelError, match=r"models/none: no such folder; train one with cnet_riff_training\.py, or use"):
        model_type_of("models/none", CONTROL)


def test_a_saved_pipeline_does_not_hold_the_paths_that_it_was_loaded_from(tiny_base: Path, tmp_path: Path) -> None:
    save_pipeline(attach_control(load_base(str(tiny_base))), tmp_path / "control", {"base": "mini"})
    configs = [path for path in (tmp_path / "control").rglob("*.json") if path.name != "tokenizer.json"]
    assert len(configs) > 5
    for config in configs:
        assert str(tiny_base) not in config.read_text(), config
