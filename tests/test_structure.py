"""The house holds its shape: imports point downward, and every script says how it is run."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEVELS = (
    {"errors", "seeds", "files", "cli", "devices", "network", "downloads"},
    {"spectrogram"},
    {"audio"},
    {"models"},
    {"separation"},
    {"data"},
    {"tagging"},
    {"pairs"},
    {"metrics"},
    {"sampling"},
    {"training"},
    {"report"},
    {"inspection"},
    {"experiments", "hub"},
    {"app", "notebook"},
)
SCREEN = 50  # lines of help that can be taken in without headings
BANNED = {"torchvision", "torchaudio"}  # neither has a build for every torch that this runs on
ROOT_SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))
RIFF_FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "riff").rglob("*.py"))


def is_script(path: Path) -> bool:
    return 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")


SCRIPTS = ROOT_SCRIPTS + sorted(
    f"{folder}/{path.name}" for folder in ("demo", "tools") for path in (ROOT / folder).glob("*.py") if is_script(path)
)


def imports(source: str, file: str) -> Iterator[str]:
    """Every module that a file names in an import, wherever it stands, relative ones made absolute."""
    package = Path(file).parent.parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    """`riff.audio.clips` -> `audio`; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def level(name: str) -> int:
    found = [number for number, rooms in enumerate(LEVELS) if name in rooms]
    assert found, f"riff/{name} has no place in the order of the rooms: give it one in {Path(__file__).name}"
    return found[0]


def violations(source: str, file: str) -> list[str]:
    """What a file imports and may not."""
    names = list(imports(source, file))
    top = {name: name.split(".")[0] for name in names}
    wrong = [name for name in names if top[name] in BANNED]
    siblings = {script.removesuffix(".py") for script in ROOT_SCRIPTS}
    if "/" not in file or file.startswith("riff/"):
        wrong += [name for name in names if top[name] in siblings]
    if file.startswith("riff/"):
        wrong += [name for name in names if top[name] in {"demo", "tests", "benchmarks"}]
        wrong += [name for name in names if top[name] == "riff" and not may_import(file, name)]
    return wrong


def may_import(file: str, module: str) -> bool:
    here, there = room(file.removesuffix(".py").replace("/", ".")), room(module)
    if there in {"", "__version__"} or here == there:
        return True
    if here == "__init__":
        return False
    return level(there) < level(here) or level(there) == level(here) == 0


@pytest.mark.parametrize("file", [*RIFF_FILES, *SCRIPTS])
def test_imports_point_downward(file: str) -> None:
    assert violations((ROOT / file).read_text(encoding="utf-8"), file) == []


def imports_when_loaded(file: str) -> set[str]:
    """The project's modules that are run when a file is imported, packages on the way included."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= set(imports(ast.unparse(node), file))
    here = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    paths = [name.split(".") for name in names]
    reached = {".".join(path[:end]) for path in paths for end in range(1, len(path) + 1)}
    return {name for name in reached if not f"{here}.".startswith(f"{name}.")}


def test_every_module_can_be_the_first_to_be_imported() -> None:
    """No module needs itself, by way of others or of the packages that they lie in."""
    modules = {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in RIFF_FILES}
    loaded = {module: sorted(imports_when_loaded(file) & set(modules)) for module, file in modules.items()}
    order = TopologicalSorter(loaded)
    order.prepare()  # raises CycleError, which names the modules


@pytest.mark.parametrize(
    ("file", "source", "allowed"),
    [
        ("riff/audio/io.py", "from riff.spectrogram import params", True),
        ("riff/audio/io.py", "from . import clips\nfrom .clips import cut", True),
        ("riff/audio/io.py", "from ..spectrogram.mel import mel_filterbank", True),
        ("riff/audio/io.py", "from ..data.pairs import read", False),
        ("riff/audio/io.py", "def f():\n    import riff.models.loading", False),
        ("riff/spectrogram/mel.py", "from riff import audio", False),
        ("riff/spectrogram/mel.py", "from riff import cli, errors", True),
        ("riff/files.py", "from riff.errors import RiffError", True),
        ("riff/files.py", "import riff.spectrogram.mel", False),
        ("riff/training/samples.py", "from riff.sampling.pipelines import sample", True),
        ("riff/sampling/pipelines.py", "from riff.training.module import Module", False),
        ("riff/sampling/song_takes.py", "from riff.metrics.edit import score_edit", True),
        ("riff/metrics/edit.py", "from riff.sampling.pipelines import sample", False),
        ("riff/report/report.py", "from riff.experiments.experiment import Result", False),
        ("riff/experiments/pages.py", "from riff.hub import upload", False),
        ("riff/hub/upload.py", "from demo.make_songs import make", False),
        ("riff/hub/upload.py", "import upload_checkpoints", False),
        ("riff/audio/io.py", "import torchaudio.functional", False),
        ("new_script.py", "from upload_checkpoints import main", False),
        ("new_script.py", "from riff.hub import upload", True),
        ("demo/make_songs.py", "from riff.audio import io", True),
        ("demo/make_songs.py", "from torchvision import models", False),
    ],
)
def test_the_rule_itself(file: str, source: str, allowed: bool) -> None:
    assert (violations(source, file) == []) is allowed


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_opens_with_a_command(script: str) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / script).read_text(encoding="utf-8"))) or ""
    assert any(line.strip().startswith(f"python {script}") for line in docstring.splitlines()[:4]), docstring


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_answers_help(script: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, script, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    assert f"python {script}" in result.stdout
    assert "--help" in result.stdout
    headings = [line for line in result.stdout.splitlines() if line.endswith(":") and line[0] not in " ("]
    assert result.stdout.count("\n") <= SCREEN or len(headings) > 3, result.stdout
