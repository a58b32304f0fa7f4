"""Training by the real script on a tiny model: its files, how it stops, and that a resumed run equals an uninterrupted one."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, last_error, run_script
from diffusers import StableDiffusionControlNetPipeline
from PIL import Image
from safetensors.torch import load_file
from trainer_flags import training_flags

from riff.training.run_dir import read_losses


def train(pairs: Path, model: Path, root: Path, *more: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    exact = ("--precision", 32)  # the same on every CPU
    return run_script("cnet_riff_training.py", *training_flags(pairs, model, root), *exact, *more, code=code)


RECIPE = ("--accumulate_gradient_batches", 2, "--snr_gamma", 5, "--lr_schedule", "constant", "--warmup_steps", 2)
VALIDATION = ("--logger_freq", 3, "--val_freq", 3, "--val_pictures", 4)


def figures(root: Path) -> list[dict[str, float]]:
    return read_losses(root / "lightning_logs/version_0/validation.jsonl")


@pytest.fixture(scope="module")
def uninterrupted(pairs: Path, tiny_control: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of six steps with every option."""
    root = tmp_path_factory.mktemp("uninterrupted")
    train(pairs, tiny_control, root, "--max_steps", 6, *RECIPE, *VALIDATION, "--use_ema")
    return root


def test_a_run_leaves_its_files(uninterrupted: Path) -> None:
    run = uninterrupted / "lightning_logs" / "version_0"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step=000006.ckpt"]
    assert (run / "config.yaml").exists()
    assert list(run.glob("events.out.tfevents.*"))
    assert [line["step"] for line in read_losses(run / "losses.jsonl")] == [1, 2, 3, 4, 5, 6]
    steps = sorted(path.name for path in (uninterrupted / "image_log" / "version_0").iterdir())
    assert steps == ["step=000003", "step=000006"]
    files = {path.suffix for path in (uninterrupted / "image_log" / "version_0" / steps[0]).iterdir()}
    assert files == {".png", ".wav"}


def test_the_result_loads_in_diffusers_and_was_trained(uninterrupted: Path, tiny_control: Path) -> None:
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(uninterrupted / "final", safety_checker=None)
    before = load_file(tiny_control / "controlnet" / "diffusion_pytorch_model.safetensors")
    after = pipeline.controlnet.state_dict()
    assert not torch.equal(before["controlnet_mid_block.weight"], after["controlnet_mid_block.weight"])
    unet_before = load_file(tiny_control / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(value, pipeline.unet.state_dict()[name]) for name, value in unet_before.items())


def test_the_checkpoint_holds_no_frozen_weights_and_no_code(uninterrupted: Path) -> None:
    checkpoint = torch.load(uninterrupted / "lightning_logs/version_0/checkpoints/step=000006.ckpt", weights_only=True)
    assert all(name.startswith("controlnet.") for name in checkpoint["state_dict"])


@pytest.mark.slow
def test_compiled_blocks_compute_the_same(uninterrupted: Path, pairs: Path, tiny_control: Path, tmp_path: Path) -> None:
    train(pairs, tiny_control, tmp_path, "--max_steps", 6, *RECIPE, "--compile")
    ours, theirs = (read_losses(root / "lightning_logs/version_0/losses.jsonl") for root in (tmp_path, uninterrupted))
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], rel=1e-3)


def test_validation_logs_the_loss_and_the_edge_f1_of_held_out_songs(uninterrupted: Path, pairs: Path) -> None:
    from benchmarks.control_curve import curve

    lines = figures(uninterrupted)
    assert [(line["step"], *sorted(set(line) - {"step"})) for line in lines] == [
        *((0, "loss", "plain_loss"), (0, "edge_f1_ceiling", "edge_f1_floor")),
        *((3, "loss", "plain_loss"), (3, "edge_f1"), (6, "loss", "plain_loss"), (6, "edge_f1")),
    ]
    assert lines[0]["loss"] == lines[0]["plain_loss"]  # nothing is averaged yet
    assert lines[-2]["loss"] != lines[-2]["plain_loss"]
    edges = {line["step"]: line["edge_f1"] for line in lines if "edge_f1" in line}
    assert edges == pytest.approx(curve(uninterrupted / "image_log/version_0", pairs))


def test_a_resumed_run_equals_an_uninterrupted_one(uninterrupted: Path, pairs: Path, tiny_control: Path, tmp_path: Path) -> None:
    """To the bit, with averaged weights and validation figures; also after an attempt whose loss became non-finite."""
    train(pairs, tiny_control, tmp_path, "--max_steps", 3, *RECIPE, *VALIDATION, "--use_ema")
    kept = {path: path.read_bytes() for path in (tmp_path / "final").rglob("*.safetensors")}
    resume = ("--log_dir", tmp_path, "--max_steps", 6, "--resume")
    message = last_error(run_script("cnet_riff_training.py", "--learning_rate", 1e9, *resume, code=2))
    assert "step 5: the loss is not a finite number; resume from the last checkpoint with a lower learning rate" in message
    checkpoint = tmp_path / "lightning_logs/version_0/checkpoints/step=000003.ckpt"
    assert f"python cnet_riff_training.py --learning_rate 1e+08 --resume {checkpoint} (or more --warmup_steps)" in message
    assert list(checkpoint.parent.iterdir()) == [checkpoint]
    assert {path: path.read_bytes() for path in kept} == kept
    run_script("cnet_riff_training.py", "--learning_rate", 1e-3, *resume, checkpoint)
    ours, theirs = (read_losses(root / "lightning_logs/version_0/losses.jsonl") for root in (tmp_path, uninterrupted))
    assert ours == theirs
    assert figures(tmp_path) == figures(uninterrupted)
    weights = [load_file(root / "final/controlnet/diffusion_pytorch_model.safetensors") for root in (tmp_path, uninterrupted)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_held_out_songs_are_never_trained_on(uninterrupted: Path, pairs: Path) -> None:
    shown = {path.name.split("_")[0] for path in (uninterrupted / "image_log/version_0/step=000006").glob("*.wav")}
    songs = {json.loads(line)["song"] for line in (pairs / "prompt.json").read_text().splitlines()}
    assert len(shown) == 1
    assert shown < songs


def test_ctrl_c_leaves_a_loadable_model(pairs: Path, tiny_control: Path, tmp_path: Path) -> None:
    flags = [*training_flags(pairs, tiny_control, tmp_path), "--max_steps", 100_000]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "cnet_riff_training.py"), *map(str, flags)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    losses = tmp_path / "lightning_logs/version_0/losses.jsonl"
    deadline = time.monotonic() + 200
    while not (losses.exists() and losses.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    assert "interrupted; step" in output
    StableDiffusionControlNetPipeline.from_pretrained(tmp_path / "final", safety_checker=None)


def test_the_time_limit_ends_a_run(uninterrupted: Path, pairs: Path, tiny_control: Path, tmp_path: Path) -> None:
    """It is saved and validated; and its losses equal those of a run with validations in between."""
    limit = ("--max_steps", 100_000, "--max_train_time", "00:00:00:01")
    done = train(pairs, tiny_control, tmp_path, *limit, *RECIPE, "--val_freq", 0)
    step = int(re.search(r"the time limit is reached; step (\d+):", done.stdout)[1])  # type: ignore[index]
    assert (tmp_path / "final" / "model_index.json").exists()
    assert (tmp_path / f"lightning_logs/version_0/checkpoints/step={step:06d}.ckpt").exists()
    assert [path.name for path in (tmp_path / "image_log/version_0").iterdir()] == [f"step={step:06d}"]
    assert [sorted(line) for line in figures(tmp_path)] == [["edge_f1_ceiling", "edge_f1_floor", "step"], ["edge_f1", "step"]]
    ours, theirs = (read_losses(root / "lightning_logs/version_0/losses.jsonl") for root in (tmp_path, uninterrupted))
    assert [line["step"] for line in ours] == list(range(1, step + 1))
    assert ours[:6] == theirs[:step]
    assert "the model will hardly learn to follow expected" not in done.stderr


def test_a_configuration_file_counts_less_than_flags(pairs: Path, tiny_control: Path, tmp_path: Path) -> None:
    """And pairs of one prompt are warned of."""
    config = tmp_path / "config.yaml"
    config.write_text("max_steps: 50\nlearning_rate: 0.001\nsd_locked: false\nonly_mid_control: true\nlr_schedule: linear\n")
    same = tmp_path / "pairs"
    shutil.copytree(pairs, same)
    records = [json.loads(line) for line in (pairs / "prompt.json").read_text().splitlines()]
    (same / "prompt.json").write_text("".join(json.dumps(record | {"prompt": "Generate a melody"}) + "\n" for record in records))
    done = train(same, tiny_control, tmp_path, "--config", config, "--max_steps", 1, "--controlnet_only", "--val_pictures", 1)
    assert "pairs of 3 songs have 1 different prompt, the commonest is on 100%: the model will hardly learn" in done.stderr
    assert "describe every song in the --prompt_file of make_cnet_dataset.py" in done.stderr
    saved = (tmp_path / "lightning_logs/version_0/config.yaml").read_text()
    assert "max_steps: 1\n" in saved
    assert "only_mid_control: true" in saved
    weights = load_file(tmp_path / "final/diffusion_pytorch_model.safetensors")
    assert weights["controlnet_mid_block.weight"].dtype == torch.float16
    assert all(not value.any() for name, value in weights.items() if name.startswith("controlnet_down_blocks"))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model", "models/none-there"], "models/none-there: no such folder"),
        (["--train_data_dir", "nowhere"], "nowhere/prompt.json: no pairs there"),
        (["--resume"], "--resume: no checkpoint under"),
        (["--config", "nothing.yaml"], "--config nothing.yaml: cannot be read"),
        (["--output", "pyproject.toml/final"], "pyproject.toml: cannot create this folder"),
    ],
)
def test_bad_flags_end_in_one_line(pairs: Path, tiny_control: Path, tmp_path: Path, flags: list[str], expected: str) -> None:
    assert expected in last_error(train(pairs, tiny_control, tmp_path, *flags, code=2))


def test_an_unknown_key_in_a_configuration_is_named(pairs: Path, tiny_control: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("max_step: 50\n")
    assert "max_step is no flag" in last_error(train(pairs, tiny_control, tmp_path, "--config", config, code=2))


def test_a_broken_image_is_named(pairs: Path, tiny_control: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    for name in ("source", "target", "accompaniment"):
        (folder / name).mkdir(parents=True)
    record = json.loads((pairs / "prompt.json").read_text().splitlines()[0])
    Image.fromarray(np.zeros((512, 512), np.uint8)).save(folder / record["source"])
    (folder / record["target"]).write_bytes(b"no image")
    (folder / "prompt.json").write_text(json.dumps(record) + "\n")
    assert "cannot be read as an image" in last_error(train(folder, tiny_control, tmp_path, code=2))
