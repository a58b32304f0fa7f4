"""The shapes of Stable Diffusion 1.5 with random weights, end to end on a CPU: ./run_tests.sh -m slow"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import run_script
from safetensors.torch import load_file

from riff.files import read_mapping
from riff.training.run_dir import read_losses

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def full_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full") / "base"
    run_script("demo/full_size.py", "--output", folder, timeout=1800)
    assert read_mapping(folder / "unet" / "config.json")["block_out_channels"] == [320, 640, 1280, 1280]
    return folder


def test_add_control_two_steps_and_one_sample(full_base: Path, pairs: Path, songs: Path, tmp_path: Path) -> None:
    control = tmp_path / "control"
    done = run_script("cnet_riff_add_control.py", "--base", full_base, "--output", control, timeout=1800)
    assert "361.3 M parameters" in done.stdout
    training = ("--train_data_dir", pairs, "--model", control, "--output", tmp_path / "final", "--log_dir", tmp_path)
    short = ("--max_steps", 2, "--batch_size", 1, "--num_workers", 0, "--sample_steps", 1, "--controlnet_only", "--val_share", 0.5)
    run_script("cnet_riff_training.py", *training, *short, timeout=3600)
    losses = [line["loss"] for line in read_losses(tmp_path / "lightning_logs/version_0/losses.jsonl")]
    assert len(losses) == 2
    assert all(0 < loss < 10 for loss in losses)
    song = next(path for path in sorted(songs.iterdir()) if path.is_dir())
    sampling = ("--model", tmp_path / "final", "--audio", song / "mixture.wav", "--num_samples", 1, "--separator", "none")
    for steps, melody in ((1, "none"), (2, "compose")):  # from noise, and from a guide's latents
        run_script(
            "sample_riff_cnet.py", *sampling, "--steps", steps, "--melody", melody, "--output", tmp_path / melody, timeout=1800
        )
        assert (tmp_path / melody / "sample-0.wav").exists()


def test_one_file_of_the_original_code_and_back(full_base: Path, tmp_path: Path) -> None:
    for source, output, *more in ((full_base, "base.ckpt"), (tmp_path / "base.ckpt", "again", "--base", full_base)):
        run_script("tools/convert_checkpoint.py", "--input", source, "--output", tmp_path / output, *more, timeout=1800)
    for part in ("unet", "vae", "text_encoder"):
        (file,) = (full_base / part).glob("*.safetensors")
        before, after = load_file(file), load_file(tmp_path / "again" / part / file.name)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
