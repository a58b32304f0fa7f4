"""Checkpoint files of the original code to folders and back: the same bits and samples, and diffusers reads them alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, run_script
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDPMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
)
from hub_stand_in import Hub, Repository, run_against_hub
from PIL import Image
from safetensors.torch import load_file, save_file

import cnet_riff_add_control
import sample_riff_cnet
from riff.errors import ModelError, RiffError
from riff.models.cldm import BUFFERS, load_base_parts, read_original_checkpoint, schedule_buffers, write_checkpoint
from riff.models.convert import checkpoint_to_folder, part_folders
from riff.models.edit import attach_edit
from riff.models.encoders import weights_hash
from riff.models.folders import save_pipeline
from riff.models.ldm_keys import PREFIXES
from riff.models.loading import load_base, load_control_pipeline, load_edit_pipeline, load_to_edit
from riff.models.model_types import model_type_of
from riff.models.sources import choose_checkpoint, resolve_checkpoint
from riff.models.weights import read_tensors
from tools import convert_checkpoint

MINI_CONTROL = ROOT / "models" / "riff-cnet-mini"
ALONE = "control_model."


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """Every weight below a folder, by its file's place and its name."""
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{file.parent.name}/{name}": tensor for file in files for name, tensor in load_file(file).items()}


def stored_types(weights: dict[str, torch.Tensor]) -> set[tuple[bool, torch.dtype]]:
    """Of the text encoder (True) and of the other parts."""
    return {(name.startswith("text_encoder/"), tensor.dtype) for name, tensor in weights.items()}


HALF_BUT_TEXT = {(False, torch.float16), (True, torch.float32)}  # stock pipelines run on it with no dtype given


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


def convert(source: Path | str, output: Path, *more: object) -> None:
    convert_checkpoint.main(["--input", str(source), "--output", str(output), *map(str, more)])


def write(model: Path | str, file: Path, **more) -> Path:  # type: ignore[no-untyped-def]
    controlnet_only = more.pop("controlnet_only", False)
    write_checkpoint(file, *part_folders(str(model), None, controlnet_only), **more)
    return file


def rewrite(file: Path, to: Path, change) -> Path:  # type: ignore[no-untyped-def]
    """Another file, of the tensors that `change` makes of a file's."""
    torch.save(change(dict(read_tensors(file))), to)
    return to


@pytest.fixture(scope="module")
def cldm_file(tiny_control: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny control pipeline with a ControlNet that does something, as a file written by the script."""
    folder = tmp_path_factory.mktemp("cldm")
    shutil.copytree(tiny_control, folder / "pipeline")
    controlnet = ControlNetModel.from_pretrained(folder / "pipeline" / "controlnet")
    torch.manual_seed(0)
    for name, parameter in controlnet.named_parameters():
        if name.startswith(("controlnet_down_blocks", "controlnet_mid_block", "controlnet_cond_embedding.conv_out")):
            torch.nn.init.normal_(parameter, std=0.1)
    controlnet.save_pretrained(folder / "pipeline" / "controlnet")
    convert(folder / "pipeline", folder / "cldm.ckpt")
    return folder / "cldm.ckpt"


@pytest.fixture(scope="module")
def pipeline_folder(cldm_file: Path) -> Path:
    return cldm_file.parent / "pipeline"


def sample(pipeline: StableDiffusionControlNetPipeline) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    hint = torch.zeros(1, 3, 512, 512)
    hint[..., 100:140, ::7] = 1
    options = {"num_inference_steps": 2, "output_type": "np", "generator": torch.Generator().manual_seed(3)}
    return pipeline("a sad song", image=hint, **options).images


def test_a_file_holds_what_the_strict_loader_expects(cldm_file: Path, pipeline_folder: Path) -> None:
    tensors = torch.load(cldm_file, weights_only=True)["state_dict"]
    assert set(BUFFERS) == {key for key in tensors if not key.startswith(tuple(PREFIXES.values()))}
    assert torch.equal(tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"], torch.arange(77)[None])
    assert len(tensors) == len(weights_of(pipeline_folder)) + len(BUFFERS) + 1
    shared = [key for key in tensors if key.startswith(ALONE) and key.replace(ALONE, PREFIXES["unet"]) in tensors]
    assert len(shared) > 100  # the ControlNet began as a copy of the UNet's encoder
    assert all(torch.equal(tensors[key], tensors[key.replace(ALONE, PREFIXES["unet"])]) for key in shared)
    manifest = json.loads((cldm_file.parent / "cldm.manifest.json").read_text())
    assert any(path.endswith("controlnet/diffusion_pytorch_model.safetensors") for path in manifest["sha256"])


def test_there_and_back_are_the_same_bits_and_samples(
    cldm_file: Path, pipeline_folder: Path, tiny_base: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    done = run_script("tools/convert_checkpoint.py", "--input", cldm_file, "--output", again, "--base", tiny_base)
    assert f"StableDiffusionControlNetPipeline: {again}" in done.stdout
    assert same(weights_of(again), weights_of(pipeline_folder))
    assert json.loads((again / "manifest.json").read_text())["sha256"].keys() == {str(cldm_file)}
    samples = [
        sample(StableDiffusionControlNetPipeline.from_pretrained(pipeline_folder, safety_checker=None)),
        sample(StableDiffusionControlNetPipeline.from_pretrained(again, safety_checker=None)),
        sample(load_control_pipeline(cldm_file, base=str(tiny_base))),  # the file itself, as --model
    ]
    assert np.array_equal(samples[0], samples[1])
    assert np.array_equal(samples[0], samples[2])
    write(again, tmp_path / "again.safetensors")
    assert same(load_file(tmp_path / "again.safetensors"), torch.load(cldm_file, weights_only=True)["state_dict"])


def test_the_models_in_the_box_keep_their_half_precision(tmp_path: Path) -> None:
    """Five stages, 16 latent channels, and a base that the ControlNet's folder names."""
    file = write(MINI_CONTROL, tmp_path / "mini.safetensors")
    checkpoint_to_folder(file, tmp_path / "mini", base="mini")
    original = weights_of(MINI_CONTROL.parent / "riffusion-mini")
    control = {name.replace("riff-cnet-mini/", "controlnet/"): tensor for name, tensor in weights_of(MINI_CONTROL).items()}
    assert stored_types(original) == HALF_BUT_TEXT
    assert same(weights_of(tmp_path / "mini"), original | control)
    assert "mini" in (tmp_path / "mini" / "riff.json").read_text()
    assert str(tmp_path) not in (tmp_path / "mini" / "vae" / "config.json").read_text()


def test_diffusers_reads_the_same_weights_of_the_file(cldm_file: Path, pipeline_folder: Path, tiny_base: Path) -> None:
    config = {"local_files_only": True, "safety_checker": None}
    theirs = StableDiffusionPipeline.from_single_file(str(cldm_file), config=str(tiny_base), **config)
    ours = load_base(str(cldm_file), config=str(tiny_base))
    for part in ("unet", "vae", "text_encoder"):
        assert weights_hash(getattr(theirs, part)) == weights_hash(getattr(ours, part))
    alone = ControlNetModel.load_config(pipeline_folder / "controlnet")
    assert len(alone["conditioning_embedding_out_channels"]) == 5  # which diffusers does not read: it expects four


def test_diffusers_reads_a_controlnet_of_the_usual_hint_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = {
        "block_out_channels": (32, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "cross_attention_dim": 32,
        "conditioning_embedding_out_channels": (16, 32, 96, 256),
    }
    controlnet = ControlNetModel(**config)
    controlnet.save_pretrained(tmp_path / "controlnet")
    write(tmp_path / "controlnet", tmp_path / "alone.safetensors", controlnet_only=True)
    read = ControlNetModel.from_single_file(
        str(tmp_path / "alone.safetensors"), config=str(tmp_path / "controlnet"), local_files_only=True
    )
    assert weights_hash(read) == weights_hash(controlnet)


def test_an_autoencoder_with_attention(tiny_base: Path, tmp_path: Path) -> None:
    """In the original its attention is made of convolutions."""
    torch.manual_seed(0)
    shutil.copytree(tiny_base, tmp_path / "base")
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
    )
    vae.save_pretrained(tmp_path / "base" / "vae")
    file = write(tmp_path / "base", tmp_path / "base.ckpt")
    query = read_tensors(file)["first_stage_model.encoder.mid.attn_1.q.weight"]
    assert query.shape == (16, 16, 1, 1)
    assert weights_hash(load_base(str(file), config=str(tmp_path / "base")).vae) == weights_hash(vae)
    # Folders of 2022, Riffusion's among them, name this attention otherwise.
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(tmp_path / "base" / "vae" / "diffusion_pytorch_model.safetensors")
    for now, then in names.items():
        weights = {key.replace(f"attentions.0.{now}.", f"attentions.0.{then}."): tensor for key, tensor in weights.items()}
    (tmp_path / "base" / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(weights, tmp_path / "base" / "vae" / "diffusion_pytorch_model.bin")
    assert same(read_tensors(write(tmp_path / "base", tmp_path / "old.ckpt")), read_tensors(file))


def test_an_edit_model(tiny_base: Path, tmp_path: Path) -> None:
    save_pipeline(attach_edit(load_base(str(tiny_base))), tmp_path / "edit", {"base": str(tiny_base)})
    file = write(tmp_path / "edit", tmp_path / "edit.ckpt")
    assert checkpoint_to_folder(file, tmp_path / "again", base=str(tiny_base)) == "StableDiffusionInstructPix2PixPipeline"
    assert same(weights_of(tmp_path / "again"), weights_of(tmp_path / "edit"))
    assert (
        StableDiffusionInstructPix2PixPipeline.from_pretrained(tmp_path / "again", safety_checker=None).unet.config.in_channels == 8
    )
    loaded = load_edit_pipeline(file, base=str(tiny_base))
    assert weights_hash(loaded.unet) == weights_hash(load_edit_pipeline(tmp_path / "edit").unet)
    assert model_type_of(file).part == "unet"
    save_pipeline(loaded, tmp_path / "unet", {"base": str(tiny_base)}, part_only=True)
    assert same(read_tensors(write(tmp_path / "unet", tmp_path / "unet.ckpt")), read_tensors(file))


def test_stable_diffusion_alone_serves_as_a_base(tiny_base: Path, tmp_path: Path) -> None:
    file = write(tiny_base, tmp_path / "base.ckpt")
    assert checkpoint_to_folder(file, tmp_path / "again", base=str(tiny_base)) == "StableDiffusionPipeline"
    assert same(weights_of(tmp_path / "again"), weights_of(tiny_base))
    arguments = ("--base", file, "--base_config", tiny_base, "--output", tmp_path / "control")
    cnet_riff_add_control.main(list(map(str, arguments)))
    made = load_control_pipeline(tmp_path / "control")
    assert weights_hash(made.unet) == weights_hash(load_base(str(tiny_base)).unet)
    pipeline, _ = load_to_edit(str(tmp_path / "again"))
    assert pipeline.unet.config.in_channels == 8
    for wrong, needed in ((load_control_pipeline, "a ControlNet"), (load_edit_pipeline, "an edit model")):
        with pytest.raises(ModelError, match=f"base.ckpt: is a base model, and {needed} is needed here"):
            wrong(file, base=str(tiny_base))
    with pytest.raises(ModelError, match="is a base model, and a ControlNet or an edit model is needed here"):
        model_type_of(file)


@pytest.mark.parametrize("prefix", [ALONE, ""])
def test_a_controlnet_alone(cldm_file: Path, pipeline_folder: Path, tiny_base: Path, tmp_path: Path, prefix: str) -> None:
    alone = {key: tensor for key, tensor in read_tensors(cldm_file).items() if key.startswith(ALONE)}
    save_file({prefix + key.removeprefix(ALONE): tensor for key, tensor in alone.items()}, tmp_path / "alone.safetensors")
    assert checkpoint_to_folder(tmp_path / "alone.safetensors", tmp_path / "alone", base=str(tiny_base)) == "ControlNetModel"
    ours, original = weights_of(tmp_path / "alone"), weights_of(pipeline_folder / "controlnet")
    assert same({name.split("/")[1]: tensor for name, tensor in ours.items()}, {k.split("/")[1]: t for k, t in original.items()})
    assert np.array_equal(sample(load_control_pipeline(tmp_path / "alone")), sample(load_control_pipeline(pipeline_folder)))
    by_file = load_control_pipeline(tmp_path / "alone.safetensors", base=str(tiny_base))
    assert weights_hash(by_file.controlnet) == weights_hash(load_control_pipeline(pipeline_folder).controlnet)
    assert model_type_of(tmp_path / "alone.safetensors").part == "controlnet"
    with pytest.raises(ModelError, match="its base is not known; name it"):
        load_control_pipeline(tmp_path / "alone.safetensors")
    write(tmp_path / "alone", tmp_path / "back.safetensors", controlnet_only=True)
    assert same(load_file(tmp_path / "back.safetensors"), alone)


def test_lightnings_file_with_the_classes_of_its_callbacks(cldm_file: Path, tiny_base: Path, tmp_path: Path) -> None:
    from pytorch_lightning.callbacks import ModelCheckpoint

    tensors = dict(read_tensors(cldm_file))
    tensors["model_ema.decay"] = torch.zeros(())
    state = {"state_dict": tensors, "optimizer_states": [{"state": {0: torch.zeros(9)}}], "global_step": 7}
    torch.save(state | {"callbacks": {ModelCheckpoint: {"best_model_score": torch.zeros(())}}}, tmp_path / "lightning.ckpt")
    theirs, ours = (load_control_pipeline(file, base=str(tiny_base)) for file in (tmp_path / "lightning.ckpt", cldm_file))
    assert weights_hash(theirs.unet, theirs.controlnet) == weights_hash(ours.unet, ours.controlnet)


def test_a_file_from_before_archives(cldm_file: Path, tmp_path: Path) -> None:
    torch.save(dict(read_tensors(cldm_file)), tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert same(read_tensors(tmp_path / "old.ckpt"), read_tensors(cldm_file))
    (tmp_path / "junk.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="cannot be read as a checkpoint; give one that PyTorch or safetensors wrote"):
        read_tensors(tmp_path / "junk.ckpt")


def test_text_encoders_without_their_prefix(cldm_file: Path, tiny_base: Path, tmp_path: Path) -> None:
    def strip(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {key.replace(".transformer.text_model.", ".transformer."): value for key, value in tensors.items()}

    file = rewrite(cldm_file, tmp_path / "stripped.ckpt", strip)
    read = (load_base_parts(read_original_checkpoint(path), str(tiny_base)) for path in (file, cldm_file))
    assert len({weights_hash(pipeline.text_encoder) for pipeline in read}) == 1


def test_hints_of_255(cldm_file: Path, pipeline_folder: Path, tiny_base: Path, tmp_path: Path) -> None:
    """A file whose ControlNet takes 0..255 gives, for edges in 0..1, what it gave for 255 times as much."""
    checkpoint_to_folder(cldm_file, tmp_path / "folded", base=str(tiny_base), hint_range=255, controlnet_only=True)
    folded = ControlNetModel.from_pretrained(tmp_path / "folded").controlnet_cond_embedding.double()
    plain = ControlNetModel.from_pretrained(pipeline_folder / "controlnet").controlnet_cond_embedding.double()
    edges = (torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) > 0.9).double()
    with torch.no_grad():
        assert torch.allclose(folded(edges), plain(255 * edges), rtol=1e-4, atol=1e-2)  # of hundreds
        assert not torch.allclose(folded(edges), plain(edges), rtol=0.1)
    write(tmp_path / "folded", tmp_path / "out.ckpt", controlnet_only=True, hint_range=255)
    key = f"{ALONE}input_hint_block.0.weight"
    assert torch.allclose(read_tensors(tmp_path / "out.ckpt")[key], read_tensors(cldm_file)[key], rtol=1e-6)


def test_casts(cldm_file: Path, tiny_base: Path, tmp_path: Path) -> None:
    checkpoint_to_folder(cldm_file, tmp_path / "half", base=str(tiny_base), dtype=torch.float16)
    assert stored_types(weights_of(tmp_path / "half")) == HALF_BUT_TEXT
    write(tmp_path / "half", tmp_path / "half.safetensors", dtype=torch.bfloat16)
    stored = load_file(tmp_path / "half.safetensors")
    assert stored["control_model.time_embed.0.weight"].dtype == torch.bfloat16
    assert stored["betas"].dtype == torch.float32  # 0.00085 and its neighbours would fall together
    assert load_base(str(tmp_path / "half.safetensors"), config=str(tiny_base)).unet.dtype == torch.float32


def test_training_on_a_file_leaves_it_alone(cldm_file: Path, tiny_base: Path) -> None:
    """Weights are mapped from the file, and steps write into them."""
    before = cldm_file.read_bytes()
    pipeline = load_control_pipeline(cldm_file, base=str(tiny_base))
    with torch.no_grad():
        for parameter in pipeline.controlnet.parameters():
            parameter += 1
    assert cldm_file.read_bytes() == before


def test_the_noise_schedule() -> None:
    config = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}
    buffers = schedule_buffers(config)
    assert all(buffers[name].shape == (1000,) and buffers[name].dtype == torch.float32 for name in BUFFERS)
    scheduler = DDPMScheduler(**config)
    assert torch.allclose(buffers["alphas_cumprod"], scheduler.alphas_cumprod, rtol=1e-5)
    variances = [scheduler._get_variance(step) for step in (1, 500, 999)]
    assert torch.allclose(buffers["posterior_variance"][[1, 500, 999]], torch.stack(variances), rtol=1e-4)
    # Without noise, a step back from sqrt(kept) x is sqrt(kept before) x.
    back = buffers["posterior_mean_coef1"] + buffers["posterior_mean_coef2"] * buffers["sqrt_alphas_cumprod"]
    assert torch.allclose(back, buffers["alphas_cumprod_prev"].sqrt(), rtol=1e-5)
    assert buffers["posterior_log_variance_clipped"][0].isclose(torch.tensor(1e-20).log())
    with pytest.raises(ModelError, match="squaredcos_cap_v2 is none of"):
        schedule_buffers(config | {"beta_schedule": "squaredcos_cap_v2"})


def without(part: str):  # type: ignore[no-untyped-def]
    return lambda tensors: {key: value for key, value in tensors.items() if not key.startswith(part)}


@pytest.mark.parametrize(("change", "words"), [
    (without("model.diffusion_model.out."), "its UNet is not that of .* (4 missing: out.0.weight, out.0.bias, ...)"),
    (without("first_stage_model."), "holds no autoencoder (first_stage_model.*), but UNet"),
    (lambda tensors: tensors | {"lora.a": torch.zeros(1), "lora.b": torch.zeros(1)}, "(2 unexpected: lora.a, lora.b)"),
    (lambda tensors: tensors | {"betas": tensors["betas"] * 2}, "another noise schedule"),
    (lambda tensors: {"a.weight": torch.zeros(1)}, "no checkpoint of Stable Diffusion"),
    (lambda tensors: {"epoch": 3}, "holds no weights"),
    (lambda tensors: {"down_blocks.0.resnets.0.conv1.weight": torch.zeros(1)}, "name the folder"),
])  # fmt: skip
def test_files_that_are_not_whole_are_named(cldm_file: Path, tiny_base: Path, tmp_path: Path, change, words: str) -> None:
    file = rewrite(cldm_file, tmp_path / "wrong.ckpt", change)
    with pytest.raises(ModelError) as caught:
        checkpoint_to_folder(file, tmp_path / "out", base=str(tiny_base))
    message = str(caught.value)
    assert message.startswith(str(file))
    assert all(part in message for part in words.split(" .* "))
    assert not (tmp_path / "out").exists()


def test_geometry_that_is_not_the_bases(cldm_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"its UNet is not that of mini .*of another shape: .*; name a base of the same geometry"):
        checkpoint_to_folder(cldm_file, tmp_path / "out", base="mini")
    with pytest.raises(ModelError, match=r"its ControlNet is not that of Stable Diffusion 1\.5 .* is 32x4x3x3, not 320x4x3x3"):
        checkpoint_to_folder(cldm_file, tmp_path / "out", controlnet_only=True)


def test_a_file_that_would_run_code_is_refused(cldm_file: Path, tmp_path: Path) -> None:
    class Exploit:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": read_tensors(cldm_file), "callbacks": Exploit()}, tmp_path / "evil.ckpt")
    with pytest.raises(ModelError, match="refused, it holds more than weights and could run code"):
        convert(tmp_path / "evil.ckpt", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.ckpt"]


def test_refusals(cldm_file: Path, pipeline_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes.txt").write_text("mine")
    for source, output, words in (
        (cldm_file, "out", "name a base"),  # no tokenizer
        (cldm_file, "there", "holds notes.txt, and no model of this project"),
        (cldm_file, "out.ckpt", "must be a folder"),
        (pipeline_folder, "out", "must be a file"),
        (tmp_path / "missing.ckpt", "out", "no such checkpoint file"),
    ):
        with pytest.raises(RiffError, match=words):
            convert(source, tmp_path / output)
    assert [path.name for path in tmp_path.rglob("*")] == ["there", "notes.txt"]


def test_folders_that_are_not_whole(pipeline_folder: Path, tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(pipeline_folder, tmp_path / "broken")
    (tmp_path / "broken" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match="unet: holds no weights"):
        write(tmp_path / "broken", tmp_path / "out.ckpt")
    with pytest.raises(ModelError, match="whose base is not known; name it"):
        part_folders(str(pipeline_folder / "controlnet"), None, False)
    with pytest.raises(ModelError, match="is a AutoencoderKL"):
        part_folders(str(pipeline_folder / "vae"), None, False)
    with pytest.raises(ModelError, match="has no ControlNet"):
        part_folders(str(tiny_base), None, True)
    with pytest.raises(ModelError, match="no such folder"):
        part_folders(str(tmp_path / "nothing"), None, False)
    assert not (tmp_path / "out.ckpt").exists()


def published(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_model_by_its_name_on_the_hub(
    hub: Hub, cldm_file: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint file among others, trained on hints of 0..255."""
    older = {"lightning_logs/version_3/checkpoints/step=900.ckpt": b"older", "README.md": b"a card"}
    files = older | {"final_checkpoint.ckpt": cldm_file.read_bytes()}
    hub.repositories["zachary-shah/riffusion-cnet-v2"] = Repository(private=False, files=files)
    Image.fromarray(np.tile(np.array([0, 255], np.uint8), (512, 256))).save(tmp_path / "edges.png")
    sampling = ("--control", "edges.png", "--base", str(tiny_base), "--num_samples", "1", "--steps", "1")
    done = run_against_hub(
        "sample_riff_cnet.py", tmp_path, hub.url, "--model", "zachary-shah/riffusion-cnet-v2", *sampling, "--output", "hub"
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in hub.requests if "step=900" in line] == []
    checkpoint_to_folder(cldm_file, tmp_path / "folded", base=str(tiny_base), hint_range=255)
    monkeypatch.chdir(tmp_path)
    sample_riff_cnet.main(["--model", "folded", *sampling, "--output", "local"])
    assert (tmp_path / "hub" / "sample-0.png").read_bytes() == (tmp_path / "local" / "sample-0.png").read_bytes()
    hub.requests.clear()
    offline = ("--model", "zachary-shah/riffusion-cnet-v2", *sampling, "--output", "offline")
    done = run_against_hub("sample_riff_cnet.py", tmp_path, hub.url, *offline, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr  # what was downloaded once is there
    assert hub.requests == []


def test_an_edit_model_by_its_name_on_the_hub(hub: Hub, tiny_base: Path, tmp_path: Path) -> None:
    save_pipeline(attach_edit(load_base(str(tiny_base))), tmp_path / "edit", {"base": "mini"})
    hub.repositories["zachary-shah/riff-pix2pix-v1"] = Repository(private=False, files=published(tmp_path / "edit"))
    arguments = ("--input", "zachary-shah/riff-pix2pix-v1", "--output", "edit.ckpt")
    done = run_against_hub("tools/convert_checkpoint.py", tmp_path, hub.url, *arguments)
    assert done.returncode == 0, done.stderr
    assert same(read_tensors(tmp_path / "edit.ckpt"), read_tensors(write(tmp_path / "edit", tmp_path / "local.ckpt")))


def test_a_file_takes_little_from_the_default_base_on_the_hub(hub: Hub, tiny_base: Path, tmp_path: Path) -> None:
    hub.repositories["riffusion/riffusion-model-v1"] = Repository(private=False, files=published(tiny_base))
    script = tmp_path / "companions.py"
    script.write_text("from riff.models.cldm import *\nprint(*map(type, load_tokenizer_and_scheduler(DEFAULT_BASE)))")
    done = run_against_hub(str(script), tmp_path, hub.url, PYTHONPATH=str(ROOT))
    assert "CLIPTokenizer" in done.stdout, done.stderr
    assert "DDIMScheduler" in done.stdout
    assert [line for line in hub.requests if line.endswith(".safetensors")] == []


@pytest.mark.parametrize(("files", "chosen"), [
    (["README.md", "model.ckpt"], "model.ckpt"),
    (["step=900.ckpt", "step=1000.ckpt", "step=99.safetensors"], "step=1000.ckpt"),
    (["runs/step=9.ckpt", "final.ckpt", "model.ckpt"], "final.ckpt"),
    (["logs/version_9/step=2.ckpt", "logs/version_10/step=1.ckpt"], "logs/version_10/step=1.ckpt"),
    (["model_index.json", "model.ckpt"], None),
    (["config.json", "diffusion_pytorch_model.safetensors"], None),
    (["README.md"], None),
])  # fmt: skip
def test_which_of_a_repositorys_files_is_meant(files: list[str], chosen: str | None) -> None:
    assert choose_checkpoint(files) == choose_checkpoint(files[::-1]) == chosen


def test_names_that_are_no_checkpoints(tiny_base: Path) -> None:
    assert resolve_checkpoint(tiny_base, "") is None
    assert resolve_checkpoint("mini", "") is None
    assert resolve_checkpoint("models/none.ckpt", "") is None
    with pytest.raises(ModelError, match=r"the hub did not give it .*; give a file"):
        resolve_checkpoint("nobody/nothing", "give a file")  # offline
