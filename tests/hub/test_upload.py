"""upload_checkpoints.py as a process, against a local stand-in for the hub: uploaded files, resumption and errors."""

from __future__ import annotations

import errno
import io
import os
import pty
import re
import socket
import termios
from functools import partial
from pathlib import Path

import pytest
import torch
from hub_stand_in import DROPPED, TOKEN, Fault, Hub, Repository, assert_one_line, run_against_hub
from huggingface_hub import ModelCard

from riff.errors import ModelError, RiffError
from riff.files import is_own_card
from riff.hub.client import translate_errors
from riff.hub.files import newest_checkpoint

upload_run = partial(run_against_hub, "upload_checkpoints.py")
REPO = "me/riff-cnet-test"
RUN = "lightning_logs/version_3"
HELD_OUT = '{"step": 0, "loss": 1.5}\n{"step": 200, "loss": 0.5}\n'


def checkpoint(content: str) -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": {}, "content": content}, file)
    return file.getvalue()


MORE_STEPS = checkpoint("more steps")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A working folder after training, with an earlier version, temporary files and older checkpoints."""
    contents = {
        "image_log/version_3/step=000200/sample_0-sheet.png": b"\x89PNG sample",
        "image_log/version_3/step=000200/sample_0.wav": b"RIFF sample",
        "image_log/version_3/.sample_1.tmp.17.png": b"half",
        "image_log/version_2/old.png": b"old",
        "lightning_logs/version_2/checkpoints/step=000900.ckpt": checkpoint("another run"),
        f"{RUN}/checkpoints/step=000200.ckpt": checkpoint("newest" * 1000),
        f"{RUN}/checkpoints/step=000050.ckpt": checkpoint("older, written later"),
        f"{RUN}/checkpoints/.step=000300.tmp.17.ckpt": b"half",
        f"{RUN}/config.yaml": b"max_steps: 200\ntrain_data_dir: train-data\nbase: mini\n",
        f"{RUN}/validation.jsonl": HELD_OUT.encode(),
        "train-data/manifest.json": b'{"arguments": {"pitch_augment": true, "audio_dir": "/home/me"}, "pairs": 700}',
        "models/riff-cnet-final/model_index.json": b'{"_class_name": "StableDiffusionControlNetPipeline"}',
        "models/riff-cnet-final/controlnet/model.safetensors": b"weights",
    }
    for path, content in contents.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    return tmp_path


MODEL_FILES = {  # path in the repository: path on disk
    "controlnet/model.safetensors": "models/riff-cnet-final/controlnet/model.safetensors",
    "model_index.json": "models/riff-cnet-final/model_index.json",
}
LOG_FILES = {
    path: path
    for path in (
        "image_log/version_3/step=000200/sample_0-sheet.png",
        "image_log/version_3/step=000200/sample_0.wav",
        f"{RUN}/validation.jsonl",
    )
}
CHECKPOINT_FILES = {path: path for path in (f"{RUN}/checkpoints/step=000200.ckpt", f"{RUN}/config.yaml")}
EXPECTED = MODEL_FILES | LOG_FILES | CHECKPOINT_FILES
LARGE_FILES = 4


def uploaded(hub: Hub, run_folder: Path, *flags: str) -> str:
    """Run the script. Returns its output."""
    done = upload_run(run_folder, hub.url, "3", REPO, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_exactly_the_run_arrives_in_one_commit(hub: Hub, run_folder: Path) -> None:
    output = uploaded(hub, run_folder)
    repository = hub.repositories[REPO]
    card = repository.files.pop("README.md").decode()
    assert repository.files == {path: (run_folder / local).read_bytes() for path, local in EXPECTED.items()}
    assert len(repository.commits) == 2
    assert not repository.private
    assert f"uploaded to {hub.url}/{REPO}: 8 files, " in output
    assert "model: 2 new or changed (59 bytes), 0 there already" in output
    assert "checkpoint: 2 new or changed" in output
    assert "card: written" in output
    assert f"load it with: python sample_riff_cnet.py --model {REPO}" in output
    assert "pairs: 700" in card
    assert "/home/me" not in card
    assert ModelCard(card).data.to_dict()["license"] == "mit"


@pytest.mark.parametrize(
    ("what", "files"),
    [
        (("model",), MODEL_FILES),
        (("log",), LOG_FILES),
        (("checkpoint", "model"), MODEL_FILES | CHECKPOINT_FILES),
        (("log", "all"), EXPECTED),
    ],
)
def test_parts_can_be_chosen_and_the_card_shows_only_uploaded_files(
    hub: Hub, run_folder: Path, what: tuple[str, ...], files: dict[str, str]
) -> None:
    uploaded(hub, run_folder, "--what", *what)
    there = hub.repositories[REPO].files
    card = there.pop("README.md").decode()
    assert set(there) == set(files)
    assert ("sample_0-sheet.png)" in card) == ("log" in what)
    assert ("from_pretrained" in card) == (what != ("log",))
    assert "| 1.5 | 0.5 | 0.5 |" in card  # the figures are shown with every part


def test_parts_uploaded_one_after_another_share_one_card(hub: Hub, run_folder: Path) -> None:
    uploaded(hub, run_folder, "--what", "log")
    assert "card: refreshed" in uploaded(hub, run_folder, "--what", "model")
    card = hub.repositories[REPO].files["README.md"].decode()
    assert "sample_0-sheet.png)" in card
    assert "from_pretrained" in card


def test_second_call_sends_only_what_changed(hub: Hub, run_folder: Path) -> None:
    uploaded(hub, run_folder)
    hub.requests.clear()
    again = upload_run(run_folder, hub.url, "3", REPO)
    assert again.stderr == ""
    assert "nothing new" in again.stdout
    assert "card: as it was" in again.stdout
    assert not hub.uploads()
    assert len(hub.repositories[REPO].commits) == 2

    (run_folder / RUN / "checkpoints/step=000400.ckpt").write_bytes(MORE_STEPS)
    output = uploaded(hub, run_folder)
    assert f"checkpoint: 1 new or changed ({len(MORE_STEPS):,} bytes), 1 there already" in output
    assert len(hub.uploads()) == 1
    assert hub.repositories[REPO].files[f"{RUN}/checkpoints/step=000400.ckpt"] == MORE_STEPS


@pytest.mark.parametrize("failure", [500, 401, DROPPED])
def test_a_commit_that_fails_ends_in_one_line_and_the_same_command_sends_nothing_twice(
    hub: Hub, run_folder: Path, failure: int | str
) -> None:
    hub.faults = [Fault("/commit/", failure)]
    expected: dict[int | str, tuple[str, ...]] = {
        500: (REPO, "500", "told to fail", "again"),
        401: ("401", "make a new one", "continues"),
        DROPPED: (hub.url, "continues"),
    }
    assert_one_line(upload_run(run_folder, hub.url, "3", REPO), *expected[failure])
    assert not hub.repositories[REPO].files
    assert len(hub.uploads()) == LARGE_FILES
    hub.faults.clear()
    hub.requests.clear()
    assert "8 files, " in uploaded(hub, run_folder)
    assert not hub.uploads()
    assert len(hub.repositories[REPO].files) == 8


@pytest.mark.parametrize("failure", [503, DROPPED])
def test_a_connection_that_breaks_between_large_files_is_resumed(hub: Hub, run_folder: Path, failure: int | str) -> None:
    hub.faults = [Fault("PUT /large/", failure, after=2)]
    failed = upload_run(run_folder, hub.url, "3", REPO)
    assert_one_line(failed, "503" if failure == 503 else hub.url)
    assert len(hub.large) == 2
    assert not hub.repositories[REPO].files
    hub.faults.clear()
    hub.requests.clear()
    uploaded(hub, run_folder)
    assert len(hub.uploads()) == LARGE_FILES - 2
    assert len(hub.repositories[REPO].files) == 8


@pytest.mark.parametrize("failure", [502, DROPPED])
def test_passing_failures_are_retried(hub: Hub, run_folder: Path, failure: int | str) -> None:
    requests = ("/api/repos/create", "PUT /large/", "/preupload/")
    hub.faults = [Fault(part, failure, times=1) for part in requests]
    uploaded(hub, run_folder)
    assert set(hub.repositories[REPO].files) == {*EXPECTED, "README.md"}
    assert all(fault.times == 0 for fault in hub.faults)
    requests = ("GET ", "validate-yaml", "objects/batch")
    hub.faults = [Fault(part, failure, times=1) for part in requests]
    (run_folder / RUN / "checkpoints/step=000400.ckpt").write_bytes(MORE_STEPS)
    (run_folder / RUN / "validation.jsonl").write_text(HELD_OUT.replace("0.5", "0.4"))  # a new card
    uploaded(hub, run_folder)
    assert all(fault.times == 0 for fault in hub.faults)
    assert len(hub.repositories[REPO].commits) == 3


def test_a_commit_whose_answer_was_lost_is_not_made_twice(hub: Hub, run_folder: Path) -> None:
    hub.faults = [Fault("the answer to a commit", DROPPED, times=1)]
    assert "uploaded to" in uploaded(hub, run_folder)
    assert len(hub.repositories[REPO].commits) == 2
    assert len(hub.uploads()) == LARGE_FILES


def test_a_card_is_refreshed_unless_somebody_edited_it(hub: Hub, run_folder: Path) -> None:
    uploaded(hub, run_folder)
    files = hub.repositories[REPO].files
    first = files["README.md"].decode()
    assert is_own_card(first)
    (run_folder / RUN / "validation.jsonl").write_text(HELD_OUT + '{"step": 400, "loss": 0.25}\n')
    assert "card: refreshed" in uploaded(hub, run_folder)
    assert "last validation, step 400" in files["README.md"].decode()
    files["README.md"] = (edited := files["README.md"].replace(b"## Limits", b"## Thanks\n\nTo all.\n\n## Limits"))
    (run_folder / RUN / "validation.jsonl").write_text(HELD_OUT)
    assert "edited, so left as it is; delete it there" in uploaded(hub, run_folder)
    assert files["README.md"] == edited


def test_a_card_in_the_model_folder_is_uploaded_unchanged(hub: Hub, run_folder: Path) -> None:
    (run_folder / "models/riff-cnet-final/README.md").write_text("My own words.\n")
    uploaded(hub, run_folder)
    assert hub.repositories[REPO].files["README.md"] == b"My own words.\n"
    hub.repositories["me/other"] = Repository(private=False, files={"README.md": b"theirs"})
    assert upload_run(run_folder, hub.url, "3", "me/other").returncode == 0
    assert hub.repositories["me/other"].files["README.md"] == b"theirs"


def test_private_and_public(hub: Hub, run_folder: Path) -> None:
    assert "(private)" in uploaded(hub, run_folder, "--private")
    assert hub.repositories[REPO].private
    assert "(private)" in uploaded(hub, run_folder)  # the visibility stays
    assert_one_line(upload_run(run_folder, hub.url, "3", REPO, "--no-private"), REPO, "must be public", "is private")
    hub.repositories["me/public"] = Repository(private=False)
    assert_one_line(upload_run(run_folder, hub.url, "3", "me/public", "--private"), "me/public", "must be private")
    assert not hub.repositories["me/public"].files


def test_a_branch_is_created_and_reused(hub: Hub, run_folder: Path) -> None:
    output = uploaded(hub, run_folder, "--what", "model", "--revision", "steps/200")
    repository = hub.repositories[REPO]
    assert f"{hub.url}/{REPO}/tree/steps/200" in output
    assert f"hf download {REPO} --revision steps/200" in output
    assert not repository.files
    assert set(repository.branches["steps/200"]) == {*MODEL_FILES, "README.md"}
    assert 'revision="steps/200"' in repository.branches["steps/200"]["README.md"].decode()
    assert "log: 3 new or changed" in uploaded(hub, run_folder, "--revision", "steps/200")
    assert not repository.files
    assert set(repository.branches["steps/200"]) == {*EXPECTED, "README.md"}


def test_without_a_final_pipeline_log_and_checkpoint_are_uploaded(hub: Hub, run_folder: Path) -> None:
    (run_folder / "models/riff-cnet-final").rename(run_folder / "models/elsewhere")
    assert "--model" in uploaded(hub, run_folder)
    assert set(hub.repositories[REPO].files) == {*LOG_FILES, *CHECKPOINT_FILES, "README.md"}
    assert_one_line(upload_run(run_folder, hub.url, "3", REPO, "--model", "models/none"), "models/none", "--model")


def test_a_pipeline_of_another_version_is_refused(hub: Hub, run_folder: Path) -> None:
    model = run_folder / "models/riff-cnet-final"
    (model / "riff.json").write_text('{"version": 4}')
    assert_one_line(upload_run(run_folder, hub.url, "3", REPO), "models/riff-cnet-final", "version 4", "--model")
    assert not hub.requests
    uploaded(hub, run_folder, "--what", "log")  # the model is not selected
    (model / "riff.json").write_text('{"version": 3}')
    uploaded(hub, run_folder)


def test_a_run_without_checkpoints(hub: Hub, run_folder: Path) -> None:
    for checkpoint in (run_folder / RUN / "checkpoints").iterdir():
        checkpoint.unlink()
    assert_one_line(upload_run(run_folder, hub.url, "3", REPO), "no checkpoint", "--lightning_logs")
    uploaded(hub, run_folder, "--what", "log", "model")


def test_dry_run_lists_all_files_without_requests(hub: Hub, run_folder: Path) -> None:
    result = upload_run(run_folder, hub.url, "3", REPO, "--dry_run", token=None)
    assert result.returncode == 0, result.stderr
    assert not hub.requests
    *listed, last = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    sizes = {path.split("  ")[0]: int(size.replace(",", "")) for size, path in listed}
    card_size = sizes.pop("README.md")
    assert sizes == {path: (run_folder / local).stat().st_size for path, local in EXPECTED.items()}
    assert f"8 files, {card_size + sum(sizes.values()):,} bytes" in " ".join(last)


def test_tokens(hub: Hub, run_folder: Path) -> None:
    assert_one_line(upload_run(run_folder, hub.url, "3", REPO, token=None), "HF_TOKEN", "hf auth login")
    assert not hub.requests
    assert_one_line(upload_run(run_folder, hub.url, "3", REPO, token="hf_wrong"), hub.url, "401", "HF_TOKEN")
    assert_one_line(upload_run(run_folder, hub.url, "3", "someone/else"), "someone/else", "403", "write access")
    hub.repositories["someone/public"] = Repository(private=False)
    assert_one_line(upload_run(run_folder, hub.url, "3", "someone/public"), "someone/public", "403")
    assert upload_run(run_folder, hub.url, "3", REPO, "--token", TOKEN, token=None).returncode == 0


def test_errors_before_the_first_request(hub: Hub, run_folder: Path) -> None:
    assert_one_line(upload_run(run_folder, hub.url, "7", REPO), "version 7", "2, 3")
    assert_one_line(upload_run(run_folder, hub.url, "3", "not a/name/at all"), "not a/name/at all", "USER/NAME")
    assert not hub.requests


def test_a_hub_that_cannot_be_reached(run_folder: Path) -> None:
    with socket.socket() as bound:  # a port without a listener
        bound.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{bound.getsockname()[1]}"
        assert_one_line(upload_run(run_folder, endpoint, "3", REPO), endpoint, "cannot be reached")
    assert_one_line(upload_run(run_folder, endpoint, "3", REPO, HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE")


def test_an_upload_needs_no_cache_folder(hub: Hub, run_folder: Path) -> None:
    hub.repositories[REPO] = Repository(private=False, files={"README.md": b"theirs"})  # this card is downloaded
    done = upload_run(run_folder, hub.url, "3", REPO, HF_HOME="/dev/null/full")
    assert done.returncode == 0, done.stderr
    assert re.search(r"card: edited, so left as it is", done.stdout)


@pytest.mark.parametrize(("number", "way_out"), [(errno.ENOSPC, "make room, or set HF_HOME"), (errno.EIO, "run the same command")])
def test_a_disk_that_fails_is_named_in_one_line(number: int, way_out: str) -> None:
    with pytest.raises(RiffError, match=f"/full.*{way_out}"), translate_errors(REPO, "http://hub"):
        raise OSError(number, os.strerror(number), "/full")


def test_a_progress_bar_is_shown_on_a_terminal(hub: Hub, run_folder: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 80))  # tqdm shows no bar on a terminal without a size
    os.set_blocking(ours, False)
    done = upload_run(run_folder, hub.url, "3", REPO, stderr=theirs)
    assert done.returncode == 0
    assert "Upload 4 LFS files" in os.read(ours, 10_000).decode()
    os.close(theirs)
    os.close(ours)


def test_newest_checkpoint(tmp_path: Path) -> None:
    def write(name: str, age: float) -> Path:
        path = tmp_path / name
        path.write_bytes(MORE_STEPS)
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
