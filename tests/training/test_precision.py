"""The precision of a run and of its samples: as the device supports, for every preset and precision."""

from __future__ import annotations

from contextlib import suppress
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from pytorch_lightning.plugins.precision import MixedPrecision

from riff.devices import computes_bf16, default_precision
from riff.errors import OptionError
from riff.training.accounting import trace_step
from riff.training.control import ControlObjective
from riff.training.memory import (
    HALF_TYPES,
    PRESETS,
    choose_savings,
    fit_precision,
    stability_flags,
)
from riff.training.options import Savings, TrainingOptions
from riff.training.prediction import Configs, step_of
from riff.training.run import PRECISIONS
from riff.training.samples import SampleLog

DEVICES = {"T4": "cuda", "A100": "cuda", "cpu": "cpu"}


@pytest.fixture
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device to decide for: its capability stands in for it, and torch reports bf16 for a T4, which emulates it."""
    major = {"T4": 7, "A100": 8}.get(request.param)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: major is not None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: SimpleNamespace(major=major, name=request.param))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _device: True)
    return request.param


@pytest.mark.parametrize("machine", ["T4"], indirect=True)
def test_emulated_bf16_is_none(machine: str) -> None:
    assert torch.cuda.is_bf16_supported()  # with emulation
    assert not computes_bf16("cuda")
    assert default_precision("cuda") == "16"
    with pytest.raises(OptionError, match=r"bf16: this GPU has none.*16"):
        fit_precision("bf16", "cuda")
    assert "bf16" not in stability_flags("16")


@pytest.mark.parametrize(
    ("machine", "preset", "asked", "savings", "precision"),
    [
        ("T4", "full", None, Savings(), "16"),
        ("T4", "16", None, PRESETS["16"], "16"),
        ("T4", "8", "32", Savings(checkpointing=True, moments="bf16"), "32"),
        ("T4", "8", "16", Savings(frozen="half", checkpointing=True, moments="bf16"), "16"),
        ("A100", "full", None, Savings(), "bf16"),
        ("A100", "8", None, PRESETS["8"], "bf16"),
        ("cpu", "8", "16", PRESETS["8"], "bf16"),
        ("cpu", "8", "32", Savings(checkpointing=True, moments="bf16"), "32"),
    ],
    indirect=["machine"],
)
def test_what_a_device_trains_in(machine: str, preset: str, asked: str | None, savings: Savings, precision: str) -> None:
    assert choose_savings(preset, {}, asked, DEVICES[machine]) == (savings, precision)


@pytest.mark.parametrize("machine", ["T4"], indirect=True)
@pytest.mark.parametrize(("given", "precision"), [({"frozen": "half"}, "32"), ({"trained": "bf16"}, "16")])
def test_what_a_gpu_without_bf16_cannot_store_is_refused(machine: str, given: dict[str, str], precision: str) -> None:
    with pytest.raises(OptionError, match=f"here the precision is {precision}"):
        choose_savings("full", given, precision, "cuda")


@pytest.mark.parametrize("machine", DEVICES, indirect=True)
def test_no_combination_stores_what_is_not_computed_in(machine: str) -> None:
    device = DEVICES[machine]
    chosen = set()
    for preset, asked, averaged in product(PRESETS, (None, "32", "bf16", "16"), (False, True)):
        with suppress(OptionError):
            savings, precision = choose_savings(preset, {}, asked, device, averaged)
            chosen.add((savings, precision))
            assert precision in {"T4": ("32", "16"), "A100": ("32", "bf16", "16"), "cpu": ("32", "bf16")}[machine]
            assert savings.frozen == "32" or precision in HALF_TYPES
            assert savings.trained == "32" or precision == "bf16"
            assert precision == asked or asked is None or (asked, device) == ("16", "cpu")
    assert len(chosen) > 5


def cpu_choices() -> list[tuple[Savings, str]]:
    """Every outcome of `--memory` and `--precision` on a CPU."""
    return sorted(
        {choose_savings(preset, {}, asked, "cpu") for preset, asked in product(PRESETS, (None, "32", "bf16", "16"))}, key=str
    )


def small_control() -> tuple[ControlObjective, Configs]:
    """An objective on meta, and its configurations."""
    shape = {"block_out_channels": (32, 32), "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "layers_per_block": 1}
    more = {"cross_attention_dim": 8, "attention_head_dim": 2}
    up = {"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "sample_size": 8}
    with torch.device("meta"):
        unet = UNet2DConditionModel(**shape, **more, **up)
        controlnet = ControlNetModel(**shape, **more, conditioning_embedding_out_channels=(8, 16))
    configs = {"unet": unet.config, "controlnet": controlnet.config, "vae": {"block_out_channels": (8, 8)}}
    return ControlObjective(unet, controlnet), configs


@pytest.mark.parametrize(("savings", "precision"), cpu_choices(), ids=str)
def test_every_combination_takes_a_step_on_a_cpu(savings: Savings, precision: str) -> None:
    trainer = pl.Trainer(accelerator="cpu", precision=PRECISIONS[precision], logger=False, enable_checkpointing=False)  # type: ignore[arg-type]
    assert trainer.precision == PRECISIONS[precision]  # Lightning would compute in another one than the weights are stored in
    options = TrainingOptions(batch_size=1, savings=savings)
    build = step_of(*small_control(), options, precision)
    assert trace_step(build, precision, 1.0).total > 0


@pytest.mark.parametrize(("precision", "half"), [("32-true", None), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)])
def test_samples_are_generated_in_the_precision_of_the_training(precision: str, half: torch.dtype | None, tmp_path: Path) -> None:
    sampled_in = []
    model = torch.nn.Linear(2, 2)
    pipeline: Any = SimpleNamespace(vae=torch.nn.Module(), text_encoder=torch.nn.Module(), unet=model)
    log = SampleLog(pipeline, lambda *_: [], [], tmp_path, 1, 0)
    trainer: Any = SimpleNamespace(precision=precision)
    with log._ready(trainer, torch.device("cpu")):
        sampled_in.append(model(torch.zeros(1, 2)).dtype)
    assert sampled_in == [half or torch.float32]


def test_fp16_trains_float32_weights_with_a_scaled_loss() -> None:
    """An overflow skips the step and lowers the scale; then weights move by less than fp16 could store."""
    options = TrainingOptions(batch_size=1, learning_rate=1e-6, max_steps=3, savings=Savings(frozen="half"), num_workers=0)
    objective, configs = small_control()
    module, new_batch = step_of(objective, configs, options, "16")()
    module._dataset = [{name: value[0] for name, value in new_batch().items()}] * 3  # type: ignore[assignment]
    with torch.no_grad():
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(0))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100, backoff_factor=2.0**-90)
    scales, moved = [], []
    before = [parameter.detach().clone() for parameter in module.trained]

    class Record(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
            scales.append(scaler.get_scale())
            moved.append(max((now - old).abs().max().item() for now, old in zip(module.trained, before, strict=True)))

    more: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_steps": 3}
    in_fp16 = MixedPrecision("16-mixed", "cpu", scaler)
    pl.Trainer(accelerator="cpu", plugins=[in_fp16], callbacks=[Record()], gradient_clip_val=1.0, **more).fit(module)
    assert scales == [2.0**10] * 3
    assert moved[0] == 0 < moved[1] < moved[2] < 1e-5
    assert {parameter.dtype for parameter in module.trained} == {torch.float32}
    assert {parameter.dtype for parameter in objective.models["unet"].parameters()} == {torch.float16}
