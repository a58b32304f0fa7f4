"""Training of edit models by the real script on a tiny base: its files, resuming, several processes, refusals."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, last_error, run_script
from diffusers import StableDiffusionInstructPix2PixPipeline
from hub_stand_in import TOKEN, Hub
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from trainer_flags import edit_training_flags as flags

import train_instruct_pix2pix
from riff.data.records import read_edit_records
from riff.errors import OptionError, RiffError, TrainingError
from riff.models.edit import attach_edit
from riff.models.encoders import weights_hash
from riff.models.loading import load_base, load_edit_pipeline
from riff.models.sources import read_origin
from riff.training.edit import ConditioningDropout, EditObjective
from riff.training.memory import default_precision, launched_precision
from riff.training.module import NoiseTraining
from riff.training.options import TrainingOptions
from riff.training.processes import ALONE, BatchRng, Processes
from riff.training.run_dir import read_losses

CPU = torch.device("cpu")
CHECKPOINT = "lightning_logs/version_0/checkpoints/step=000006.ckpt"


def losses(root: Path) -> list[dict[str, float]]:
    return read_losses(root / "lightning_logs/version_0/losses.jsonl")


def held_out_losses(root: Path) -> dict[int, dict[str, float]]:
    return {int(line["step"]): line for line in read_losses(root / "lightning_logs/version_0/validation.jsonl")}


def unet_weights(root: Path) -> dict[str, torch.Tensor]:
    return load_file(root / "final/unet/diffusion_pytorch_model.safetensors")


RECIPE = (
    *("--use_ema", "--snr_gamma", 5, "--conditioning_dropout_prob", 0.1),
    *("--gradient_accumulation_steps", 2, "--lr_scheduler", "cosine", "--validation_steps", 3),
    *("--val_freq", 3, "--val_pictures", 4),
)


@pytest.fixture(scope="module")
def launched(edit_pairs: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Hub]:
    """Six steps in one go with every part of the recipe, under accelerate and to the hub: the root, stderr, and the hub."""
    root, hub = tmp_path_factory.mktemp("uninterrupted"), Hub()
    example = ("--enable_xformers_memory_efficient_attention", "--resolution=512", "--center_crop", "--allow_tf32")
    push = ("--max_train_steps=6", "--push_to_hub", "--hub_model_id=me/edit", f"--hub_token={TOKEN}")
    done = launch(
        *("accelerate.commands.launch", "--cpu", "--num_processes", "1", "--mixed_precision", "no"),
        *(str(ROOT / "train_instruct_pix2pix.py"), *flags(edit_pairs, tiny_base, root, *RECIPE, *example, *push)),
        HF_HUB_OFFLINE="0",
        HF_ENDPOINT=hub.url,
        HF_HUB_DISABLE_XET="1",
    )
    hub.shutdown()
    return root, done.stderr, hub


def launch(module: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ACCELERATE")}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | more
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def uninterrupted(launched: tuple[Path, str, Hub]) -> Path:
    return launched[0]


def test_the_run_is_uploaded_without_its_token(launched: tuple[Path, str, Hub]) -> None:
    root, _, hub = launched
    files = hub.repositories["me/edit"].files
    assert {"README.md", "model_index.json", "lightning_logs/version_0/checkpoints/step=000006.ckpt"} <= set(files)
    assert "instruct-pix2pix" in files["README.md"].decode()
    kept = [*root.rglob("*.json"), *root.rglob("*.yaml")]
    assert kept
    assert not any(TOKEN in file.read_text() for file in kept)


def test_flags_of_the_example_without_effect_are_reported(launched: tuple[Path, str, Hub]) -> None:
    lines = [line for line in launched[1].splitlines() if "has no effect: " in line]
    assert [line.split()[0] for line in lines] == [
        *("--enable_xformers_memory_efficient_attention", "--center_crop", "--allow_tf32")
    ]


def test_a_run_leaves_its_files_and_a_trained_model_that_loads(uninterrupted: Path, tiny_base: Path) -> None:
    run, images = uninterrupted / "lightning_logs/version_0", uninterrupted / "image_log/version_0"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step=000006.ckpt"]
    assert [line["step"] for line in losses(uninterrupted)] == [1, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in images.iterdir()) == ["step=000003", "step=000006"]
    assert {path.suffix for path in (images / "step=000006").iterdir()} == {".png", ".wav"}
    pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(uninterrupted / "final", safety_checker=None)
    start = attach_edit(load_base(str(tiny_base)))
    assert weights_hash(pipeline.vae) == weights_hash(start.vae)
    assert pipeline.unet.conv_in.weight[:, 4:].abs().max() > 0  # the input image has an effect
    origin = read_origin(uninterrupted / "final")
    assert (origin["base"], origin["steps"], origin["target"]) == (str(tiny_base), 6, "vocals")  # as the pairs' manifest says


def test_a_resumed_run_equals_an_uninterrupted_one(
    uninterrupted: Path, edit_pairs: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bit by bit, averaged weights and falling learning rate included; the rest of the flags come from the run's configuration."""
    started = flags(edit_pairs, tiny_base, tmp_path, *RECIPE, "--max_train_steps", 6, "--resume_from_checkpoint", "latest")
    train_instruct_pix2pix.main([*started, "--max_train_time", "00:00:00:00"])
    output = capsys.readouterr().out
    assert f"no checkpoint of {tmp_path / 'final'} yet: starting a new run" in output
    assert "the time limit is reached; step 1:" in output
    assert sorted(held_out_losses(tmp_path)) == [0, 1]
    root = ["--output_dir", str(tmp_path / "final"), "--logging_dir", str(tmp_path), "--max_train_time", "01:00:00:00"]
    resumed = [*root, "--resume_from_checkpoint", "latest", "--learning_rate"]
    with pytest.raises(TrainingError, match=r"step 3: the loss is not .* --learning_rate 1e\+08 --resume .*001.ckpt"):
        train_instruct_pix2pix.main([*resumed, "1e9"])
    train_instruct_pix2pix.main([*resumed, "1e-3"])
    assert held_out_losses(uninterrupted).items() < held_out_losses(tmp_path).items()
    assert losses(tmp_path) == losses(uninterrupted)
    ours, theirs = unet_weights(tmp_path), unet_weights(uninterrupted)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_two_processes_train_on_what_one_with_twice_the_batch_does(
    uninterrupted: Path, edit_pairs: Path, tiny_base: Path, tmp_path: Path
) -> None:
    script = [str(ROOT / "train_instruct_pix2pix.py"), *flags(edit_pairs, tiny_base, tmp_path, *RECIPE)]
    more = ["--train_batch_size", "1", "--max_train_steps", "6", "--unet_only", "--target", "mix", "--gradient_checkpointing"]
    done = launch("torch.distributed.run", "--standalone", "--nproc_per_node", "2", *script, *more)
    assert done.stdout.count("step 6:") == done.stdout.count("pairs to train on") == 1
    ours, theirs = ([line["loss"] for line in losses(root)] for root in (tmp_path, uninterrupted))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    validations, their_validations = held_out_losses(tmp_path), held_out_losses(uninterrupted)
    assert validations.keys() == their_validations.keys() == {0, 3, 6}
    assert all(validations[step] == pytest.approx(their_validations[step], rel=1e-4) for step in validations)
    assert len(list((tmp_path / "lightning_logs").iterdir())) == 1
    assert read_origin(tmp_path / "final")["target"] == "mix"
    weights, theirs_in_full = load_edit_pipeline(tmp_path / "final").unet.state_dict(), unet_weights(uninterrupted)
    assert all(torch.allclose(weights[name], theirs_in_full[name], atol=3e-3) for name in theirs_in_full)  # kept in fp16
    averages = (torch.load(root / CHECKPOINT, weights_only=True)["average"]["shadow_params"] for root in (tmp_path, uninterrupted))
    assert all(torch.allclose(average, theirs, atol=3e-3) for average, theirs in zip(*averages, strict=True))


def test_a_data_set_of_parquet_files_with_a_validation_image(edit_pairs: Path, tiny_base: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="pip install datasets")
    records = read_edit_records(edit_pairs)

    def images_of(paths: list[str]) -> list[dict[str, bytes]]:
        return [{"bytes": (edit_pairs / path).read_bytes()} for path in paths]

    columns = {
        "input_image": images_of([record.input_file_path for record in records]),
        "edited_image": images_of([record.edited_file_path for record in records]),
        "edit_prompt": [record.edit_prompt for record in records],
    }
    images = {name: datasets.Image() for name in ("input_image", "edited_image")}
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(images | {"edit_prompt": datasets.Value("string")}))
    table.to_parquet(str(tmp_path / "data" / "train.parquet"))
    train_instruct_pix2pix.main(
        [
            *flags(
                tmp_path / "nothing", tiny_base, tmp_path, "--dataset_name", tmp_path / "data", "--cache_dir", tmp_path / "cache"
            ),
            *(
                "--original_image_column",
                "input_image",
                "--max_train_samples",
                "3",
                "--num_train_epochs",
                "2",
                "--copy_bias",
                "False",
            ),
            *("--checkpointing_steps", "1", "--checkpoints_total_limit", "2", "--lr_scheduler", "linear", "--scale_lr"),
            *("--validation_epochs", "1", "--num_validation_images", "1", "--validation_prompt", "remove the vocals"),
            *("--val_image_url", str(edit_pairs / records[0].input_file_path)),
        ]
    )
    checkpoints = sorted(path.name for path in (tmp_path / "lightning_logs/version_0/checkpoints").iterdir())
    assert checkpoints == ["step=000003.ckpt", "step=000004.ckpt"]  # two epochs of two batches of two
    images_at = [path.name for path in sorted((tmp_path / "image_log/version_0").iterdir())]
    assert images_at == ["step=000002", "step=000004"]
    sounds = {path.stem for path in (tmp_path / "image_log/version_0/step=000004").glob("*.wav")}
    assert "validation" in sounds
    assert len(sounds) == 2
    bias = unet_weights(tmp_path)["conv_in.bias"]
    assert not torch.allclose(bias, load_base(str(tiny_base)).unet.conv_in.bias, atol=1e-2)


PREDECESSORS_COMMAND = """
--output_dir "/data/pix2pix-riff-ckpt" --resume_from_checkpoint "latest" --seed 0 --max_train_steps 300000 --resolution 512
--train_batch_size 4 --dataloader_num_workers 16 --checkpointing_steps 30000 --checkpoints_total_limit 3
--conditioning_dropout_prob=0.05
"""
EXAMPLES_COMMAND = """
--pretrained_model_name_or_path=riffusion/riffusion-model-v1 --dataset_name=USER/NAME --use_ema
--enable_xformers_memory_efficient_attention --resolution=512 --train_batch_size=4 --gradient_accumulation_steps=4
--gradient_checkpointing --max_train_steps=15000 --checkpointing_steps=5000 --checkpoints_total_limit=1 --learning_rate=5e-05
--lr_warmup_steps=0 --max_grad_norm=1 --conditioning_dropout_prob=0.05 --mixed_precision=fp16 --use_8bit_adam --allow_tf32
--val_image_url="https://example.org/x.png" --validation_prompt="add a voice" --num_validation_images=2 --validation_epochs=1
--seed=42 --report_to=wandb --push_to_hub --hub_model_id=USER/MODEL --hub_token=x --logging_dir=logs --local_rank=0
--dataset_config_name=x --original_image_column=a --edited_image_column=b --edit_prompt_column=c --max_train_samples=9
--cache_dir=/x --center_crop --num_train_epochs=3 --scale_lr --lr_scheduler=cosine --adam_beta1=0.9 --adam_beta2=0.99
--adam_weight_decay=0.1 --adam_epsilon=1e-7 --revision=main --variant=fp16 --non_ema_revision=main --train_data_dir=x
"""


@pytest.mark.parametrize("command", [PREDECESSORS_COMMAND, EXAMPLES_COMMAND])
def test_commands_that_people_know_are_taken(command: str) -> None:
    args = train_instruct_pix2pix.parse_args(shlex.split(command))
    assert args.conditioning_dropout_prob == 0.05
    assert args.resolution == 512


def test_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    assert launched_precision() == "16"
    assert train_instruct_pix2pix.parse_args(["--mixed_precision", "no"]).precision == "32"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(OptionError, match="mixed precision fp8"):
        launched_precision()
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    assert launched_precision() is None
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert default_precision("cuda") == "bf16"
    for supported, precision in ((True, "bf16"), (False, "32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda supported=supported: supported)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert default_precision("cpu") == precision


@given(st.floats(0, 0.3), st.floats(0, 0.3), st.floats(0, 0.3))
@settings(deadline=None, max_examples=20)
def test_each_dropout_takes_its_share(text: float, image: float, both: float) -> None:
    with_text, with_image = ConditioningDropout(text, image, both).kept(torch.arange(10_000) / 10_000)
    shares = [(~with_text & with_image), (with_text & ~with_image), (~with_text & ~with_image)]
    assert [share.float().mean().item() for share in shares] == pytest.approx([text, image, both], abs=3e-4)


def test_equal_dropout_is_the_usual_joint_rule() -> None:
    uniform = torch.arange(1000) / 1000 + 5e-4
    with_text, with_image = ConditioningDropout(0.05, 0.05, 0.05).kept(uniform)
    assert torch.equal(~with_text, uniform < 0.10)
    assert torch.equal(~with_image, (uniform >= 0.05) & (uniform < 0.15))
    with pytest.raises(OptionError, match="sum to at most 1"):
        ConditioningDropout(0.5, 0.5, 0.5)


def test_the_random_numbers_of_all_processes_are_those_of_one() -> None:
    def numbers(processes: Processes, examples: int) -> list[torch.Tensor]:
        rng = BatchRng((3, 7), examples, processes, CPU)
        return [rng.normal(2, 3), rng.integers(1000), rng.uniform(1, 1)]

    parts = [numbers(Processes(rank, 3, 3), 2) for rank in range(3)]
    for number, whole in enumerate(numbers(ALONE, 6)):
        assert torch.equal(whole, torch.cat([part[number] for part in parts]))


def tiny_module(base: Path, **options: object) -> NoiseTraining:
    pipeline = attach_edit(load_base(str(base)))
    objective = EditObjective(pipeline.unet, pipeline.vae.config.scaling_factor, ConditioningDropout(0, 0, 0))
    return NoiseTraining(objective, pipeline.scheduler, [None], TrainingOptions(**options), "name")  # type: ignore[arg-type]


def test_min_snr_lowers_the_weight_of_low_noise(tiny_base: Path) -> None:
    """At every noise level the loss is the plain one times min(SNR, gamma) / SNR."""
    generator = torch.Generator().manual_seed(0)
    batch = {"moments": torch.randn(1, 2, 4, 32, 32, generator=generator), "image": torch.zeros(1, 4, 32, 32)}
    batch |= {"text": torch.zeros(1, 77, 32), "no_text": torch.zeros(1, 77, 32)}
    plain, weighted = tiny_module(tiny_base), tiny_module(tiny_base, snr_gamma=5.0)
    alphas = plain._noise_scheduler.alphas_cumprod
    ratios = set()
    for seed in range(8):
        rng = BatchRng((seed,), 1, ALONE, CPU)
        for _ in ("latents", "noise"):
            rng.normal(4, 32, 32)
        alpha = alphas[rng.integers(1000)].item()
        expected = min(1.0, 5 * (1 - alpha) / alpha)
        with torch.no_grad():
            losses = [float(module.noise_loss(batch, (seed,))) for module in (plain, weighted)]
        assert losses[1] == pytest.approx(losses[0] * expected, rel=1e-4)
        ratios.add(round(expected, 3))
    assert 1.0 in ratios
    assert min(ratios) < 0.5


def broken(pairs: Path, folder: Path, *lines: str, resize: bool = False) -> Path:
    """A copy of the pairs with other lines of records, or one image of another size."""
    shutil.copytree(pairs, folder, ignore=shutil.ignore_patterns(".cache"))
    records = (pairs / "metadata.jsonl").read_text().splitlines()
    if resize:
        image = folder / json.loads(records[-1])["edited_file_path"]
        Image.open(image).resize((256, 512)).save(image)
    (folder / "metadata.jsonl").write_text("\n".join([*records[:1], *lines, *records[1:]]) if lines or resize else "")
    return folder


def refusal(pairs: Path, base: Path, root: Path, *more: object) -> str:
    with pytest.raises(RiffError) as caught:
        train_instruct_pix2pix.main(flags(pairs, base, root, *more))
    return str(caught.value)


def test_bad_input_is_named(edit_pairs: Path, tiny_base: Path, tmp_path: Path) -> None:
    outside = '{"input_file_path": "../x.png", "edited_file_path": "edited_image/x.png", "edit_prompt": "add"}'
    missing = '{"input_file_path": "input_image/none.png", "edited_file_path": "edited_image/none.png", "edit_prompt": "add"}'
    cases: list[tuple[Path, list[object], str]] = [
        (broken(edit_pairs, tmp_path / "outside", outside), [], "line 2"),
        (broken(edit_pairs, tmp_path / "missing", missing), [], "none.png: no such image"),
        (broken(edit_pairs, tmp_path / "json", "{"), [], "line 2: is no JSON"),
        (broken(edit_pairs, tmp_path / "empty"), [], "holds no edit pairs"),
        (tmp_path / "nowhere", [], "no edit pairs there"),
        (edit_pairs, ["--resolution", 256], "--resolution 256: the images in"),
        (edit_pairs, ["--val_image_url", "x.png"], "--val_image_url: needs an instruction"),
        (edit_pairs, ["--val_image_url", tmp_path / "x.png", "--validation_prompt", "add"], "x.png: no such image"),
        (edit_pairs, ["--text_dropout", 0.99], "sum to at most 1"),
        (edit_pairs, ["--resume_from_checkpoint", "x.ckpt"], "--resume x.ckpt: no such checkpoint"),
        (edit_pairs, ["--dataset_name", tmp_path / "nowhere"], "no such folder"),
        (edit_pairs, ["--pretrained_model_name_or_path", "models/none"], "models/none: no such folder or file"),
        (edit_pairs, ["--output_dir", "pyproject.toml/final"], "pyproject.toml: cannot create this folder"),
    ]
    for folder, more, expected in cases:
        message = refusal(folder, tiny_base, tmp_path / "root", *more)
        assert expected in message
        assert "\n" not in message
    assert not (tmp_path / "root/lightning_logs").exists()
    done = run_script("train_instruct_pix2pix.py", "--random_flip", code=2)
    assert "--random_flip: a spectrogram that is flipped sounds backwards" in last_error(done)


def test_a_checkpoint_of_another_model_is_refused(uninterrupted: Path, edit_pairs: Path, tiny_base: Path, tmp_path: Path) -> None:
    """Of other frozen parts, of another objective, and a file that is none."""
    other = tmp_path / "other-base"
    pipeline = load_base(str(tiny_base))
    torch.nn.init.normal_(pipeline.text_encoder.final_layer_norm.bias)
    pipeline.save_pretrained(other)
    checkpoint = uninterrupted / "lightning_logs/version_0/checkpoints/step=000006.ckpt"
    resumed = ("--resume_from_checkpoint", checkpoint, "--logging_dir", uninterrupted)
    assert "a checkpoint of another model" in refusal(edit_pairs, other, tmp_path, *resumed)
    foreign = tmp_path / "lightning_logs/version_0/checkpoints/step=000001.ckpt"
    foreign.parent.mkdir(parents=True)
    shutil.copy(uninterrupted / "lightning_logs/version_0/config.yaml", foreign.parent.parent)
    torch.save({"state_dict": {"controlnet.weight": torch.zeros(1)}, "batches_done": 1}, foreign)
    assert "a checkpoint of another model" in refusal(edit_pairs, tiny_base, tmp_path, "--resume_from_checkpoint", foreign)
    foreign.write_bytes(b"no checkpoint")
    assert "cannot be read as a checkpoint" in refusal(edit_pairs, tiny_base, tmp_path, "--resume_from_checkpoint", foreign)
