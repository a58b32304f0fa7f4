"""Every figure in a table of the documents is one that a committed result holds."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, run_script

sys.path.insert(0, str(ROOT / "benchmarks"))
import tables

from tools.evaluate_samples import make_parser

# Tables of words or of what stands in the code, and one that demo/card.py writes with its model.
OTHER_TABLES = {"name", "folder", "flag", "metric", "page", "what you have", "what you want", "word", "part"}
MANIFEST_KEYS = {"arguments", "script", "commit", "time", "python", "device", "versions"}


def test_the_documents_hold_the_results() -> None:
    assert "every table is what the results say" in run_script("benchmarks/tables.py").stdout


@pytest.mark.parametrize("path", sorted(tables.RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_every_result_says_how_it_was_made(path: Path) -> None:
    result = json.loads(path.read_text())
    assert set(result) >= MANIFEST_KEYS
    assert any((ROOT / folder / result["script"]).exists() for folder in ("", "benchmarks", "tools"))
    assert re.fullmatch(r"[0-9a-f]{40}", result["commit"])
    assert str(ROOT) not in path.read_text()


@pytest.mark.parametrize(("name", "flags"), tables.read_mapping(tables.REMAKE).items())
def test_what_remakes_a_result_can_be_run_and_makes_that_result(name: str, flags: str) -> None:
    args = make_parser().parse_args(flags.split())
    result = json.loads((tables.RESULTS / f"{name}.json").read_text())
    kept = result["arguments"]["experiment"]
    assert args.experiment == ([kept] if isinstance(kept, str) else kept)


def test_no_table_of_figures_is_without_a_name() -> None:
    for document in tables.documents():
        if document.parent.name == "riffusion-mini":
            continue
        text = document.read_text()
        for found in re.finditer(r"(?m)^(?P<before>.*)\n(?P<head>\|.*)\n\|---", text):
            if found["head"].split("|")[1].strip() not in OTHER_TABLES:
                assert found["before"].startswith("<!-- table:"), f"{document.name}: {found['head']}"


def test_every_definition_is_shown_somewhere() -> None:
    shown = {name for document in tables.documents() for name in re.findall(r"<!-- table: ([\w-]+) -->", document.read_text())}
    assert shown == set(tables.read_mapping(tables.DEFINITIONS))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    tables.read_results.cache_clear()
    (tmp_path / "one.json").write_text(json.dumps({"rows": [{"share": 0.256, "dB": -3.14159}, {"share": None}]}))


def table(**more: Any) -> dict[str, Any]:
    columns = [["share", "share", ".0%"], ["level", "dB", ".1f", "dB"]]
    return {"columns": columns, "rows": [["first", "one", "rows/0"], ["second", "one", "rows/1"]]} | more


def test_a_table_is_made_of_a_result(results: None) -> None:
    rendered = "| what | share | level |\n|---|---|---|\n| first | 26 % | -3.1 dB |\n| second | | |\n"
    assert tables.render(table(corner="what")) == rendered
    text = "Words.\n\n<!-- table: a -->\n| old | 99 |\n|---|---|\n\nMore.\n"
    new = tables.up_to_date(text, {"a": table(corner="what")})
    assert new == f"Words.\n\n<!-- table: a -->\n{rendered}\nMore.\n"
    assert tables.up_to_date(new, {"a": table(corner="what")}) == new


def test_what_leads_nowhere_is_said(results: None) -> None:
    with pytest.raises(tables.RiffError, match="no row has the column 'gone'"):
        tables.render(table(columns=[["gone", "gone"]]))
    with pytest.raises(tables.RiffError, match="table: b"):
        tables.up_to_date("<!-- table: b -->\n| x |\n", {"a": table()})


def test_a_document_that_fell_behind_is_named_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = (ROOT / "README.md").read_text()
    assert "| 13.5 |" in right
    (tmp_path / "README.md").write_text(right.replace("| 13.5 |", "| 93.5 |"))
    monkeypatch.setattr(tables.cli, "ROOT", tmp_path)
    with pytest.raises(tables.RiffError, match=r"README\.md: tables are not what the results say"):
        tables.main([])
    tables.main(["--write"])
    assert (tmp_path / "README.md").read_text() == right
