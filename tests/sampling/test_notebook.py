"""The notebooks: thin, without outputs, and they run from top to bottom and display each step."""

from __future__ import annotations

import base64
import io
import re
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import nbformat
import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT
from nbclient import NotebookClient
from PIL import Image

from riff import notebook
from riff.audio.io import read_audio, write_audio
from riff.errors import AudioError, OptionError
from riff.separation.song import Song, excerpt

CONTROL, EDIT = "sample_riff_cnet.ipynb", "inference_instruct_pix2pix.ipynb"
QUICK = {"separator": "repet", "model": "mini", "steps": 3, "start_s": 2.0}
TIMEOUT = 280  # seconds a cell


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / name, as_version=4)


def code_cells(book: nbformat.NotebookNode) -> list:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def set_fields(book: nbformat.NotebookNode, folder: Path, **fields: object) -> None:
    """Fill in the form, and write the results to a folder of the test."""
    for name, value in fields.items():
        found = 0
        for cell in code_cells(book):
            cell.source, count = re.subn(rf"^{name} = .*(?=  # @param)", f"{name} = {value!r}", cell.source, flags=re.MULTILINE)
            found += count
        assert found == 1, name
    for cell in code_cells(book):
        cell.source = re.sub(r'Path\("outputs/[a-z-]+"\)', f'Path("{folder}")', cell.source)


def execute(book: nbformat.NotebookNode, folder: Path = ROOT) -> None:
    NotebookClient(book, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()


def displayed(book: nbformat.NotebookNode) -> tuple[list[np.ndarray], list[tuple[np.ndarray, int]]]:
    """Images and sounds that an executed notebook displays, in order."""
    outputs = [output.data for cell in code_cells(book) for output in cell.outputs if output.output_type == "display_data"]
    images = [np.array(Image.open(io.BytesIO(base64.b64decode(data["image/png"])))) for data in outputs if "image/png" in data]
    players = [re.search(r'src="data:audio/flac;base64,([^"]+)"', data.get("text/html", "")) for data in outputs]
    sounds = [soundfile.read(io.BytesIO(base64.b64decode(player[1]))) for player in players if player]
    return images, sounds


@pytest.mark.parametrize("name", [CONTROL, EDIT])
def test_a_notebook_is_thin_and_keeps_no_outputs(name: str) -> None:
    book = read(name)
    nbformat.validate(book)
    assert not any(cell.outputs or cell.execution_count for cell in code_cells(book))
    assert set(book.metadata) == {"accelerator", "colab", "kernelspec", "language_info"}
    assert book.metadata.kernelspec.name == "python3"
    lines = [line for cell in code_cells(book) for line in cell.source.splitlines()]
    assert len(lines) < 80
    assert not any(line.startswith(("def ", "class ")) for line in lines)


@pytest.mark.parametrize("name", [CONTROL, EDIT])
def test_the_badge_and_the_installation_take_the_repository(name: str) -> None:
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    owner_and_name = repository.removeprefix("https://github.com/")
    badge = re.search(r"\(https://colab\.research\.google\.com/github/(.+)/blob/main/(.+)\)", read(name).cells[0].source)
    assert badge is not None
    assert badge.groups() == (owner_and_name, name)
    install = code_cells(read(name))[0].source
    assert f"git clone --quiet --depth 1 {repository}\n    %cd {owner_and_name.split('/')[1]}\n" in install


def test_the_control_notebook_runs(tmp_path: Path) -> None:
    """It displays song, stems, edges, takes and mixes; the displayed mixes equal the saved files."""
    book, whole = read(CONTROL), read_audio(ROOT / "raw-audio" / "rock-0001.ogg")
    write_audio(tmp_path / "song.wav", whole.waveform[:, : 9 * 44_100], 44_100)
    set_fields(
        book, tmp_path, **QUICK, song=str(tmp_path / "song.wav"), seconds=6, takes=2, strength=1.5, scale=3.0, melody="compose"
    )
    execute(book)
    images, sounds = displayed(book)
    frames = 601
    sizes = [image.shape[:2] for image in images]
    sheet = Image.open(tmp_path / "sheet.png")
    assert sizes == [(512, frames)] * 4 + [(sheet.height, sheet.width)] + [(512, frames)] * 4  # vocal, mix, vocal, mix
    edges = images[3]
    assert set(np.unique(edges)) == {0, 255}
    song, vocals, accompaniment, *takes = sounds
    assert len(takes) == 4
    assert all(rate == 44_100 and waveform.shape == (6 * 44_100, 2) for waveform, rate in sounds)
    assert np.abs(song[0] - vocals[0] - accompaniment[0]).max() < 1e-4
    for number, displayed_mix in enumerate(takes[1::2]):
        mix, vocal = (read_audio(tmp_path / f"{name}-{number}.wav").waveform for name in ("mix", "vocal"))
        assert np.abs(displayed_mix[0].T - mix).max() < 1e-4
        parts = np.stack([accompaniment[0].ravel(), vocal.T.ravel()], axis=1)
        _, residue, *_ = np.linalg.lstsq(parts, mix.T.ravel().astype(np.float64), rcond=None)
        assert np.sqrt(residue[0] / mix.size) < 1e-4  # the mix is the accompaniment's own samples and the vocal
    assert not np.array_equal(takes[1][0], takes[3][0])
    assert len({(tmp_path / f"tune-{number}.mid").read_bytes() for number in range(2)}) == 2


@pytest.mark.slow
def test_the_edit_notebook_runs(tmp_path: Path) -> None:
    book = read(EDIT)
    set_fields(book, tmp_path, **QUICK, candidates=2, scale=3.0, image_scale=1.0, melody="compose")
    execute(book)
    images, sounds = displayed(book)
    assert [image.shape[:2] for image in images] == [(512, 512)] * 4  # before, output, before, after
    before, again, after = (waveform for waveform, _ in sounds)
    assert np.abs(before - again).max() < 1e-3
    assert not np.allclose(before, after, atol=1e-3)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("original.png", "original.wav", "sample.png", "sample.wav", "sheet.png", "tune.mid", "vocal.mid")
    }
    printed = "".join(output.text for cell in code_cells(book) for output in cell.outputs if output.get("name") == "stdout")
    assert printed.count("edited, score") == 2
    assert f"saved in {tmp_path}" in printed


def test_the_installation_in_colab(tmp_path: Path) -> None:
    """With stand-ins for Colab, git and pip: the clone is imported, and pip keeps the installed PyTorch and NumPy."""
    clone, tools = tmp_path / "work", tmp_path / "bin"
    clone.mkdir()
    tools.mkdir()
    note = f'#!/bin/sh\necho "$(basename $0) $@" >> {tmp_path}/calls\n'
    (tools / "git").write_text(f"{note}mkdir riff-cnet && cp -r {ROOT}/riff riff-cnet/riff\n")
    (tools / "pip").write_text(f'{note}[ "$1" = list ] && printf "torch==2.8.0+cu126\\nnumpy==2.0.2\\ntorchcodec==0.7\\n"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    install = code_cells(read(CONTROL))[0].source.replace("/tmp/", f"{tmp_path}/")
    prelude = "import os, sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')\n"
    prelude += f"os.environ['PATH'] = '{tools}:' + os.environ['PATH']"
    cells = [prelude, install, install, "import riff; print(riff.__file__)"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONPATH", raising=False)
        execute(book, clone)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [line.split()[:2] for line in calls] == [["git", "clone"], ["pip", "list"], ["pip", "install"]]
    assert calls[-1] == f"pip install --quiet --constraint {tmp_path}/as-in-colab.txt --editable ."
    assert (tmp_path / "as-in-colab.txt").read_text() == "torch==2.8.0+cu126\nnumpy==2.0.2\n"
    assert book.cells[-1].outputs[0].text.strip() == str(clone / "riff-cnet/riff/__init__.py")


@pytest.mark.parametrize(
    ("name", "device", "chosen"),
    [
        ("auto", "cpu", "models/riff-cnet-mini"),
        ("auto", "cuda", "zachary-shah/riffusion-cnet-v2"),
        ("mini", "cuda", "models/riff-cnet-mini"),
        ("published", "cpu", "zachary-shah/riffusion-cnet-v2"),
        ("models/mine", "cuda", "models/mine"),
    ],
)
def test_choice_of_the_model(name: str, device: str, chosen: str) -> None:
    assert notebook.choose_model(name, "control", device) == chosen


def test_the_small_models_are_there() -> None:
    for _, mini in notebook.MODELS.values():
        assert (ROOT / mini / "config.json").exists()


def test_uploads_and_google_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for Colab; without it they raise an error that names Colab."""
    assert notebook.choose_song("song.ogg", upload=False) == Path("song.ogg")
    results = tmp_path / "results"
    results.mkdir()
    (results / "mix.wav").write_bytes(b"sound")
    with pytest.raises(OptionError, match="only Colab takes uploads"):
        notebook.choose_song("song.ogg", upload=True)
    with pytest.raises(OptionError, match=f"only Colab reaches Google Drive; the results are in {results}"):
        notebook.copy_to_drive(results)
    colab, files, drive = (ModuleType(name) for name in ("google.colab", "google.colab.files", "google.colab.drive"))
    mounted: list[str] = []
    files.upload, drive.mount = lambda: {"mine (1).mp3": b""}, mounted.append  # type: ignore[attr-defined]
    colab.files, colab.drive = files, drive  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setattr(notebook, "DRIVE", tmp_path / "drive")
    assert notebook.choose_song("song.ogg", upload=True) == Path("mine (1).mp3")
    for _ in range(2):  # the second time over the first
        assert (notebook.copy_to_drive(results) / "mix.wav").read_bytes() == b"sound"
    assert mounted == [str(tmp_path / "drive")] * 2
    files.upload = dict  # type: ignore[attr-defined]
    with pytest.raises(OptionError, match="nothing was uploaded"):
        notebook.choose_song("song.ogg", upload=True)


def test_all_files_as_one_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "mix-0.wav").write_bytes(b"one")
    (results / "mix-1.wav").write_bytes(b"two")
    with zipfile.ZipFile(notebook.download(results)) as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == {"mix-0.wav": b"one", "mix-1.wav": b"two"}
    colab, files = ModuleType("google.colab"), ModuleType("google.colab.files")
    sent: list[str] = []
    files.download = sent.append  # type: ignore[attr-defined]
    colab.files = files  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    assert notebook.download(results) == tmp_path / "results.zip"
    assert sent == [str(tmp_path / "results.zip")]


def test_the_runtime_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No CUDA GPU" in notebook.describe_runtime("cpu")
    assert "Change runtime type" not in notebook.describe_runtime("cpu")
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    assert "Change runtime type, T4 GPU" in notebook.describe_runtime("cpu")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    assert notebook.describe_runtime("cuda").startswith("GPU: Tesla T4.")


def test_the_page_that_does_not_start_says_why() -> None:
    pytest.importorskip("gradio")
    with pytest.raises(OptionError, match="models/nowhere: no such folder"):
        notebook.start_app("--model", "models/nowhere")


@pytest.mark.slow
def test_the_page_starts() -> None:
    pytest.importorskip("gradio")
    process = notebook.start_app()
    try:
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(30)


def test_an_excerpt() -> None:
    waveform = np.arange(20, dtype=np.float32)[None].repeat(2, axis=0)
    song = Song(waveform, 0.25 * waveform, 0.75 * waveform, 10, -np.inf)
    part = excerpt(song, 0.5, 1.0)
    assert np.array_equal(part.waveform, waveform[:, 5:15])
    assert np.array_equal(part.vocals + part.accompaniment, part.waveform)
    assert (part.duration_s, part.residue_db) == (1.0, -np.inf)
    assert excerpt(song, 1.5, 9.0).duration_s == 0.5
    for start_s, length_s in ((2.0, 1.0), (-0.1, 1.0), (0.5, 0.0)):
        with pytest.raises(AudioError, match=r"the song lasts 2\.00 s"):
            excerpt(song, start_s, length_s)
