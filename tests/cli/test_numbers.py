"""The numbers that flags take: each has a range, which the error names; 0 is never; seeds that PyTorch would confuse."""

from __future__ import annotations

import ast
import importlib
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, last_error, run_script
from hypothesis import given
from hypothesis import strategies as st

from riff import cli
from riff.errors import OptionError
from riff.seeds import NUM_SEEDS, TORCH_SEEDS, new_generator, seed_after, torch_seed
from riff.spectrogram.sheet import contact_sheet

CONTROL, EDIT, SAMPLE = "cnet_riff_training", "train_instruct_pix2pix", "sample_riff_cnet"
INFER, INPAINT = "inference_instruct_pix2pix", "inpaint_song"
NEEDED = {SAMPLE: ["--audio", "a.wav"], INFER: ["--audio", "a.wav"], INPAINT: ["--audio", "a.wav"]}


def parse(script: str, *flags: str) -> cli.argparse.Namespace:
    args: cli.argparse.Namespace = importlib.import_module(script).parse_args([*NEEDED.get(script, []), *flags])
    return args


@pytest.mark.parametrize(
    ("script", "flag", "value", "range"),
    [
        *((script, "--seed", "-1", "0 to 18446744073709551615") for script in (CONTROL, EDIT, SAMPLE, INFER, INPAINT)),
        *((script, "--seed", str(2**64), "0 to 18446744073709551615") for script in (CONTROL, EDIT, SAMPLE, INFER, INPAINT)),
        *((script, "--val_share", "1.5", "0 to below 1") for script in (CONTROL, EDIT)),
        *((script, "--snr_gamma", "-5", "0 or more") for script in (CONTROL, EDIT)),
        *((script, "--ema_decay", "2", "0 to below 1") for script in (CONTROL, EDIT)),
        *(
            (script, "--learning_rate", value, "above 0")
            for script in (CONTROL, EDIT)
            for value in ("0", "-1", "nan", "inf", "-1e-5")
        ),
        (CONTROL, "--batch_size", "0", "1 to 4096"),
        (CONTROL, "--num_workers", "-1", "0 to 1024"),
        (CONTROL, "--accumulate_gradient_batches", "0", "1 or more"),
        (CONTROL, "--max_steps", "-1", "1 or more"),
        (CONTROL, "--prompt_dropout", "2", "0 to 1"),
        (CONTROL, "--warmup_steps", "-5", "0 or more"),
        (CONTROL, "--logger_freq", "-1", "0 or more"),
        (EDIT, "--train_batch_size", "0", "1 to 4096"),
        (EDIT, "--dataloader_num_workers", "-1", "0 to 1024"),
        (EDIT, "--gradient_accumulation_steps", "0", "1 or more"),
        (EDIT, "--max_train_steps", "0", "1 or more"),
        (EDIT, "--lr_warmup_steps", "-5", "0 or more"),
        (EDIT, "--conditioning_dropout_prob", "2", "0 to 1"),
        (EDIT, "--adam_beta1", "1", "0 to below 1"),
        (SAMPLE, "--steps", "0", "1 to 1000"),
        (SAMPLE, "--scale", "nan", "0 to 100"),
        (SAMPLE, "--start", "nan", "such as 32, 0:32"),
        (INFER, "--start", "0:x", "such as 32, 0:32"),
        (INFER, "--best_of", "0", "1 or more"),
        (INPAINT, "--fade", "nan", "0 or more"),
        (INPAINT, "--start", "0:00:00:00:01", "such as 32, 0:32"),
        (CONTROL, "--max_train_time", "12 hours", "such as 32, 0:32"),
        (INPAINT, "--overlap", "1", "0 to below 1"),
        (INPAINT, "--gain", "nan", "or auto"),
        (INPAINT, "--griffin_lim_iterations", "9" * 5000, "0 or more"),
    ],
)
def test_a_number_out_of_range_is_refused_in_one_line(
    script: str, flag: str, value: str, range: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(script, flag, value)
    output = capsys.readouterr().err
    assert ended.value.code == cli.EXIT_FAILURE
    assert output.startswith("error: argument ")
    assert flag in output
    assert range in output
    assert output.count("\n") == 1
    assert len(output) < 400


@pytest.mark.parametrize(
    ("script", "line", "words"),
    [
        (CONTROL, "max_steps: 0", "max_steps: '0' is not a whole number, 1 or more"),
        (CONTROL, "learning_rate: .nan", "learning_rate: 'nan' is not a number, above 0"),
        (CONTROL, "batch_size: [4]", "batch_size: '[4]' is no value of this flag"),
        (EDIT, "seed: -1", "seed: '-1' is not a whole number, 0 to 18446744073709551615"),
        (EDIT, "val_share: 1.5", "val_share: '1.5' is not a number, 0 to below 1"),
        (EDIT, "use_ema: 2", "use_ema: '2' is neither true nor false"),
        (EDIT, "max_train_steps: null", None),
        (CONTROL, "learning_rate: 1e-4", None),
    ],
)
def test_a_file_of_flags_passes_the_same_check(script: str, line: str, words: str | None, tmp_path: Path) -> None:
    config = tmp_path / "flags.yaml"
    config.write_text(line + "\n")
    if words is None:
        parse(script, "--config", str(config))
        return
    with pytest.raises(OptionError) as refused:
        parse(script, "--config", str(config))
    assert str(refused.value).startswith(f"--config {config}: {words}")


def test_help_says_the_range(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(CONTROL, "--help")
    output = " ".join(capsys.readouterr().out.split())
    assert "--batch_size N pairs in a batch of one process; 1 to 4096 (default: 4); also as --train_batch_size" in output
    assert "--val_share X" in output


def test_every_number_has_a_range() -> None:
    """No flag of any script is a bare int or float."""
    bare = []
    for folder in (".", "riff/app", "riff/cli", "demo", "tools", "benchmarks"):
        for path in sorted((ROOT / folder).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.keyword) and node.arg == "type" and ast.unparse(node.value) in ("int", "float"):
                    bare.append(f"{path.relative_to(ROOT)}:{node.value.lineno}")
    assert not bare


@pytest.mark.parametrize("script", [CONTROL, EDIT])
def test_zero_is_never(
    script: str, pairs: Path, edit_pairs: Path, tiny_control: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {
        CONTROL: f"--train_data_dir {pairs} --model {tiny_control} --output final --batch_size 2 --max_steps 2 --num_workers 0 "
        "--logger_freq 0 --checkpoint_freq 0",
        EDIT: f"--train_data_dir {edit_pairs} --pretrained_model_name_or_path {tiny_base} --output_dir final --train_batch_size 2 "
        "--max_train_steps 2 --validation_steps 0 --checkpointing_steps 0",
    }
    importlib.import_module(script).main([*flags[script].split(), "--val_freq", "0", "--device", "cpu"])
    assert not list(tmp_path.glob("image_log/**/*.png"))
    assert [path.name for path in tmp_path.glob("lightning_logs/**/*.ckpt")] == ["step=000002.ckpt"]  # the one at the end


def test_a_path_that_no_disk_takes_is_refused_before_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(SAMPLE, "--output", f"out/{'x' * 300}")
    assert re.match("error: argument --output/.*: .out/xxx.*is too long", capsys.readouterr().err)
    with pytest.raises(OSError, match="too long") as refused:
        Path("x" * 300).stat()
    assert cli.report(refused.value) == cli.EXIT_FAILURE
    assert capsys.readouterr().err == f"error: '{'x' * 40}...' is too long for the name of a file\n"


@given(st.integers(0, TORCH_SEEDS - 1))
def test_small_seeds_give_the_numbers_of_pytorch(seed: int) -> None:
    assert torch_seed(seed) == seed
    assert torch.equal(torch.rand(4, generator=new_generator(seed)), torch.rand(4, generator=torch.Generator().manual_seed(seed)))


@given(st.integers(0, TORCH_SEEDS - 1), st.integers(1, TORCH_SEEDS - 1), st.integers(0, TORCH_SEEDS - 1))
def test_the_upper_half_of_a_seed_counts(lower: int, upper: int, other: int) -> None:
    assert torch_seed(upper * TORCH_SEEDS + lower) != torch_seed(lower)  # 2**40 is not 0
    assert (torch_seed(upper * TORCH_SEEDS + lower) == torch_seed(other * TORCH_SEEDS + lower)) == (upper == other)
    assert 0 <= torch_seed(upper * TORCH_SEEDS + lower) < TORCH_SEEDS


def test_the_last_seed_is_followed_by_the_first() -> None:
    assert seed_after(NUM_SEEDS - 1, 1) == 0
    assert seed_after(7, 3) == 10
    for seed in (-1, NUM_SEEDS):
        with pytest.raises(OptionError, match="give one from 0 to"):
            new_generator(seed)


def test_a_seed_without_a_value_is_chosen_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    for script in (SAMPLE, INFER, INPAINT):
        seeds = [parse(script, "--seed", "--device", "cpu").seed for _ in range(2)]
        assert seeds[0] != seeds[1]
        assert f"--seed {seeds[0]}: chosen at random" in capsys.readouterr().err
        assert parse(script).seed == 0


@pytest.mark.parametrize(
    "command",
    [
        'make_cnet_dataset.py --audio_dir "songs" --train_data_dir "pairs" --prompt_file "prompts.json"',
        "cnet_riff_add_control.py",
        'cnet_riff_training.py --train_data_dir "train-data/" --max_steps 100000',
        'cnet_riff_training.py --train_data_dir "train-data/" --max_steps 100000 --save_gpu_memory True',
        'cnet_riff_training.py --train_data_dir "train-data/" --max_steps 100000 --batch_size 1 --save_gpu_memory True '
        "--only_mid_control True",
        "upload_checkpoints.py 3 zachary-shah/riffusion-cnet-v2",
        "inference_instruct_pix2pix.py --seed --max_samples 10 --num_inference_steps 100",
        'preprocess_musdb.py --root_data_dir "/data/musdb18/train" --output_dir "/data/musdb18-pix2pix/train" --pitch_augment',
        'upload_musdb.py --data_root "/data/musdb18-pix2pix/train"',
        'train_instruct_pix2pix.py --output_dir "/data/pix2pix-riff-ckpt" --resume_from_checkpoint "latest" --seed 0 '
        "--max_train_steps 300000 --resolution 512 --train_batch_size 4 --dataloader_num_workers 16 --checkpointing_steps 30000 "
        "--checkpoints_total_limit 3 --conditioning_dropout_prob=0.05",
    ],
)
def test_the_predecessors_commands_are_taken_word_for_word(command: str) -> None:
    script, *flags = command.replace('"', "").split()
    importlib.import_module(script.removesuffix(".py")).parse_args(flags)


def test_the_requirements_at_the_root_name_torch_first_and_as_locked() -> None:
    first, *more = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert first in (ROOT / "envs" / "requirements-lock.txt").read_text().splitlines()
    assert first.startswith("torch==")
    assert more == ["-r envs/requirements-lock.txt"]


def test_without_a_repository_the_data_set_is_written_beside_the_pairs(edit_pairs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.symlink_to(edit_pairs)
    beside = Path(f"{edit_pairs}-parquet")
    done = run_script("upload_musdb.py", "--data_root", folder)
    assert f"written to {beside}: " in done.stdout
    assert list(beside.glob("data/train-*.parquet"))
    assert "nothing new for" in run_script("upload_musdb.py", "--data_root", "pairs", cwd=tmp_path).stdout


def test_without_an_input_the_songs_of_the_folder_are_edited(songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw-audio").symlink_to(songs)
    monkeypatch.chdir(tmp_path)
    script = importlib.import_module(INFER)
    args = script.parse_args(["--max_samples", "3", "--separator", "none"])
    clips, failures = script.load_clips(args, "vocals", "cpu")
    assert len({clip.before.pixels.tobytes() for clip in clips}) == 3
    assert not failures


@pytest.mark.slow
def test_the_predecessors_first_command_runs(tmp_path: Path) -> None:
    for folder in ("models", "raw-audio"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    command = ("--seed", "--max_samples", 10, "--num_inference_steps", 100, "--separator", "repet")
    done = run_script(f"{INFER}.py", *command, cwd=tmp_path, timeout=3600)
    assert "chosen at random" in done.stderr
    assert " of 10 edits performed" in done.stdout


def test_training_without_the_attached_model_names_the_script_that_attaches_it(tmp_path: Path) -> None:
    done = run_script("cnet_riff_training.py", "--device", "cpu", cwd=tmp_path, code=2)
    assert "models/control_riffusion_ini: no such folder or file; make it with cnet_riff_add_control.py" in last_error(done)


@pytest.mark.parametrize("file", ["pairs-000000.tar", "data/train-00000-of-00001.parquet"])
def test_shards_are_not_told_to_be_made(file: str, tmp_path: Path) -> None:
    shard = tmp_path / "shards" / file
    shard.parent.mkdir(parents=True)
    shard.touch()
    for place in (tmp_path / "shards", shard):
        output = last_error(run_script("tools/inspect_dataset.py", place, code=2))
        assert "holds shards, not a folder of pairs" in output


def test_a_caption_of_any_length_is_cut_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    contact_sheet([np.zeros((8, 64), np.uint8)], ["a long prompt " * 20_000], tmp_path / "sheet.png")
    assert time.monotonic() - begun < 2
