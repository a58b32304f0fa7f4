"""The page to listen to: every link resolves, everything is small, and a change of version goes on from the same position."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from html_page import Page

from demo import make_listening_page
from demo.listening_page import CATALOGUE, OPUS_RATE, write_opus
from demo.world.compose import compose
from riff.audio.io import read_audio

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of a song and a whole one, of 2 s, in one denoising step."""
    folder, threads = tmp_path_factory.mktemp("docs"), torch.get_num_threads()
    small = ["--songs", "0", "--seconds", "2", "--whole_seconds", "2", "--steps", "1"]
    make_listening_page.main(["--output", str(folder), *small, *models()])
    torch.set_num_threads(threads)
    return folder / "listen.html"


def models() -> list[str]:
    return ["--models", *(str(ROOT / "models" / name) for name in ("riff-cnet-mini", "riff-pix2pix-mini"))]


def check_links(page: Path) -> None:
    """Every link resolves, nothing lies beside them, and all is small."""
    found = Page(page)
    assert found.open == []
    files = {page.parent / link for link in found.links()}
    assert files == set((page.parent / "listen").iterdir())
    assert sum(path.stat().st_size for path in (page, *files)) < MOST_BYTES


def test_a_tiny_page_has_every_version_and_says_how_it_was_made(page: Path) -> None:
    check_links(page)
    sounds = sorted((page.parent / "listen").glob("*.ogg"))
    assert len(sounds) == 7 + 2 + 4  # a part with takes of composed tunes, and a whole song
    assert {read_audio(sound).waveform.shape[1] for sound in sounds} == {2 * OPUS_RATE}
    text = " ".join(Page(page).text.split())
    for words in (
        f"ControlNet, “{compose(CATALOGUE, 0, 1.0).prompt}”, seed 0",
        "edit model, “add a",
        "made by the project",
        "riff-pix2pix-mini, with a composed tune",
    ):
        assert words in text


def test_the_page_of_the_repository_is_whole() -> None:
    check_links(ROOT / "docs" / "listen.html")


def test_the_same_sound_is_the_same_bytes_and_does_not_clip(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-3, 3, (2, 44_100)).astype(np.float32)
    for name in ("a.ogg", "b.ogg"):
        write_opus(tmp_path / name, noise, 44_100)
    assert (tmp_path / "a.ogg").read_bytes() == (tmp_path / "b.ogg").read_bytes()
    assert read_audio(tmp_path / "a.ogg").waveform.shape == (2, 48_000)
    assert np.sqrt(np.square(read_audio(tmp_path / "a.ogg").waveform).mean()) < 0.7


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; install one (Debian: apt install chromium)")
@pytest.mark.slow
def test_versions_play_in_step_by_keyboard_alone(page: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="drives a browser: pip install playwright")
    sounds = "[...document.querySelectorAll('.player')[0].querySelectorAll('audio')].map(one => [one.paused, one.currentTime])"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        tab.goto(page.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        # Slowly, so that a short sound does not end before a busy machine has pressed the next key.
        tab.evaluate("document.querySelectorAll('audio').forEach(one => (one.playbackRate = 0.1))")
        tab.keyboard.press("Tab")
        tab.keyboard.press("Space")
        tab.wait_for_function(f"{sounds}[0][1] > 0.05")
        tab.keyboard.press("Tab")
        tab.keyboard.press("Tab")
        tab.keyboard.press("ArrowDown")
        tab.wait_for_function(f"!{sounds}[1][0]")
        (first_paused, first), (_, second), *others = tab.evaluate(sounds)
        assert first_paused
        assert second > first - 0.01 > 0
        assert all(paused and at == 0 for paused, at in others)
        browser.close()
