"""The notebook: thin, without outputs, and it runs from top to bottom."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "sample_riff_cnet.ipynb"


def test_the_notebook_is_thin_and_keeps_no_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code)
    assert sum(len(cell.source.splitlines()) for cell in code) < 60
    assert not any(line.startswith(("def ", "class ")) for cell in code for line in cell.source.splitlines())


def test_the_notebook_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("outputs/notebook", str(tmp_path)).replace("steps=20", "steps=4")
    NotebookClient(notebook, timeout=280, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    assert len(list(tmp_path.glob("sample-*.wav"))) == 2
