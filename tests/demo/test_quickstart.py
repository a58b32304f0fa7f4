"""The quickstart's stages in small, and that a second run does nothing twice."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from conftest import run_script

from demo import quickstart


@pytest.mark.slow  # two minutes; each of its stages has quick tests of its own
def test_the_whole_way_ends_in_a_page_and_is_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_stage(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        """The script in a process that has the libraries imported: a minute less for all stages."""
        return run_script(command[1], *command[2:])

    monkeypatch.setattr(quickstart.subprocess, "run", run_stage)
    songs = ("--num_songs", 2, "--seconds", 11, "--mixtures_only", "--format", "ogg")
    run_script("demo/make_songs.py", *songs, "--output", tmp_path / "audio", "--num_workers", 1)
    data = ("--audio_dir", tmp_path / "audio", "--prompt_file", tmp_path / "audio" / "prompt_file.json")
    small = ("--max_steps", 2, "--num_samples", 1, "--steps", 2, "--num_measured", 1)
    flags = [str(word) for word in (*data, *small, "--output", tmp_path / "out")]
    quickstart.main(flags)
    page = tmp_path / "out" / "index.html"
    assert capsys.readouterr().out.strip().endswith(f"open {page.resolve()}")
    text = page.read_text()
    for link in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert (page.parent / link).is_file(), link
    assert text.count("<audio") == 8  # four versions of the whole song, the song, its accompaniment, one sample of each model
    assert "edge F1" in text
    assert "<polyline" in text

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path != page}
    quickstart.main(flags)
    assert capsys.readouterr().out.count("done before") == 9
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path != page} == before
