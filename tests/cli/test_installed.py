"""What `python -m pip install .` leaves: the package, and a command for every script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the project is installed into, without its dependencies, and not in place."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("riff", "demo", "tools"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*ROOT.glob("*.py"), *(ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE"))):
        shutil.copy(path, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", str(target), str(source)], check=True, timeout=300)
    return target


def call(installed: Path, folder: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    program = [str(installed / "bin" / command), *arguments]
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_every_script_has_a_command() -> None:
    scripts = {path.stem for path in ROOT.glob("*.py")} - {"app"}  # too common a name for a module that is installed
    tools = {f"riff_tools.{path.stem}" for path in (ROOT / "tools").glob("*.py")} - {"riff_tools.__init__"}
    assert {target.removesuffix(":main") for target in COMMANDS.values()} == scripts | tools | {"riff.app.command"}
    assert all(command.startswith("riff-") for command in COMMANDS)


def test_every_command_is_there_and_leads_to_a_script(installed: Path, tmp_path: Path) -> None:
    assert {path.name for path in (installed / "bin").iterdir()} >= set(COMMANDS)
    targets = ", ".join(f"({module!r}, {name!r})" for module, name in (target.split(":") for target in COMMANDS.values()))
    code = f"import importlib\nfor module, name in [{targets}]: assert callable(getattr(importlib.import_module(module), name))"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=300)


@pytest.mark.parametrize("command", ["riff-app", "riff-make-dataset", "riff-train-edit"])
def test_a_command_answers_help_anywhere(installed: Path, tmp_path: Path, command: str) -> None:
    result = call(installed, tmp_path, command, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: {command} ")
    assert list(tmp_path.iterdir()) == []


def test_a_command_works_where_the_models_are(installed: Path, tmp_path: Path) -> None:
    output = tmp_path / "control"
    result = call(installed, ROOT, "riff-add-control", "--base", "mini", "--output", str(output))
    assert result.returncode == 0, result.stderr
    assert (output / "controlnet" / "diffusion_pytorch_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("command", "flags", "says"),
    [
        (
            "riff-add-control",
            ["--base", "mini"],
            "error: --base mini: no models/riffusion-mini here; run this",
        ),
        ("riff-upload", ["0", "me/model"], "error: version 0: no version_0 in lightning_logs or image_log"),
    ],
)
def test_a_command_elsewhere_ends_in_one_line(installed: Path, tmp_path: Path, command: str, flags: list[str], says: str) -> None:
    result = call(installed, tmp_path, command, *flags)
    assert result.returncode == 2
    assert result.stderr.startswith(says)
    assert result.stderr.count("\n") == 1


def test_templates_and_other_files_are_installed_beside_the_code(installed: Path) -> None:
    files = {path.relative_to(ROOT) for path in (ROOT / "riff").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert any(path.suffix == ".html" for path in files)
    assert [str(path) for path in sorted(files) if not (installed / path).is_file()] == []
