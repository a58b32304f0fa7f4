"""The widened UNet: nothing changes before training, and its folders load again, whole or as the UNet alone."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from riff.errors import ModelError
from riff.models.edit import attach_edit, widen_unet
from riff.models.encoders import weights_hash
from riff.models.folders import save_pipeline
from riff.models.loading import load_base, load_edit_pipeline
from riff.models.sources import read_origin


def new_unet(channels: int) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
    )


@pytest.mark.parametrize("channels", [4, 16])
def test_a_widened_unet_gives_the_bases_output_for_any_image_latents(channels: int) -> None:
    base = new_unet(channels)
    torch.nn.init.normal_(base.conv_in.bias)  # a trained base has one, and it must not be lost
    wide = widen_unet(copy.deepcopy(base))
    noisy, image = torch.randn(2, 2, channels, 16, 16)
    inputs = {"timestep": torch.tensor([3, 700]), "encoder_hidden_states": torch.randn(2, 77, 32)}
    with torch.no_grad():
        assert torch.allclose(base(noisy, **inputs).sample, wide(torch.cat([noisy, image], dim=1), **inputs).sample, atol=1e-6)
    assert wide.config.in_channels == wide.conv_in.in_channels == 2 * channels
    without_bias = widen_unet(copy.deepcopy(base), copy_bias=False)
    assert torch.equal(wide.conv_in.weight, without_bias.conv_in.weight)
    assert not torch.equal(wide.conv_in.bias, without_bias.conv_in.bias)


def test_a_whole_folder_loads_in_diffusers(tiny_base: Path, tmp_path: Path) -> None:
    pipeline = attach_edit(load_base(str(tiny_base)))
    save_pipeline(pipeline, tmp_path / "edit", {"base": str(tiny_base)})
    loaded = StableDiffusionInstructPix2PixPipeline.from_pretrained(tmp_path / "edit", safety_checker=None)
    assert weights_hash(loaded.unet) == weights_hash(pipeline.unet)
    again = attach_edit(load_base(str(tmp_path / "edit")))
    assert again.unet.config.in_channels == pipeline.unet.config.in_channels  # an edit model is not widened twice


def test_a_unet_alone_is_half_the_size_and_finds_its_base(tiny_base: Path, tmp_path: Path) -> None:
    pipeline = attach_edit(load_base(str(tiny_base)))
    save_pipeline(pipeline, tmp_path / "unet", {"base": str(tiny_base), "target": "mix"}, part_only=True, half=True)
    stored = load_file(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert str(tiny_base) not in (tmp_path / "unet" / "config.json").read_text()  # a place on this machine is nobody's business
    loaded = load_edit_pipeline(tmp_path / "unet")
    assert loaded.unet.dtype == torch.float32
    assert loaded.unet.config.in_channels == 8
    assert weights_hash(loaded.vae) == weights_hash(load_base(str(tiny_base)).vae)
    assert read_origin(tmp_path / "unet")["target"] == "mix"
    (tmp_path / "unet" / "riff.json").unlink()
    with pytest.raises(ModelError, match="an edit model whose base is not known; name it"):
        load_edit_pipeline(tmp_path / "unet")


def test_what_is_no_edit_model_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="tiny-base: is a base model, and an edit model is needed here"):
        load_edit_pipeline(tiny_base)
    with pytest.raises(ModelError, match=r"models/none: no such folder; train one with train_instruct_pix2pix\.py"):
        load_edit_pipeline("models/none")
    with pytest.raises(ModelError, match="not on disk, and the hub did not give it"):
        load_edit_pipeline("nobody/nothing")
    base = StableDiffusionPipeline.from_pretrained(tiny_base, safety_checker=None)
    widen_unet(widen_unet(base.unet))
    with pytest.raises(ModelError, match="its UNet takes 16 channels"):
        attach_edit(base)
