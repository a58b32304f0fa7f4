"""The Hugging Face Space: its metadata, its requirements, and that the uploaded files run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, last_error, run_script
from huggingface_hub import SpaceCard
from huggingface_hub.utils import filter_repo_objects, validate_repo_id

from riff.app.command import parse_args

SPACE = ROOT / "space"
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")


def test_the_metadata_is_valid() -> None:
    card = SpaceCard.load(SPACE / "README.md")
    data = card.data.to_dict()
    assert set(data) <= {
        *("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file"),
        *("license", "short_description", "models", "tags"),
    }
    assert (data["sdk"], data["license"]) == ("gradio", "mit")
    assert {data["colorFrom"], data["colorTo"]} <= set(COLOURS)
    assert len(data["emoji"]) == 1
    assert ord(data["emoji"]) > 0x2000
    assert len(data["short_description"]) <= 60
    assert (ROOT / data["app_file"]).is_file()
    for model in data["models"]:
        validate_repo_id(model)
    locked = re.search(r"^gradio==(.+)$", (ROOT / "envs" / "requirements-dev-lock.txt").read_text(), re.MULTILINE)
    assert locked is not None
    assert data["sdk_version"] == locked[1]
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert tuple(map(int, data["python_version"].split("."))) >= tuple(map(int, needed.removeprefix(">=").split(".")))


def test_the_requirements_are_the_project_s() -> None:
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [line for line in lines if not line.startswith("#")] == project["dependencies"]
    assert project["optional-dependencies"]["app"] == ["gradio>=6.31,<7"]


def uploaded() -> list[str]:
    """The files that the card's two commands upload, by their paths in the Space."""
    commands = [shlex.split(line) for line in (SPACE / "README.md").read_text().splitlines() if line.startswith("hf upload")]
    assert [command[:3] for command in commands] == [["hf", "upload", "OWNER/riff-cnet"]] * 2
    assert [command[3] for command in commands] == [".", "space"]
    patterns = [pattern for flag, pattern in zip(commands[0], commands[0][1:], strict=False) if flag == "--include"]
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    return list(filter_repo_objects(listed.stdout.splitlines(), allow_patterns=patterns))


def test_the_uploaded_files_run_as_a_space(tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    files = uploaded()
    assert not any(file.startswith(("tests/", "demo/", "README")) for file in files)
    assert sum((ROOT / file).stat().st_size for file in files) < 100e6
    for file in files:
        (tmp_path / "home" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / "home" / file)
    shutil.copytree(SPACE, tmp_path / "home", dirs_exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    space = {"SPACE_ID": "me/riff-cnet", "SYSTEM": "spaces", "GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": port}
    environment = os.environ | space | {"TMPDIR": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    process_options: dict[str, Any] = {"cwd": tmp_path / "home", "env": environment}
    process = subprocess.Popen([sys.executable, "app.py"], **process_options, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert any("open http" in line for line in iter(process.stdout.readline, ""))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            page = answer.read().decode()
        assert "riff-pix2pix-mini" in page
        addresses = Path("/proc/net/tcp").read_text() if Path("/proc/net/tcp").exists() else f"00000000:{int(port):04X}"
        assert f"00000000:{int(port):04X}" in addresses  # reachable from outside its container
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    time.sleep(0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "models/nowhere"], "error: models/nowhere: no such folder"),
        (["--max_seconds", "2"], "6 or more"),
        (["--separator", "magic"], "invalid choice: 'magic'"),
    ],
)
def test_bad_flags_end_in_one_line(flags: list[str], message: str) -> None:
    pytest.importorskip("gradio")
    assert message in run_script("app.py", *flags, code=2).stderr


def test_a_public_address_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nothing listens
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    done = run_script("app.py", "--share", "--port", 0, cwd=tmp_path, code=2)
    assert done.stdout == ""
    assert last_error(done) == (
        "error: --share: Gradio's server for public addresses cannot be reached; check the network, or leave it out"
    )


@pytest.mark.slow
def test_a_public_address(tmp_path: Path) -> None:
    """With a stand-in for the program that keeps up the tunnel to Gradio's server."""
    pytest.importorskip("gradio")
    from gradio.tunneling import BINARY_FILENAME

    tunnel = tmp_path / "gradio" / "frpc" / BINARY_FILENAME
    tunnel.parent.mkdir(parents=True)
    tunnel.write_text("#!/bin/sh\necho start proxy success: http://abc.gradio.live\nexec sleep 60\n")
    tunnel.chmod(0o755)
    environment = os.environ | {"HF_HOME": str(tmp_path), "GRADIO_SHARE_SERVER_ADDRESS": "127.0.0.1:9", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "app.py"), "--share", "--port", "0"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open https://abc.gradio.live\n"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_by_default_only_this_machine_reaches_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    assert parse_args([]).host == "127.0.0.1"
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert parse_args([]).host == "0.0.0.0"
    assert parse_args(["--host", "127.0.0.1"]).host == "127.0.0.1"
