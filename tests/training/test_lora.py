"""Adapters (LoRA): trained by either trainer, resumed, loaded by stock pipelines and here, and predicted in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from safetensors.torch import load_file
from trainer_flags import edit_training_flags, training_flags

import cnet_riff_training
import train_instruct_pix2pix
from riff.errors import ModelError, OptionError
from riff.hub.card import RunCard
from riff.hub.files import collect
from riff.models.loading import load_control_pipeline, load_edit_pipeline, load_to_edit, read_configs
from riff.models.lora import fuse_lora
from riff.models.model_types import CONTROL, EDIT, model_type_of
from riff.models.sources import LORA_FILE, choose_checkpoint, read_origin
from riff.training.accounting import MOMENTS, WEIGHTS
from riff.training.edit import edit_on_meta
from riff.training.options import TrainingOptions
from riff.training.prediction import predict_peak
from riff.training.run_dir import read_losses

RANK = ("--lora_rank", 4)
QUICK = ("--val_freq", 0, "--validation_steps", 0, "--num_validation_images", 0)


def adapt(pairs: Path, model: Path, root: Path, *more: object) -> list[float]:
    train_instruct_pix2pix.main(edit_training_flags(pairs, model, root, *RANK, *QUICK, *more))
    return [line["loss"] for line in read_losses(root / "lightning_logs/version_0/losses.jsonl")]


@pytest.fixture(scope="module")
def adapted(edit_pairs: Path, tiny_edit: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """Four steps on an edit model at once, and their losses."""
    root = tmp_path_factory.mktemp("adapted")
    return root, adapt(edit_pairs, tiny_edit, root, "--max_train_steps", 4)


def predict(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, unet.config.in_channels, 32, 32, generator=generator)
    text = torch.randn(1, 77, unet.config.cross_attention_dim, generator=generator)
    with torch.no_grad():
        return unet(latents, torch.tensor([500]), text).sample


def test_adapters_alone_are_written_and_load_everywhere(adapted: tuple[Path, list[float]], tiny_edit: Path) -> None:
    final = adapted[0] / "final"
    assert {path.name for path in final.iterdir()} == {LORA_FILE, "riff.json", "manifest.json"}
    assert read_origin(final) | {"files": []} == {"base": str(tiny_edit), "target": "vocals", "steps": 4, "version": 0, "files": []}
    stock = StableDiffusionInstructPix2PixPipeline.from_pretrained(tiny_edit)
    before = predict(stock.unet)
    stock.load_lora_weights(final)
    assert model_type_of(final) is EDIT
    ours, base = load_to_edit(str(final))
    assert torch.allclose(predict(stock.unet), predict(ours.unet), atol=1e-5)
    assert not torch.allclose(predict(ours.unet), before, atol=1e-4)
    assert ours.unet.state_dict().keys() == load_edit_pipeline(tiny_edit).unet.state_dict().keys()  # no trace of the adapters
    assert base == read_origin(tiny_edit)["base"]


def test_a_resumed_run_equals_an_uninterrupted_one(
    adapted: tuple[Path, list[float]], edit_pairs: Path, tiny_edit: Path, tmp_path: Path
) -> None:
    adapt(edit_pairs, tiny_edit, tmp_path, "--max_train_steps", 2)
    (kept,) = (tmp_path / "lightning_logs/version_0/checkpoints").iterdir()
    assert all(".lora_" in name for name in torch.load(kept, weights_only=True)["state_dict"])
    assert adapt(edit_pairs, tiny_edit, tmp_path, "--max_train_steps", 4, "--resume_from_checkpoint", "latest") == adapted[1]
    ours, theirs = (load_file(root / "final" / LORA_FILE) for root in (tmp_path, adapted[0]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_base_of_a_controlnet_is_adapted(pairs: Path, tiny_control: Path, tmp_path: Path) -> None:
    flags = [*training_flags(pairs, tiny_control, tmp_path), *RANK, *QUICK[:4], "--max_steps", 1]
    cnet_riff_training.main([str(flag) for flag in flags])
    assert model_type_of(tmp_path / "final") is CONTROL
    before, after = load_control_pipeline(tiny_control), load_control_pipeline(tmp_path / "final")
    assert all(torch.equal(value, after.controlnet.state_dict()[name]) for name, value in before.controlnet.state_dict().items())
    assert any(not torch.equal(value, after.unet.state_dict()[name]) for name, value in before.unet.state_dict().items())


def test_less_memory_is_predicted(tiny_edit: Path) -> None:
    configs = read_configs(str(tiny_edit), ("unet", "vae"), load=lambda: pytest.fail("loaded"))
    adapters, whole = (predict_peak(edit_on_meta(configs, rank), configs, TrainingOptions(batch_size=1), "32") for rank in (4, 0))
    trained = sum(p.numel() for p in edit_on_meta(configs, 4).models["unet"].parameters() if p.requires_grad)
    assert adapters.parts[WEIGHTS] == whole.parts[WEIGHTS] + 4 * trained
    assert adapters.parts[MOMENTS] == pytest.approx(8 * trained, rel=0.01)
    assert adapters.parts[MOMENTS] < whole.parts[MOMENTS] / 3


def test_what_adapters_do_not_go_with(tiny_base: Path, tiny_control: Path, adapted: tuple[Path, list[float]]) -> None:
    with pytest.raises(ModelError, match=r"is a base model, and an edit model to adapt is needed here, such as models/"):
        train_instruct_pix2pix.main(["--pretrained_model_name_or_path", str(tiny_base), *map(str, RANK), "--dry_run"])
    for flags in (("--base", "mini"), ("--sd_locked", "False")):
        with pytest.raises(OptionError, match=r"--lora_rank: adapters .* leave .*out"):
            cnet_riff_training.main(["--model", str(tiny_control), *map(str, RANK), *flags, "--dry_run"])
    with pytest.raises(ModelError, match=r"final: cannot be loaded"):
        fuse_lora(load_edit_pipeline("models/riff-pix2pix-mini"), adapted[0] / "final")


def test_adapters_are_uploaded_as_a_model(adapted: tuple[Path, list[float]]) -> None:
    root, _ = adapted
    files = collect(0, root / "lightning_logs", root / "image_log", root / "final", ["model"])
    assert set(files) == {LORA_FILE, "riff.json", "manifest.json"}
    assert choose_checkpoint(list(files)) is None  # the folder is loaded, and not the file as a whole model
    card = RunCard(0, "models/riff-pix2pix-mini", {"conditioning_dropout_prob": None}, {})
    text = card.text("me/adapters", files)
    assert "python inference_instruct_pix2pix.py --model me/adapters --audio" in text
    assert 'pipeline.load_lora_weights("me/adapters")' in text
    assert card.licence == "mit"
