"""Memory presets: what they store, that they train and keep the base, and that predictions are right."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from trainer_flags import edit_training_flags as edit_flags
from trainer_flags import training_flags

import cnet_riff_training
import train_instruct_pix2pix
from riff.errors import OptionError
from riff.models.loading import read_configs
from riff.training import accounting
from riff.training.accounting import ACTIVATIONS, CAST, GRADIENTS, INPUTS, MOMENTS, TEMPORARIES, WEIGHTS, Peak, trace_step
from riff.training.control import control_on_meta
from riff.training.edit import edit_on_meta
from riff.training.memory import GIB, LEAST_GIB, PRESETS, choose_preset, choose_savings, stored
from riff.training.options import Savings, TrainingOptions
from riff.training.prediction import peak_text, predict_peak, step_of, warning
from riff.training.run_dir import read_losses

SMALL: dict[str, Any] = {
    "unet": {
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "cross_attention_dim": 32,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "attention_head_dim": 8,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    },
    "vae": {"block_out_channels": (8, 8, 8, 8)},
}
SMALL["controlnet"] = {
    key: SMALL["unet"][key]
    for key in ("cross_attention_dim", "block_out_channels", "layers_per_block", "attention_head_dim", "down_block_types")
}
EDIT = {key: SMALL[key] for key in ("unet", "vae")}
FULL: dict[str, Any] = {
    "unet": {"sample_size": 64, "in_channels": 4, "out_channels": 4, "cross_attention_dim": 768},
    "vae": {"block_out_channels": (128, 256, 512, 512)},
    "controlnet": {"cross_attention_dim": 768},
}


def options(preset: str, batch_size: int = 2, **more: Any) -> TrainingOptions:
    return TrainingOptions(savings=PRESETS[preset], batch_size=batch_size, **more)


def predict(preset: str, batch_size: int = 2, precision: str = "bf16", **more: Any) -> Peak:
    return predict_peak(control_on_meta(SMALL), SMALL, options(preset, batch_size, **more), precision)


@pytest.mark.parametrize("model_type", ["control", "edit"])
@pytest.mark.parametrize(("preset", "precision"), [("full", "32"), ("24", "bf16"), ("8", "bf16")])
def test_the_same_step_on_real_tensors_takes_what_was_predicted(model_type: str, preset: str, precision: str) -> None:
    configs, make = (SMALL, control_on_meta) if model_type == "control" else (EDIT, edit_on_meta)
    predicted = predict_peak(make(configs), configs, options(preset), precision)
    real = trace_step(step_of(make(configs), configs, options(preset), precision), precision)
    assert real.stage == predicted.stage
    assert real.total == pytest.approx(predicted.total, rel=0.01)  # kernels on the CPU may take a row or two besides
    assert real.parts[WEIGHTS] == predicted.parts[WEIGHTS]
    assert real.parts[MOMENTS] == predicted.parts[MOMENTS]


@pytest.mark.parametrize(("preset", "precision"), [("full", "32"), ("8", "bf16")])
def test_the_accounting_agrees_with_the_profiler(preset: str, precision: str) -> None:
    """The profiler records the allocator: its peak, with the workspaces of the CPU's kernels."""
    build = step_of(control_on_meta(SMALL), SMALL, options(preset), precision)
    gc.collect()  # what earlier tests left must not be freed while the profiler counts
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        counted = trace_step(build, precision)
    events = profile.profiler.kineto_results.events()
    moved = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    live, peak = 0, 0
    for _, size in moved:
        live += size
        peak = max(peak, live)
    assert counted.total == pytest.approx(peak, rel=0.1)


def test_parts_are_what_they_should_be() -> None:
    objective = control_on_meta(SMALL)
    trained = sum(p.numel() for p in objective.models["controlnet"].parameters())
    frozen = sum(p.numel() for p in objective.models["unet"].parameters())
    for preset, weight, kept, moment in (("full", 4, 4, 8), ("24", 4, 2, 8), ("12", 4, 2, 4), ("8", 2, 2, 4)):
        parts = predict(preset).parts
        assert parts[WEIGHTS] == trained * weight + frozen * kept
        assert parts[MOMENTS] == pytest.approx(trained * moment, rel=0.001)
    assert predict("8").parts.get(CAST, 0) < predict("24").parts[CAST] < predict("full").parts[CAST]


def test_each_preset_takes_less_than_the_one_before() -> None:
    totals = [predict(preset, batch_size=4).total for preset in PRESETS]
    assert totals == sorted(totals, reverse=True)
    assert len(set(totals)) == len(totals)


def test_a_doubled_batch_doubles_activations_and_nothing_that_stays() -> None:
    one, two = (predict("24", batch).parts for batch in (4, 8))
    assert two[ACTIVATIONS] == pytest.approx(2 * one[ACTIVATIONS], rel=0.01)
    assert two[INPUTS] == 2 * one[INPUTS]
    assert [two[part] for part in (WEIGHTS, MOMENTS, CAST)] == [one[part] for part in (WEIGHTS, MOMENTS, CAST)]


def test_gathered_gradients_are_held_in_the_forward_pass() -> None:
    assert predict("24").parts.get(GRADIENTS, 0) == 0
    assert predict("24", accumulate=2).parts[GRADIENTS] > 0


def test_attention_takes_no_matrix() -> None:
    """Four times the roots would make sixteen times the matrix."""

    def transient(side: int) -> int:
        configs = {**SMALL, "unet": {**SMALL["unet"], "sample_size": side}}
        parts = predict_peak(control_on_meta(configs), configs, options("24"), "bf16").parts
        return parts[ACTIVATIONS] + parts.get(TEMPORARIES, 0)

    assert transient(32) < 4.2 * transient(16)


def test_tracing_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.nn.functional.group_norm
    monkeypatch.setattr(accounting, "clip_grad_norm_", None)  # a step that fails
    with pytest.raises(TypeError):
        predict("8")
    assert torch.nn.functional.group_norm is before


def test_sd_1_5_at_batch_4_takes_less_than_8_gib_with_a_gib_to_spare() -> None:
    peak = predict_peak(control_on_meta(FULL), FULL, options("8", 4), "bf16")
    assert 4 * GIB < peak.total < 7 * GIB
    assert "predicted peak at batch 4: 5." in peak_text(peak, 4)
    assert warning(peak, 8 * GIB, "8") == ""
    assert "the memory preset 8, or a smaller batch, takes less" in warning(peak, 4 * GIB, "12")
    assert "a smaller batch takes less" in warning(peak, 4 * GIB, "8")


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_fits_the_gpu_it_is_named_after(preset: str, batch_size: int) -> None:
    room = float(preset) if preset != "full" else 30
    for configs, make in ((FULL, control_on_meta), ({key: FULL[key] for key in ("unet", "vae")}, edit_on_meta)):
        peak = predict_peak(make(configs), configs, options(preset, batch_size), "bf16")
        assert warning(peak, int(room * GIB), preset) == ""


@pytest.mark.gpu
@pytest.mark.parametrize("preset", list(PRESETS))
def test_the_gpu_takes_what_was_predicted(preset: str, pairs: Path, tiny_control: Path, tmp_path: Path) -> None:
    """Small tensors are rounded up and workspaces count, so a small model is compared with a wide tolerance."""
    flags = [str(flag) for flag in training_flags(pairs, tiny_control, tmp_path)] + ["--device", "cuda"]
    cnet_riff_training.main([*flags, "--max_steps", "3", "--memory", preset])
    memory = json.loads((tmp_path / "final/manifest.json").read_text())["memory"]
    assert memory["preset"] == preset
    assert 0.7 * memory["predicted_peak_gib"] < memory["measured_peak_gib"] < 1.4 * memory["predicted_peak_gib"] + 0.1


@pytest.mark.parametrize(("gib", "preset"), [(80, "full"), (31.5, "full"), (23.6, "24"), (15.9, "16"), (11.8, "12"), (7.8, "8")])
def test_auto_goes_by_the_gpu(gib: float, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("riff.training.memory.gpu_memory", lambda: int(gib * GIB))
    assert choose_preset("auto", False, "cuda") == preset
    assert list(LEAST_GIB) == list(PRESETS)


def test_a_name_for_a_preset_and_none_on_a_cpu() -> None:
    assert choose_preset("auto", False, "cpu") == "full"
    assert choose_preset("auto", True, "cpu") == "12"
    assert choose_preset("8", True, "cuda") == "8"


@pytest.mark.parametrize(
    ("preset", "chosen", "precision", "averaged", "wanted", "computed"),
    [
        ("full", {}, None, False, PRESETS["full"], "32"),
        ("8", {}, None, False, PRESETS["8"], "bf16"),
        ("8", {"trained": "32", "checkpointing": False}, None, False, Savings(False, "half", "32", "bf16"), "bf16"),
        ("8", {}, "32", False, Savings(True, "32", "32", "bf16"), "32"),
        ("8", {}, "16", False, Savings(True, "half", "32", "bf16"), "16"),
        ("8", {}, None, True, PRESETS["12"], "bf16"),
        ("8", {"moments": "8bit"}, None, False, Savings(True, "half", "32", "8bit"), "bf16"),
    ],
)
def test_explicit_flags_override_a_preset(
    preset: str,
    chosen: dict[str, Any],
    precision: str | None,
    averaged: bool,
    wanted: Savings,
    computed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("riff.training.memory.default_precision", lambda _device: "32")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert choose_savings(preset, chosen, precision, "cuda", averaged) == (wanted, computed)


@pytest.mark.parametrize(
    ("chosen", "precision"),
    [({"frozen": "half"}, "32"), ({"trained": "bf16"}, "16"), ({"trained": "bf16", "moments": "8bit"}, None)],
)
def test_contradictory_choices_are_refused(chosen: dict[str, str], precision: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    with pytest.raises(OptionError, match="leave one of them out"):
        choose_savings("full", chosen, precision, "cuda")


def test_stored_weights_come_back_to_the_bit() -> None:
    models = {"frozen": torch.nn.Linear(8, 8).requires_grad_(False), "trained": torch.nn.Linear(8, 8)}
    before = {name: model.weight.detach().clone() for name, model in models.items()}
    vae = torch.nn.Module()
    vae.enable_slicing = lambda: None  # type: ignore[assignment]
    objective = SimpleNamespace(models=models)
    with stored(objective, vae, PRESETS["8"], "bf16"):  # type: ignore[arg-type]
        assert {model.weight.dtype for model in models.values()} == {torch.bfloat16}
    assert torch.equal(models["frozen"].weight, before["frozen"])
    assert torch.equal(models["trained"].weight, before["trained"].bfloat16().float())


def train(pairs: Path, model: Path, root: Path, *more: object) -> list[float]:
    cnet_riff_training.main([*map(str, training_flags(pairs, model, root)), "--logger_freq", "9", *map(str, more)])
    return losses_of(root)


def losses_of(root: Path) -> list[float]:
    return [line["loss"] for line in read_losses(root / "lightning_logs/version_0/losses.jsonl")]


def weights(folder: Path, part: str) -> dict[str, torch.Tensor]:
    return load_file(folder / part / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(pairs: Path, tiny_control: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps at once with the most savings."""
    root = tmp_path_factory.mktemp("uninterrupted")
    train(pairs, tiny_control, root, "--memory", 8, "--max_steps", 4)
    return root


@pytest.mark.parametrize("preset", ["24", "16", "12"])
def test_every_preset_trains(preset: str, pairs: Path, tiny_control: Path, tmp_path: Path) -> None:
    """The losses are a float32 run's but for half precision, and the result is in float32, with the base as it was."""
    (loss,) = train(pairs, tiny_control, tmp_path, "--memory", preset, "--max_steps", 1)
    assert 0 < loss < 10
    check_result(tmp_path / "final", tiny_control)


def check_result(final: Path, before: Path) -> None:
    unet, controlnet = weights(final, "unet"), weights(final, "controlnet")
    assert {value.dtype for value in [*unet.values(), *controlnet.values()]} == {torch.float32}
    assert all(torch.equal(value, unet[name]) for name, value in weights(before, "unet").items())
    assert any(not torch.equal(value, controlnet[name]) for name, value in weights(before, "controlnet").items())


def test_with_all_savings_a_resumed_run_equals_an_uninterrupted_one(
    uninterrupted: Path, pairs: Path, tiny_control: Path, tmp_path: Path
) -> None:
    train(pairs, tiny_control, tmp_path, "--memory", 8, "--max_steps", 2)
    cnet_riff_training.main(["--resume", "--log_dir", str(tmp_path), "--max_steps", "4"])
    assert losses_of(tmp_path) == losses_of(uninterrupted)
    ours, theirs = (weights(root / "final", "controlnet") for root in (tmp_path, uninterrupted))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    check_result(uninterrupted / "final", tiny_control)


def test_the_checkpoint_is_small_and_the_manifest_names_the_preset(uninterrupted: Path) -> None:
    (path,) = (uninterrupted / "lightning_logs/version_0/checkpoints").iterdir()
    checkpoint = torch.load(path, weights_only=True)
    assert {value.dtype for value in checkpoint["state_dict"].values()} == {torch.bfloat16}
    assert {state["exp_avg_sq"].dtype for state in checkpoint["optimizer_states"][0]["state"].values()} == {torch.bfloat16}
    assert json.loads((uninterrupted / "final/manifest.json").read_text())["memory"] == {"preset": "8"}


def test_an_edit_model_trains_with_the_most_savings(edit_pairs: Path, tiny_base: Path, tmp_path: Path) -> None:
    train_instruct_pix2pix.main(edit_flags(edit_pairs, tiny_base, tmp_path, "--max_train_steps", 2, "--memory", 8))
    assert all(0 < loss < 10 for loss in losses_of(tmp_path))
    assert {value.dtype for value in weights(tmp_path / "final", "unet").values()} == {torch.float32}


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    tiny_control: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--train_data_dir", "nowhere", "--output", str(tmp_path / "final"), "--log_dir", str(tmp_path), "--device", "cpu"]
    cnet_riff_training.main([*flags, "--model", str(tiny_control), "--memory", "8", "--dry_run"])
    output = capsys.readouterr().out
    assert output.startswith("memory preset 8\n")
    assert "bf16, rounded stochastically" in output
    assert "predicted peak at batch 4: 0." in output
    assert not list(tmp_path.iterdir())


def test_what_an_average_does_not_go_with(tiny_base: Path) -> None:
    flags = ["--pretrained_model_name_or_path", str(tiny_base), "--trained_weights", "bf16", "--use_ema", "--dry_run"]
    with pytest.raises(OptionError, match="--trained_weights bf16 goes with"):
        train_instruct_pix2pix.main(flags)


def test_configurations_are_read_without_the_weights(tiny_control: Path) -> None:
    configs = read_configs(str(tiny_control), ("unet", "vae", "controlnet"), load=lambda: pytest.fail("loaded"))
    assert configs["unet"]["sample_size"] == 32
