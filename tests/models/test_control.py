"""Attaching a ControlNet: nothing changes before training, the hint passes, and files that are not what they seem."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import last_error, run_script
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline

from riff.errors import ModelError
from riff.models.control import attach_control, hint_channels, scale_hint_encoder
from riff.models.encoders import weights_hash
from riff.models.loading import load_base, load_control_pipeline
from riff.models.sources import looks_like_path, read_origin
from riff.models.weights import check_weights_file


def hint(seed: int = 0) -> torch.Tensor:
    """Thin lines, as edges are."""
    rng = np.random.default_rng(seed)
    image = np.zeros((512, 512), np.float32)
    for row in rng.integers(0, 512, 30):
        image[row, rng.integers(0, 256) : rng.integers(256, 512)] = 1
    return torch.from_numpy(image)[None, None].repeat(1, 3, 1, 1)


def test_an_untrained_control_changes_nothing(tiny_base: Path, tiny_control: Path) -> None:
    base = StableDiffusionPipeline.from_pretrained(tiny_base, safety_checker=None)
    control = StableDiffusionControlNetPipeline.from_pretrained(tiny_control, safety_checker=None)
    options = {"num_inference_steps": 3, "output_type": "np"}
    plain = base("a sad song", generator=torch.Generator().manual_seed(1), **options).images
    controlled = control("a sad song", image=hint(), generator=torch.Generator().manual_seed(1), **options).images
    np.testing.assert_allclose(plain, controlled, atol=1e-5)


def test_the_copied_encoder_is_the_bases(tiny_base: Path) -> None:
    pipeline = attach_control(load_base(str(tiny_base)))
    ours, theirs = pipeline.controlnet.state_dict(), pipeline.unet.state_dict()
    shared = [name for name in ours if name in theirs]
    assert {name.split(".")[0] for name in shared} == {"conv_in", "time_embedding", "down_blocks", "mid_block"}
    assert all(torch.equal(ours[name], theirs[name]) for name in shared)


def test_a_scaled_hint_encoder_lets_the_hint_through() -> None:
    """Spatial deviation of the features before the zero convolution: all but nothing with the stock initialisation."""

    def deviation(scaled: bool) -> float:
        torch.manual_seed(0)
        controlnet = ControlNetModel(
            block_out_channels=(32, 32),
            down_block_types=("DownBlock2D",) * 2,
            conditioning_embedding_out_channels=hint_channels(16),
        )
        encoder = controlnet.controlnet_cond_embedding
        if scaled:
            scale_hint_encoder(encoder)
        features = torch.nn.functional.silu(encoder.conv_in(hint()))
        for block in encoder.blocks:
            features = torch.nn.functional.silu(block(features))
        return float(features.std(dim=(2, 3)).mean())

    assert deviation(scaled=True) > 20 * deviation(scaled=False)


def test_the_same_seed_attaches_the_same_control(tiny_base: Path) -> None:
    hashes = [weights_hash(attach_control(load_base(str(tiny_base)), seed=seed).controlnet) for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_hint_encoder_fits_the_latents() -> None:
    assert hint_channels(8) == (16, 32, 96, 256)
    assert len(hint_channels(16)) == 5


def test_a_control_remembers_its_base(tiny_base: Path, tiny_control: Path) -> None:
    assert read_origin(tiny_control)["base"] == str(tiny_base)
    alone = load_control_pipeline(tiny_control / "controlnet", base=str(tiny_base))
    assert weights_hash(alone.unet) == weights_hash(load_base(str(tiny_base)).unet)
    with pytest.raises(ModelError, match="whose base is not known; name it"):
        load_control_pipeline(tiny_control / "controlnet")


def test_an_existing_output_is_not_replaced_silently(tiny_base: Path, tiny_control: Path) -> None:
    done = run_script("cnet_riff_add_control.py", "--base", tiny_base, "--output", tiny_control, code=2)
    assert "--overwrite" in last_error(done)


class Exploit:
    def __reduce__(self) -> tuple:
        return (print, ("code ran",))


@pytest.mark.parametrize("suffix", [".ckpt", ".pt"])
def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"evil{suffix}"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "x": Exploit()}, file)
    done = run_script("cnet_riff_add_control.py", "--base", file, "--output", tmp_path / "out", code=2)
    assert "refused" in last_error(done)
    assert "code ran" not in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


def test_a_bare_pickle_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pickle.ckpt").write_bytes(pickle.dumps(Exploit()))
    (tmp_path / "broken.ckpt").write_bytes(b"PK\x03\x04 not a zip")
    for name in ("pickle.ckpt", "broken.ckpt", "missing.ckpt"):
        with pytest.raises(ModelError, match=name):
            check_weights_file(tmp_path / name)


def test_bases_that_cannot_be_had_end_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    for base, words in (
        ("models/not-there", "no such folder or file"),
        (tmp_path / "folder", "holds nothing"),
        (tmp_path / "weights.safetensors", "cannot be loaded"),
        (
            "riffusion/riffusion-model-v1",
            "--base riffusion/riffusion-model-v1: not on disk.*; mini, a small model in the repository, needs",
        ),  # offline: the hub cannot be reached
    ):
        done = run_script("cnet_riff_add_control.py", "--base", base, "--output", tmp_path / "out", code=2)
        assert re.search(words, last_error(done))


def test_hub_names_and_paths_are_told_apart() -> None:
    assert not looks_like_path("riffusion/riffusion-model-v1")
    assert all(map(looks_like_path, ("models/x", "./x", "/x/y", "a/b/c", "file.ckpt", "name")))
