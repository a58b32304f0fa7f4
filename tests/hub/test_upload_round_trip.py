"""A trained model is uploaded, loaded by its repository id, and equal to the local one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, run_script
from hub_card_rules import broken_rules
from hub_stand_in import Hub, assert_one_line, run_against_hub
from huggingface_hub import ModelCard
from PIL import Image

COMPARE = """
import sys, torch
sys.path.insert(0, {root!r})
from diffusers import StableDiffusionControlNetPipeline, StableDiffusionInstructPix2PixPipeline
from riff.models.loading import load_control_pipeline
from riff.models.loading import load_edit_pipeline
from riff.models.model_types import model_type_of
from riff.models.sources import read_origin

def check(local, remote):
    for name, part in local.components.items():
        if isinstance(part, torch.nn.Module):
            ours, theirs = part.state_dict(), remote.components[name].state_dict()
            assert ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items()), name
    assert local.tokenizer.get_vocab() == remote.tokenizer.get_vocab()
    print(sum(parameter.numel() for parameter in local.unet.parameters()))

none = {{'safety_checker': None}}
pipelines = {{"final": StableDiffusionControlNetPipeline, "edit": StableDiffusionInstructPix2PixPipeline}}
for folder, name in (("final", "me/control"), ("edit", "me/edit")):
    pipeline = pipelines[folder]
    check(pipeline.from_pretrained(folder, **none), pipeline.from_pretrained(name, **none))
    print(model_type_of(name).name == model_type_of(folder).name, read_origin(name) == read_origin(folder))
check(load_control_pipeline("part"), load_control_pipeline("me/part"))
print(model_type_of("me/part").name == model_type_of("part").name, read_origin("me/part") == read_origin("part"))
"""


@pytest.fixture(scope="module")
def work(tiny_base: Path, tiny_control: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder after two steps of training, with an edit model and a ControlNet alone beside the pipeline."""
    from riff.models.edit import attach_edit
    from riff.models.folders import save_pipeline
    from riff.models.loading import load_base, load_control_pipeline

    work = tmp_path_factory.mktemp("work")
    run_script(
        "cnet_riff_training.py",
        *("--model", tiny_control, "--train_data_dir", pairs, "--max_steps", 2, "--batch_size", 2, "--sample_steps", 1),
        *("--val_pictures", 2, "--val_share", 0.25, "--device", "cpu", "--output", "final"),
        cwd=work,
    )
    origin = {"base": str(tiny_base)}
    save_pipeline(load_control_pipeline(work / "final"), work / "part", origin, True, half=True)
    save_pipeline(attach_edit(load_base(str(tiny_base))), work / "edit", origin | {"target": "vocals"})
    (work / "edits" / "version_0").mkdir(parents=True)
    (work / "edits" / "version_0" / "config.yaml").write_text("conditioning_dropout_prob: null\n")
    return work


@pytest.fixture(scope="module")
def filled() -> Hub:
    """A stand-in for the hub, shared by the module."""
    return Hub()


@pytest.fixture(scope="module")
def card(work: Path, filled: Hub) -> str:
    """The card of the whole run, after all uploads."""
    done = run_against_hub("upload_checkpoints.py", work, filled.url, "0", "me/control")
    assert done.returncode == 0, done.stderr
    for name, logs in (("part", "lightning_logs"), ("edit", "edits")):
        flags = ("--model", name, "--what", "model", "--lightning_logs", logs)
        done = run_against_hub("upload_checkpoints.py", work, filled.url, "0", f"me/{name}", *flags)
        assert done.returncode == 0, done.stderr
    return filled.repositories["me/control"].files["README.md"].decode()


def test_uploaded_files_are_the_local_files(work: Path, filled: Hub, card: str) -> None:
    files = filled.repositories["me/control"].files
    final = {path.relative_to(work / "final").as_posix(): path for path in (work / "final").rglob("*") if path.is_file()}
    assert {path: files.get(path) for path in final} == {path: file.read_bytes() for path, file in final.items()}
    run = "lightning_logs/version_0/"
    assert {f"{run}{name}" for name in ("checkpoints/step=000002.ckpt", "config.yaml", "losses.jsonl", "validation.jsonl")} <= set(
        files
    )
    assert [path for path in files if path.startswith("image_log/version_0/step=000002/")]


def test_a_model_of_another_type_than_the_run_is_refused(work: Path, filled: Hub) -> None:
    done = run_against_hub("upload_checkpoints.py", work, filled.url, "0", "me/x", "--model", "edit")
    assert_one_line(done, "--model edit: is an edit model, and a ControlNet is needed here")


def test_the_card_shows_the_figures_of_the_run(work: Path, card: str) -> None:
    metadata: Any = ModelCard(card).data
    assert broken_rules(card, "model") == []
    assert [result.metric_type for result in metadata.eval_results or []] == ["mse", "f1"]
    assert "last validation, step 2" in card
    assert "- pairs: 8\n- songs: 4\n" in card
    assert "-sheet.png)" in card
    assert "<audio controls" in card
    assert str(work) not in card


def test_downloaded_models_are_the_local_models(work: Path, filled: Hub, card: str) -> None:
    (work / "compare.py").write_text(COMPARE.format(root=str(ROOT)))
    done = run_against_hub(str(work / "compare.py"), work, filled.url)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.split("\n")
    assert [line for line in lines if line.startswith(("True", "False"))] == ["True True"] * 3
    assert not [line for line in filled.requests if "GET" in line and line.endswith(".ckpt")]


@pytest.mark.slow
def test_samples_by_repository_id_are_those_by_folder(work: Path, filled: Hub, card: str) -> None:
    Image.fromarray(np.tile(np.array([0, 255], np.uint8), (512, 256))).save(work / "edges.png")
    sampling = ("--control", "edges.png", "--num_samples", "1", "--steps", "2", "--device", "cpu")
    done = run_against_hub("sample_riff_cnet.py", work, filled.url, "--model", "me/control", *sampling, "--output", "by-name")
    assert done.returncode == 0, done.stderr
    run_script("sample_riff_cnet.py", "--model", work / "final", *sampling, "--output", "by-folder", cwd=work)
    assert (work / "by-name/sample-0.png").read_bytes() == (work / "by-folder/sample-0.png").read_bytes()


def test_a_secret_is_left_out_and_the_rest_is_uploaded(work: Path, filled: Hub) -> None:
    (work / "part" / "notes.txt").write_text("export HF_TOKEN=hf_" + "a1B2c3" * 6)
    flags = ("--model", "part", "--what", "model")
    done = run_against_hub("upload_checkpoints.py", work, filled.url, "0", "me/secret", *flags)
    (work / "part" / "notes.txt").unlink()
    assert done.returncode == 2
    assert "uploaded to" in done.stdout
    assert done.stderr.startswith("error: 1 file looks like a secret and was left out: notes.txt")
    assert "notes.txt" not in filled.repositories["me/secret"].files
    assert "config.json" in filled.repositories["me/secret"].files
    assert_one_line(run_against_hub("upload_checkpoints.py", work, filled.url, "0", "me/x", "--report", "final"), "--report final")
