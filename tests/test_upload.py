from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path

import pytest
from hub_stand_in import TOKEN, Hub, Repository, assert_one_line, run_against_hub
from huggingface_hub import ModelCard

from riff.errors import ModelError
from riff.files import write_json
from riff.hub import model_card, newest_checkpoint, run_card

upload_run = partial(run_against_hub, "upload_checkpoints.py")
REPO = "me/riff-cnet-test"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A working folder as training leaves it, with a version before, half-written files, and older checkpoints."""
    contents = {
        "image_log/version_3/step=000200/sample_0.png": b"\x89PNG sample",
        "image_log/version_3/step=000200/sample_0.wav": b"RIFF sample",
        "image_log/version_3/.sample_1.tmp.17.png": b"half",
        "image_log/version_2/old.png": b"old",
        "lightning_logs/version_2/checkpoints/step=000900.ckpt": b"another run",
        "lightning_logs/version_3/checkpoints/step=000200.ckpt": b"newest" * 1000,
        "lightning_logs/version_3/checkpoints/step=000050.ckpt": b"older, written later",
        "lightning_logs/version_3/checkpoints/.step=000300.tmp.17.ckpt": b"half",
        "lightning_logs/version_3/config.yaml": b"max_steps: 200\ntrain_data_dir: train-data\nbase: mini\n",
        "train-data/manifest.json": b'{"arguments": {"pitch_augment": true, "audio_dir": "/home/me"}, "pairs": 700}',
        "models/riff-cnet-final/model_index.json": b'{"_class_name": "StableDiffusionControlNetPipeline"}',
        "models/riff-cnet-final/controlnet/model.safetensors": b"weights",
    }
    for path, content in contents.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    return tmp_path


EXPECTED = {  # path in the repository: path on disk
    "controlnet/model.safetensors": "models/riff-cnet-final/controlnet/model.safetensors",
    "image_log/version_3/step=000200/sample_0.png": "image_log/version_3/step=000200/sample_0.png",
    "image_log/version_3/step=000200/sample_0.wav": "image_log/version_3/step=000200/sample_0.wav",
    "lightning_logs/version_3/checkpoints/step=000200.ckpt": "lightning_logs/version_3/checkpoints/step=000200.ckpt",
    "lightning_logs/version_3/config.yaml": "lightning_logs/version_3/config.yaml",
    "model_index.json": "models/riff-cnet-final/model_index.json",
}


def test_exactly_the_run_arrives_in_one_commit(hub: Hub, run_folder: Path) -> None:
    result = upload_run(run_folder, hub.url, "3", REPO)
    assert result.returncode == 0, result.stderr
    repository = hub.repositories[REPO]
    card = repository.files.pop("README.md").decode()
    assert repository.files == {path: (run_folder / local).read_bytes() for path, local in EXPECTED.items()}
    assert len(repository.commits) == 2
    assert not repository.private
    assert f"uploaded to {hub.url}/{REPO}: 7 files" in result.stdout
    assert "pairs: 700" in card
    assert "pitch_augment: True" in card
    assert "/home/me" not in card
    assert ModelCard(card).data.to_dict()["license"] == "mit"


def test_second_call_sends_only_what_changed(hub: Hub, run_folder: Path) -> None:
    assert upload_run(run_folder, hub.url, "3", REPO).returncode == 0
    hub.requests.clear()
    again = upload_run(run_folder, hub.url, "3", REPO)
    assert again.returncode == 0, again.stderr
    assert "nothing new" in again.stdout
    assert not hub.uploads()
    assert len(hub.repositories[REPO].commits) == 2

    (run_folder / "lightning_logs/version_3/checkpoints/step=000400.ckpt").write_bytes(b"more steps")
    assert "uploaded to" in upload_run(run_folder, hub.url, "3", REPO).stdout
    assert len(hub.uploads()) == 1
    assert hub.repositories[REPO].files["lightning_logs/version_3/checkpoints/step=000400.ckpt"] == b"more steps"


def test_an_upload_that_was_cut_off_goes_on(hub: Hub, run_folder: Path) -> None:
    hub.fails_on = "/commit/"
    assert_one_line(upload_run(run_folder, hub.url, "3", REPO), REPO, "400", "told to fail", "again")
    assert not hub.repositories[REPO].files
    assert len(hub.uploads()) == 4
    hub.fails_on = ""
    hub.requests.clear()
    assert upload_run(run_folder, hub.url, "3", REPO).returncode == 0
    assert not hub.uploads()
    assert len(hub.repositories[REPO].files) == 7


def test_a_large_file_that_fails_ends_in_one_line(hub: Hub, run_folder: Path) -> None:
    hub.fails_on = "PUT /large/"
    result = upload_run(run_folder, hub.url, "3", REPO)
    assert_one_line(result, REPO, "400", "again")


def test_a_card_that_is_there_is_left_alone(hub: Hub, run_folder: Path) -> None:
    hub.repositories[REPO] = Repository(private=False, files={"README.md": b"mine"})
    assert upload_run(run_folder, hub.url, "3", REPO).returncode == 0
    assert hub.repositories[REPO].files["README.md"] == b"mine"


def test_private(hub: Hub, run_folder: Path) -> None:
    assert upload_run(run_folder, hub.url, "3", REPO, "--private").returncode == 0
    assert hub.repositories[REPO].private
    hub.repositories["me/public"] = Repository(private=False)
    assert_one_line(upload_run(run_folder, hub.url, "3", "me/public", "--private"), "me/public", "--private")
    assert not hub.repositories["me/public"].files


def test_without_a_final_pipeline_the_log_and_the_checkpoint_go(hub: Hub, run_folder: Path) -> None:
    (run_folder / "models/riff-cnet-final").rename(run_folder / "models/elsewhere")
    result = upload_run(run_folder, hub.url, "3", REPO)
    assert result.returncode == 0, result.stderr
    assert "models/riff-cnet-final" in result.stdout
    assert len(hub.repositories[REPO].files) == 5
    assert_one_line(upload_run(run_folder, hub.url, "3", REPO, "--model", "models/none"), "models/none", "--model")


def test_dry_run_lists_all_and_contacts_nobody(hub: Hub, run_folder: Path) -> None:
    result = upload_run(run_folder, hub.url, "3", REPO, "--dry_run", token=None)
    assert result.returncode == 0, result.stderr
    assert not hub.requests
    *listed, last = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    sizes = {path.split("  ")[0]: int(size.replace(",", "")) for size, path in listed}
    card_size = sizes.pop("README.md")
    assert sizes == {path: (run_folder / local).stat().st_size for path, local in EXPECTED.items()}
    assert f"7 files, {card_size + sum(sizes.values()):,} bytes" in " ".join(last)


def test_token_from_the_command_line(hub: Hub, run_folder: Path) -> None:
    assert upload_run(run_folder, hub.url, "3", REPO, "--token", TOKEN, token=None).returncode == 0


def test_token_errors(hub: Hub, run_folder: Path) -> None:
    assert_one_line(upload_run(run_folder, hub.url, "3", REPO, token=None), "HF_TOKEN", "hf auth login")
    assert not hub.requests
    assert_one_line(upload_run(run_folder, hub.url, "3", REPO, token="hf_wrong"), hub.url, "401", "HF_TOKEN")
    assert_one_line(upload_run(run_folder, hub.url, "3", "someone/else"), "someone/else", "403", "write access")
    hub.repositories["someone/public"] = Repository(private=False)
    assert_one_line(upload_run(run_folder, hub.url, "3", "someone/public"), "someone/public", "403")


def test_errors_before_the_hub_is_asked(hub: Hub, run_folder: Path) -> None:
    assert_one_line(upload_run(run_folder, hub.url, "7", REPO), "version 7", "2, 3")
    assert_one_line(upload_run(run_folder, hub.url, "3", "not a/name/at all"), "not a/name/at all", "USER/NAME")
    (run_folder / "lightning_logs/version_4/checkpoints").mkdir(parents=True)
    assert_one_line(upload_run(run_folder, hub.url, "4", REPO), "version_4/checkpoints", "--lightning_logs")
    (run_folder / "train-data/manifest.json").write_text('{"pairs": ')
    assert_one_line(upload_run(run_folder, hub.url, "3", REPO), "train-data/manifest.json")
    assert not hub.requests


def test_hub_out_of_reach(run_folder: Path) -> None:
    with socket.socket() as bound:  # a port that nobody listens on
        bound.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{bound.getsockname()[1]}"
        assert_one_line(upload_run(run_folder, endpoint, "3", REPO), endpoint, "cannot be reached")
    assert_one_line(upload_run(run_folder, endpoint, "3", REPO, HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE")


def test_newest_checkpoint(tmp_path: Path) -> None:
    def write(name: str, age: float) -> Path:
        path = tmp_path / name
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
        return path

    with pytest.raises(ModelError, match="no checkpoint"):
        newest_checkpoint(tmp_path / "none")
    write("first.ckpt", age=9)
    last = write("last.ckpt", age=1)
    assert newest_checkpoint(tmp_path) == last
    write("step=9.ckpt", age=2)
    highest = write("epoch=0-step=0010.ckpt", age=5)
    assert newest_checkpoint(tmp_path) == highest
    rewritten = write("epoch=0-step=0010-v1.ckpt", age=4)
    assert newest_checkpoint(tmp_path) == rewritten


@pytest.mark.parametrize(
    ("base", "base_model", "licence"),
    [
        ("riffusion/riffusion-model-v1", "riffusion/riffusion-model-v1", "creativeml-openrail-m"),
        ("mini", None, "mit"),
        ("models/riffusion-mini", None, "mit"),
        ("/home/me/secret/base.ckpt", None, "creativeml-openrail-m"),
        (None, None, "creativeml-openrail-m"),
    ],
)
def test_model_card_metadata(base: str | None, base_model: str | None, licence: str) -> None:
    card = ModelCard(model_card(REPO, base, {"learning_rate": 1e-5, "resume": "/home/me/x"}, {}))
    metadata = card.data.to_dict()
    assert metadata.get("base_model") == base_model
    assert metadata["license"] == licence
    assert {"diffusers", "controlnet", "riffusion"} <= set(metadata["tags"])
    assert "learning_rate: 1e-05" in card.text
    assert f"hf download {REPO}" in card.text
    assert "/home/me" not in str(card)
    bare = ModelCard(model_card(REPO, base, {}, {}, has_pipeline=False))
    assert "library_name" not in bare.data.to_dict()
    assert "hf download" not in bare.text


def test_model_card_names_the_base_that_the_model_was_made_from(run_folder: Path) -> None:
    run, model = run_folder / "lightning_logs/version_3", run_folder / "models/riff-cnet-final"
    write_json(model / "manifest.json", {"arguments": {"base": "riffusion/riffusion-model-v1"}})
    assert ModelCard(run_card(REPO, run, model)).data.to_dict()["base_model"] == "riffusion/riffusion-model-v1"
    assert ModelCard(run_card(REPO, run, model, "someone/riffusion")).data.to_dict()["base_model"] == "someone/riffusion"


def test_an_edit_run_goes_up_from_where_it_was_left_with_its_own_card(hub: Hub, run_folder: Path) -> None:
    run = run_folder / "lightning_logs/version_3"
    (run / "config.yaml").write_text("pretrained_model_name_or_path: mini\noutput_dir: models/edit\nsnr_gamma: 5.0\n")
    unet = run_folder / "models/edit"
    unet.mkdir()
    for name, content in {"config.json": "{}", "riff.json": '{"base": "mini"}'}.items():  # a UNet alone
        (unet / name).write_text(content)
    result = upload_run(run_folder, hub.url, "3", REPO)
    assert result.returncode == 0, result.stderr
    files = hub.repositories[REPO].files
    assert {"config.json", "riff.json"} <= set(files)
    card = ModelCard(files["README.md"].decode())
    assert {"instruct-pix2pix", "riff-cnet"} <= set(card.data.to_dict()["tags"])
    assert card.data.to_dict()["license"] == "mit"
    assert "inference_instruct_pix2pix.py --model_id models/" in card.text
    assert "snr_gamma: 5.0" in card.text
