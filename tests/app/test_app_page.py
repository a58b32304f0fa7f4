"""The page in headless Chromium, end to end on the small models: one server, and a new visitor for every test."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlparse

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from riff.audio.io import read_audio, write_audio
from riff.audio.notes import Note, read_midi, write_midi
from riff.cli import seconds
from riff.models.model_types import CONTROL, EDIT
from riff.sampling.compose import beats_of
from riff.spectrogram.image import load_image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FileChooser, Locator, Request

pytest.importorskip("gradio", reason="the page needs Gradio: pip install '.[app]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="drives a browser: pip install playwright")
BROWSERS = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
CHROMIUM = next((path for path in BROWSERS if Path(path).exists()), "")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here; install one (Debian: apt install chromium)")
SCREENSHOTS = Path(os.environ.get("APP_SCREENSHOTS", ROOT / "outputs" / "app-screenshots"))
CONTROL_MODEL, EDIT_MODEL = (Path(one.example).name for one in (CONTROL, EDIT))
TIMEOUT = 180_000  # milliseconds; ample for a machine that does other work too


@dataclass
class Server:
    """A running app.py. folder: of its temporary files."""

    url: str
    folder: Path

    def sessions(self) -> list[Path]:
        return list(self.folder.glob("riff-app-*/sessions/*"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--port", port, "--separator", "repet", "--max_megabytes", 4, "--max_minutes", 0.5, "--max_seconds", 12]
    environment = os.environ | {"TMPDIR": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py", *map(str, flags)], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + 120
    while "open http" not in (folder / "log").read_text() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert process.poll() is None, (folder / "log").read_text()
    yield Server(f"http://127.0.0.1:{port}/", folder)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert [path.name for path in folder.iterdir()] == ["log"]  # all files of visitors are deleted
    assert "Traceback" not in (folder / "log").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    fake_microphone = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    flags = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required", *fake_microphone]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


class Visitor:
    """A visitor with a browser of their own. requests: that the browser sent.

    Args:
        script: that runs before those of the page.
    """

    def __init__(self, browser: Browser, server: Server, script: str = "") -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["microphone"])
        self.server, self.page = server, self.context.new_page()
        self.page.add_init_script(script)
        self.page.set_default_timeout(TIMEOUT)
        self.requests: list[Request] = []
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.goto(server.url)
        self.page.wait_for_selector("#song-file input[type=file]", state="attached")

    def drop(self, song: Path) -> None:
        self.page.set_input_files("#song-file input[type=file]", song)

    def open(self, song: Path) -> None:
        """Drop a valid song."""
        self.drop(song)
        self.page.wait_for_selector("#waveform .region")

    def number(self, place: str, value: float | str) -> None:
        field = self.page.locator(f"{place} :is(input[type=number], textarea, input[type=text])").first
        field.fill(str(value))
        field.blur()

    def set_up(self, steps: int, model: str | None = None) -> None:
        """Change the settings: one take, without a melody, which would leave steps out."""
        if model:
            self.page.get_by_label(model).check()
        self.page.get_by_label("the model's own").check()
        self.page.click("#advanced button")
        self.page.wait_for_selector("#steps input[type=number]")
        self.number("#steps", steps)
        self.number("#num-takes", 1)
        assert self.page.input_value("#seed textarea, #seed input") == ""  # another seed for every take

    def status(self, text: str) -> None:
        """Wait for a status; polled by time, because a page in the background may render no frames."""
        state = self.page.locator("#state")
        deadline = time.monotonic() + 2 * TIMEOUT / 1000
        while text not in (status := state.text_content() or ""):
            assert time.monotonic() < deadline, (
                f"the status is {status!r}, not {text!r}\n{(self.server.folder / 'log').read_text()}"
            )
            self.page.wait_for_timeout(50)

    def error(self, text: str) -> str:
        """Wait for an error message that contains the text, and return it."""
        toast = self.page.locator(".toast-body", has_text=text).first
        toast.wait_for()
        return toast.inner_text()

    def take(self, number: int) -> Locator:
        card = self.page.locator(f'#takes .take[data-take="{number}"]')
        card.wait_for()
        return card

    def take_named(self, name: str) -> Locator:
        return self.page.locator("#takes .take", has=self.page.locator(f'.name[value="{name}"]'))

    def fetch(self, path: str) -> int:
        """The status of a request with this visitor's cookies."""
        return self.context.request.get(self.server.url + path.lstrip("/")).status

    def screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True, animations="disabled")


@pytest.fixture
def visitor(browser: Browser, server: Server) -> Iterator[Visitor]:
    visitor = Visitor(browser, server)
    yield visitor
    visitor.context.close()


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 s of a demo song."""
    audio = read_audio(ROOT / "raw-audio" / "rock-0001.ogg")
    path = tmp_path_factory.mktemp("song") / "rock.ogg"
    write_audio(path, audio.waveform[:, : 6 * audio.sample_rate], audio.sample_rate)
    return path


def download(visitor: Visitor, link: Locator, folder: Path) -> Path:
    with visitor.page.expect_download() as waiting:
        link.click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_takes_of_a_song(visitor: Visitor, song: Path, tmp_path: Path) -> None:
    visitor.screenshot("empty")
    visitor.open(song)
    visitor.screenshot("song")
    visitor.set_up(steps=2, model=CONTROL_MODEL)
    visitor.page.click("#prepare")
    visitor.page.wait_for_selector("#edges canvas[data-ready]")
    visitor.status("")
    visitor.screenshot("backing")
    visitor.number("#num-takes", 2)
    visitor.page.click("#generate")
    visitor.status(" of 4")
    visitor.screenshot("generating")
    cards = [visitor.take(1), visitor.take(2)]
    assert all(card.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 500 for card in cards)
    cards[1].get_by_role("button", name="Play", exact=True).click()
    positions = [playing_at(visitor, cards[1]) for _ in range(2)]
    assert positions[1] > positions[0] > 0
    visitor.status("")
    visitor.screenshot("takes")
    visitor.page.set_viewport_size({"width": 420, "height": 900})
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 420
    visitor.screenshot("narrow")

    names = ("mix.wav", "vocal.wav", "spectrogram.png")
    mix, vocal, image = (download(visitor, cards[0].get_by_text(name, exact=True), tmp_path) for name in names)
    backing = download(visitor, visitor.page.locator("#backing a"), tmp_path)
    assert mix.name == "rock, Take 1, mix.wav"
    mixed, sung, accompaniment = (read_audio(path).waveform for path in (mix, vocal, backing))
    assert mixed.shape == sung.shape == accompaniment.shape == read_audio(song).waveform.shape
    np.testing.assert_array_equal(mixed, accompaniment + sung)
    assert load_image(image).max_value > 0
    assert Image.open(image).getexif()[11000] == 44_100
    assert {urlparse(request.url).netloc for request in visitor.requests} == {urlparse(visitor.server.url).netloc}


def playing_at(visitor: Visitor, card: Locator) -> float:
    """The position in seconds of a take that plays, half a second from now."""
    card.get_by_role("button", name="Pause").wait_for()
    visitor.page.wait_for_timeout(500)
    return float(card.locator(".position").input_value())


# Everything that reaches the loudspeakers is heard by `window.heard` as well: the RMS of its last 0.17 s.
MICROPHONE = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...more) {
  if (target instanceof AudioDestinationNode) {
    const analyser = new AnalyserNode(target.context, { fftSize: 8192 }), samples = new Float32Array(8192);
    connect.call(this, analyser);
    (window.analysers ??= []).push(analyser);
    window.heard = () => {
      const sum = new Float64Array(8192);
      for (const one of window.analysers) one.getFloatTimeDomainData(samples), samples.forEach((value, i) => (sum[i] += value));
      return Math.sqrt(sum.reduce((all, value) => all + value * value, 0) / 8192);
    };
  }
  return connect.call(this, target, ...more);
};
"""


@pytest.mark.slow
def test_a_take_is_compared_in_step(browser: Browser, server: Server, song: Path) -> None:
    visitor = Visitor(browser, server, MICROPHONE)
    visitor.open(song)
    visitor.set_up(steps=2)
    visitor.number("#num-takes", 2)
    visitor.page.click("#generate")
    first, second = visitor.take(1), visitor.take(2)
    visitor.status("")
    heard: dict[str, float] = {}
    first.get_by_role("button", name="Play", exact=True).click()
    first.get_by_role("button", name="Loop").click()
    before = playing_at(visitor, first)
    first.locator(".vocal").fill("-24")  # off: then the mix is the backing
    for key, version in enumerate(("original", "backing", "mix", "vocal"), start=1):
        visitor.page.keyboard.press(str(key))
        assert first.get_by_role("radio", name=version).is_checked()
        first.locator(".position").evaluate(
            "slider => { slider.value = 2; slider.dispatchEvent(new Event('input', {bubbles: true})); }"
        )
        visitor.page.wait_for_timeout(600)
        assert 2.2 < float(first.locator(".position").input_value()) < 4
        heard[version] = float(visitor.page.evaluate("window.heard()"))
    assert before > 0
    assert heard["mix"] == pytest.approx(heard["backing"], rel=0.5)
    assert min(heard.values()) > 1e-3
    second.get_by_role("button", name="Play", exact=True).click()
    playing_at(visitor, second)
    assert first.get_by_role("button", name="Play", exact=True).is_visible()
    box = second.locator(".screen").bounding_box()
    assert box is not None
    second.locator(".screen").click(position={"x": box["width"] * 0.75, "y": 20})
    assert 4.4 < playing_at(visitor, second) < 5.5  # of 6 s, and on
    visitor.page.locator("#waveform .play-song").click()  # another sound on the page
    second.get_by_role("button", name="Play", exact=True).wait_for()
    visitor.page.wait_for_timeout(300)
    assert visitor.page.evaluate("window.heard()") < 1e-6
    visitor.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_take_plays_while_it_is_generated(browser: Browser, server: Server, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    visitor, problems = Visitor(browser, server, MICROPHONE), list[str]()
    page, live = visitor.page, visitor.page.locator("#live figure")
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.set_viewport_size({"width": width, "height": 900})
    page.click("#demo-song")
    page.wait_for_selector("#waveform .region")
    visitor.number("#start", 0)
    visitor.number("#end", 6)
    page.get_by_label("composed for the backing").check()
    page.wait_for_selector("#notes .find")
    page.click("#play")
    page.wait_for_function("window.heard?.() > 1e-3")
    assert page.locator("#notes .find").is_disabled()
    assert page.locator("#takes .take").count() == 0
    page.fill("#prompt textarea", "a sad male vocal")
    page.wait_for_function("document.querySelector('#live output').value === '0:02 / 0:06'")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    visitor.screenshot(f"playing-{width}")
    assert "played while it was generated" in visitor.take(1).inner_text()
    live.wait_for(state="hidden")  # it has played to its end
    steered = [request for request in visitor.requests if "a sad male vocal" in (request.post_data or "")]
    assert steered
    assert page.locator("#notes .find").is_enabled()

    visitor.number("#end", 12)
    page.click("#play")
    live.wait_for()
    live.get_by_role("button", name="Stop").click()
    live.wait_for(state="hidden")
    visitor.status("Cancelled.")
    assert page.locator("#takes .take").count() == 1
    assert problems == []
    visitor.context.close()


@pytest.mark.slow
def test_painted_edges_are_sent_as_shown(visitor: Visitor, song: Path) -> None:
    visitor.open(song)
    visitor.set_up(steps=1, model=CONTROL_MODEL)
    visitor.page.click("#prepare")
    visitor.page.wait_for_selector("#edges canvas[data-ready]")
    visitor.status("")
    before = edges_shown(visitor)
    drag(visitor, "#edges canvas", (0.1, 0.2), (0.6, 0.3))
    visitor.page.click("#edges .erase")
    drag(visitor, "#edges canvas", (0.2, 0.9), (0.8, 0.9))
    after = edges_shown(visitor)
    visitor.screenshot("painted")
    assert np.isin(after, (0, 255)).all()
    assert (after > before).sum() > 500
    assert (after < before).sum() > 20
    visitor.page.click("#generate")
    assert "along painted edges" in visitor.take(1).inner_text()
    posted = [request.post_data_json for request in visitor.requests if request.url.endswith("/queue/join?")]
    values = [value for data in posted if data for value in data["data"] if isinstance(value, str) and '"painted"' in value]
    painted = next(json.loads(value)["painted"] for value in values if json.loads(value)["painted"])
    np.testing.assert_array_equal(np.array(image_of(painted).convert("L")), after)
    visitor.status("")
    for end, expected in ((5.2, None), (6.0, after)):  # another part, and back
        shown = visitor.page.locator("#edges canvas").get_attribute("data-ready")
        visitor.number("#end", end)
        visitor.page.click("#prepare")
        visitor.page.wait_for_selector(f'#edges canvas[data-ready]:not([data-ready="{shown}"])')
        if expected is None:
            visitor.status("Painted ones are kept for 0:00 to 0:06")
        else:
            np.testing.assert_array_equal(edges_shown(visitor), expected)
    visitor.page.click("#edges .reset")
    np.testing.assert_array_equal(edges_shown(visitor), before)


def edges_shown(visitor: Visitor) -> np.ndarray:
    """The edges on the canvas: uint8, 0 or 255."""
    return np.array(image_of(visitor.page.locator("#edges canvas").evaluate("canvas => canvas.toDataURL()")).getchannel("A"))


def image_of(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))


def drag(visitor: Visitor, place: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag with the mouse between two points, as shares of an element's width and height."""
    visitor.page.locator(place).scroll_into_view_if_needed()
    box = visitor.page.locator(place).bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    visitor.page.mouse.move(*points[0])
    visitor.page.mouse.down()
    visitor.page.mouse.move(*points[1], steps=8)
    visitor.page.mouse.up()


@pytest.mark.slow
def test_waveform_and_numbers_select_the_same_part(visitor: Visitor) -> None:
    visitor.page.click("#demo-song")
    visitor.page.wait_for_selector("#waveform .region")
    start, end = (visitor.page.locator(f"{place} :is(input, textarea)") for place in ("#start", "#end"))
    assert seconds(end.input_value()) - seconds(start.input_value()) == pytest.approx(10.2)
    visitor.number("#start", 0)
    visitor.number("#end", "0:10.2")
    visitor.page.wait_for_function("document.querySelector('#waveform .times').textContent.startsWith('0:00.0 to 0:10.2')")
    drag(visitor, "#waveform .handle.end", (0.5, 0.5), (-8.0, 0.5))
    shortened = seconds(end.input_value())
    assert 5.1 < shortened < 10
    drag(visitor, "#waveform .region", (0.5, 0.5), (0.9, 0.5))
    assert seconds(start.input_value()) > 0.5
    assert seconds(end.input_value()) - seconds(start.input_value()) == pytest.approx(shortened, abs=0.02)
    visitor.number("#start", 0)
    visitor.number("#end", 6)
    visitor.page.wait_for_function("document.querySelector('#waveform .times').textContent.startsWith('0:00.0 to 0:06.0')")
    drag(visitor, "#waveform .lane", (0.9, 0.5), (0.6, 0.5))  # on empty waveform, backwards
    length = visitor.page.locator("#waveform .handle.end").get_attribute("aria-valuemax")
    assert length is not None
    assert seconds(start.input_value()) == pytest.approx(0.6 * float(length), abs=0.2)
    assert seconds(end.input_value()) == pytest.approx(0.9 * float(length), abs=0.2)
    visitor.number("#start", 3)
    visitor.number("#end", 60)
    assert (seconds(start.input_value()), seconds(end.input_value())) == (3.0, 15.0)  # no more than --max_seconds
    assert visitor.page.locator("#waveform .times").inner_text() == "0:03.0 to 0:15.0 (12.0 s)"


@pytest.mark.slow
def test_cancel_stops_and_leaves_the_page_usable(visitor: Visitor, song: Path) -> None:
    visitor.open(song)
    visitor.set_up(steps=100)
    visitor.page.click("#generate")
    visitor.status(" of 100")
    visitor.page.click("#cancel")
    began = time.monotonic()
    visitor.status("Cancelled.")
    assert time.monotonic() - began < 10
    assert visitor.page.locator("#takes .take").count() == 0
    visitor.number("#steps", 1)
    visitor.page.click("#generate")
    visitor.take(1)


@pytest.mark.slow
def test_an_edit_model_shows_only_what_applies(visitor: Visitor, song: Path) -> None:
    visitor.open(song)
    visitor.set_up(steps=1)
    visitor.page.get_by_label("Image scale").first.wait_for()
    assert visitor.page.get_by_label("Guess mode").count() == 0
    visitor.page.click("#generate")
    assert "add an uplifting female vocal pop melody" in visitor.take(1).inner_text()
    assert "riff-pix2pix-mini" in visitor.take(1).inner_text()
    assert not visitor.page.locator("#edges").is_visible()
    visitor.page.get_by_label(CONTROL_MODEL).check()
    visitor.page.get_by_label("Guess mode").wait_for()
    assert visitor.page.get_by_label("Image scale").count() == 0
    visitor.page.locator("#takes").get_by_role("button", name="Use all its settings").click()
    visitor.page.get_by_label("Image scale").first.wait_for()
    assert visitor.page.get_by_label(EDIT_MODEL).is_checked()
    seed = visitor.page.input_value("#seed textarea, #seed input")
    assert f"seed {seed}," in visitor.take(1).inner_text()


@pytest.mark.slow
def test_takes_are_named_starred_and_deleted_after_a_question(visitor: Visitor, song: Path) -> None:
    visitor.open(song)
    visitor.set_up(steps=1)
    visitor.number("#num-takes", 2)
    visitor.page.click("#generate")
    visitor.take_named("Take 2").wait_for()
    visitor.status("")
    visitor.page.wait_for_function("document.querySelector('.take').getBoundingClientRect().top < innerHeight / 2")  # in view
    first, second = visitor.take_named("Take 1"), visitor.take_named("Take 2")
    first.get_by_role("button", name="star").click()
    first.get_by_label("name of take 1").fill("The good one")
    first.get_by_label("name of take 1").press("Enter")
    second.get_by_role("button", name="Delete").click()
    second.get_by_role("button", name="Really delete?").click()
    visitor.status("Deleted.")
    assert visitor.page.locator("#takes .take").count() == 1
    good = visitor.take_named("The good one")
    assert good.get_by_role("button", name="star").get_attribute("aria-pressed") == "true"
    visitor.page.click("#another-song")
    visitor.page.locator("#warning", has_text="Its 1 take will be deleted").wait_for()
    visitor.page.click("#keep-song")
    visitor.page.wait_for_selector("#song-file", state="hidden")
    assert good.is_visible()
    visitor.page.reload()
    good.wait_for()
    visitor.page.wait_for_selector("#waveform .region")
    assert visitor.page.input_value("#end :is(input, textarea)") == "0:06"
    good.get_by_role("button", name="Play", exact=True).click()
    assert playing_at(visitor, good) > 0


@pytest.mark.slow
def test_a_hum_is_the_melody(visitor: Visitor, song: Path, tmp_path: Path) -> None:
    hum, times = tmp_path / "hum.wav", np.arange(2 * 44_100) / 44_100
    write_audio(hum, np.sin(2 * np.pi * 220 * times)[None].astype(np.float32), 44_100)
    visitor.open(song)
    visitor.set_up(steps=2)
    visitor.page.get_by_label("hummed by me").check()
    visitor.page.click("#generate")
    visitor.error("hum the melody first")
    visitor.page.locator("#hum").get_by_role("button", name="Record", exact=True).click()
    visitor.page.wait_for_function("!document.querySelector('#waveform audio').paused")  # what it is hummed over
    visitor.page.locator("#hum").get_by_role("button", name="Stop", exact=True).first.click()
    visitor.page.wait_for_function("document.querySelector('#waveform audio').paused")
    visitor.page.locator("#hum").get_by_label("Clear").click()
    visitor.page.locator("#hum").get_by_label("Upload file").click()
    visitor.page.set_input_files("#hum input[type=file]", hum)
    visitor.page.locator("#hum").get_by_label("Clear").wait_for()
    visitor.page.click("#generate")
    card = visitor.take(1)
    assert "melody: your recording" in card.inner_text()
    notes, _ = read_midi(download(visitor, card.get_by_text("tune.mid"), tmp_path))
    assert {round(note.pitch) % 12 for note in notes} == {9}


# Of what can be pressed and is not as high as a finger is wide: 44 px. A radio or checkbox is pressed by its label.
SMALL_TARGETS = """() => [...document.querySelectorAll("button, a, select, audio, input, label:has(> input)")]
  .filter((target) => target.checkVisibility() && !target.matches("[type=radio], [type=checkbox], [type=file]"))
  .filter((target) => { const box = target.getBoundingClientRect(); return box.width > 1 && box.height > 1 && box.height < 43.5; })
  .filter((target) => !target.closest("#hum, #recording, .roll"))  // Gradio's own recorder; a note is a semitone high
  .map((target) => target.outerHTML.slice(0, 120))"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_melody_is_changed_as_notes(browser: Browser, server: Server, song: Path, tmp_path: Path, width: int) -> None:
    visitor, midi = Visitor(browser, server, MICROPHONE), tmp_path / "tune.mid"
    page, notes = visitor.page, visitor.page.locator("#notes .note")
    write_midi(midi, [Note(0.5, 1.5, 62), Note(2.0, 3.0, 65), Note(3.5, 5.0, 60)])
    page.set_viewport_size({"width": width, "height": 900})
    visitor.open(song)
    visitor.set_up(steps=1)
    page.get_by_label("a MIDI file").check()
    page.click("#notes .find")
    visitor.error("no MIDI file yet")
    page.set_input_files("#midi input[type=file]", midi)
    page.locator("#midi", has_text="tune.mid").wait_for()
    page.click("#notes .find")
    notes.first.wait_for()
    visitor.status("")
    assert shown(notes) == ["D4, 0.5 s to 1.5 s", "F4, 2.0 s to 3.0 s", "C4, 3.5 s to 5.0 s"]

    pull(visitor, notes.nth(1), 0.6, -2, by_touch=width == 390)
    later = seconds_of(notes.nth(1))
    assert shown(notes)[1].startswith("G4"), shown(notes)
    assert later == pytest.approx([2.6, 3.6], abs=0.11)
    pull(visitor, notes.nth(2), 0.5, 0, from_end=True)
    assert seconds_of(notes.nth(2)) == pytest.approx([max(3.5, later[1]), 5.5], abs=0.11)
    notes.first.focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowLeft", "Shift+ArrowRight"):
        page.keyboard.press(key)
    first = seconds_of(notes.first)
    assert shown(notes)[0].startswith("E4"), shown(notes)
    assert first[0] < 0.45
    assert first[1] - first[0] > 1.1
    for key in ("Tab", "Tab", "Delete"):
        page.keyboard.press(key)
    assert notes.count() == 2
    page.keyboard.press("Control+z")
    assert notes.count() == 3
    page.get_by_role("button", name="Add a note").click()
    assert notes.count() == 4
    page.get_by_role("button", name="Delete the note").click()
    visitor.screenshot(f"notes-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Hear it").click()
    page.wait_for_function("window.heard?.() > 0.02")
    page.get_by_role("button", name="Stop", exact=True).click()
    page.wait_for_function("window.heard() < 1e-4")

    names = shown(notes)
    page.reload()
    notes.first.wait_for()
    assert shown(notes) == names
    visitor.set_up(steps=1)
    page.get_by_label("a MIDI file").check()
    notes.first.wait_for()
    if width == 1280:
        page.click("#generate")
        card = visitor.take(1)
        assert "melody: your MIDI file, with the notes that were shown" in card.inner_text()
        sung, _ = read_midi(download(visitor, card.get_by_text("tune.mid"), tmp_path))
        assert [round(note.pitch) for note in sung] == [64, 67, 60]
        np.testing.assert_allclose([note.start for note in sung], [seconds_of(note)[0] for note in notes.all()], atol=0.06)
    visitor.context.close()


def shown(notes: Locator) -> list[str]:
    return [str(name) for name in notes.evaluate_all("notes => notes.map((note) => note.ariaLabel)")]


def seconds_of(note: Locator) -> list[float]:
    """When a shown note begins and ends."""
    return [float(time) for time in re.findall(r"([\d.]+) s", note.get_attribute("aria-label") or "")]


def pull(visitor: Visitor, note: Locator, later_s: float, rows: int, from_end: bool = False, by_touch: bool = False) -> None:
    """Drag a note of the 6 s to the right and downwards."""
    note.scroll_into_view_if_needed()
    box, lane = note.bounding_box(), visitor.page.locator("#notes .lane").bounding_box()
    assert box is not None
    assert lane is not None
    x, y = box["x"] + (box["width"] - 2 if from_end else 0.3 * box["width"]), box["y"] + box["height"] / 2
    path = [(x + share * later_s * lane["width"] / 6, y + share * rows * box["height"]) for share in np.linspace(0, 1, 6)]
    if by_touch:
        browser = visitor.context.new_cdp_session(visitor.page)
        browser.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
        for number, (left, top) in enumerate(path):
            kind, points = "touchMove" if number else "touchStart", [{"x": left, "y": top}]
            browser.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        browser.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        browser.detach()
    else:
        visitor.page.mouse.move(x, y)
        visitor.page.mouse.down()
        for left, top in path:
            visitor.page.mouse.move(left, top)
        visitor.page.mouse.up()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_use_it(visitor: Visitor, song: Path, width: int, scheme: Literal["light", "dark"]) -> None:
    """No violation that axe-core finds, with all that the page can show, and nothing wider than the screen."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    visitor.page.emulate_media(color_scheme=scheme)
    visitor.page.goto(f"{visitor.server.url}?__theme={scheme}")
    visitor.page.set_viewport_size({"width": width, "height": 900})
    visitor.open(song)
    visitor.set_up(steps=1, model=CONTROL_MODEL)
    visitor.page.get_by_label("hummed by me").check()
    visitor.page.click("#prepare")
    visitor.page.wait_for_selector("#edges canvas[data-ready]")
    visitor.status("")
    visitor.page.get_by_label("composed for the backing").check()
    visitor.page.wait_for_selector("#generate:enabled")  # the vocal is removed
    visitor.page.click("#notes .find")
    visitor.page.locator("#notes .note").first.click()
    visitor.status("")
    visitor.page.click("#generate")
    visitor.take(1)
    visitor.status("")
    visitor.screenshot(f"everything-{width}-{scheme}")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visitor.page.evaluate(SMALL_TARGETS) == []
    found = axe.Axe().run(visitor.page)
    assert len(found.response["passes"]) > 20  # rules that applied
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.slow
def test_the_keyboard_alone_leads_from_a_file_to_takes(visitor: Visitor, song: Path) -> None:
    """Tab reaches every control in the order of the page, and what has the focus shows it."""
    page, keys = visitor.page, visitor.page.keyboard

    def reach(place: str) -> None:
        for _ in range(60):
            keys.press("Tab")
            if page.evaluate("place => document.activeElement.matches(place)", place):
                ring = "getComputedStyle(document.activeElement).outlineStyle != 'none'"
                shown = "getComputedStyle(document.activeElement).boxShadow != 'none'"
                hidden = "document.activeElement.matches('[type=radio], [type=file]')"  # its label shows it
                assert page.evaluate(f"{ring} || {shown} || {hidden}"), place
                return
        raise AssertionError(f"Tab does not reach {place}: {page.evaluate('document.activeElement.outerHTML')}")

    choosers: list[FileChooser] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    for _ in range(20):  # a page that is still being built loses the focus
        reach("#song-file button")
        keys.press("Enter")
        page.wait_for_timeout(1000)
        if choosers:
            break
    choosers[0].set_files(song)
    page.wait_for_selector("#waveform .region")
    visitor.set_up(steps=1)
    page.locator("#another-song").focus()
    reach("#waveform .handle.end")
    before = page.locator("#waveform .times").inner_text()
    keys.press("ArrowLeft")
    keys.press("PageDown")
    assert page.locator("#waveform .times").inner_text() != before
    reach("#waveform .play-part")
    keys.press("Space")
    page.wait_for_function("!document.querySelector('#waveform audio').paused")
    keys.press("Space")
    reach("#snap input")
    keys.press("Space")
    visitor.page.wait_for_selector("#snap input:checked")
    reach("#prompt textarea")
    keys.press("Control+a")
    keys.type("a sad male vocal")
    reach("#model input")
    keys.press("ArrowDown")
    assert page.get_by_label(CONTROL_MODEL).is_checked()
    reach("#generate")
    keys.press("Enter")
    card = visitor.take(1)
    assert "Generate a sad male vocal" in card.inner_text()
    visitor.status("")
    reach("#takes .star")
    keys.press("Enter")
    reach("#takes .play")
    keys.press("Space")
    playing_at(visitor, card)
    reach("#takes .versions input")
    keys.press("ArrowRight")
    assert card.get_by_role("radio", name="vocal").is_checked()
    reach("#takes .vary")
    keys.press("Enter")
    other = visitor.take(3)
    seeds = {one.inner_text().split("seed ")[1].split(",")[0] for one in (card, other)}
    assert len(seeds) == 1


@pytest.mark.slow
def test_a_part_keeps_to_beats(visitor: Visitor) -> None:
    visitor.page.click("#demo-song")
    visitor.page.wait_for_selector("#waveform .region")
    visitor.page.get_by_label("Keep to beats").check()
    visitor.page.wait_for_function("!document.querySelector('#waveform .times').textContent.endsWith('(10.2 s)')")
    audio = read_audio(ROOT / "raw-audio" / "pop-0005.ogg")
    beats = beats_of(audio.waveform, audio.sample_rate).tolist()
    drag(visitor, "#waveform .handle.end", (0.5, 0.5), (-1.3, 0.5))
    for place in ("#start", "#end"):
        time_s = seconds(visitor.page.locator(f"{place} :is(input, textarea)").input_value())
        assert min(abs(time_s - beat) for beat in (0.0, *beats, 22.0)) < 0.011
    visitor.page.keyboard.press("ArrowLeft")  # to the beat before
    earlier = seconds(visitor.page.locator("#end :is(input, textarea)").input_value())
    assert time_s - earlier == pytest.approx(np.median(np.diff(beats)), abs=0.1)


@pytest.mark.slow
def test_a_slow_line_shows_what_is_coming(browser: Browser, server: Server) -> None:
    page = browser.new_context().new_page()
    page.route("**/assets/*.js", lambda route: None)  # never answered
    page.goto(server.url, wait_until="commit")
    page.wait_for_function("getComputedStyle(document.body, '::before').content.includes('riff-cnet is loading')")
    page.context.close()


@pytest.mark.slow
def test_bad_files_end_in_a_message(visitor: Visitor, song: Path, tmp_path: Path) -> None:
    noise, long, big = tmp_path / "noise.wav", tmp_path / "long.mp3", tmp_path / "big.wav"
    noise.write_bytes(b"this is no sound" * 50)
    visitor.drop(noise)
    message = visitor.error("cannot be read as audio")
    assert "noise.wav: cannot" in message
    assert "/" not in message
    assert "cannot be read as audio" in visitor.page.locator("#state [role=alert]").inner_text()
    visitor.screenshot("error")
    import soundfile

    soundfile.write(long, np.zeros(31 * 16_000), 16_000, format="MP3")
    visitor.drop(long)
    assert "long.mp3: lasts 0.5 minutes" in visitor.error("lasts")
    write_audio(big, np.zeros((2, 900_000), np.float32), 44_100)
    visitor.drop(big)
    visitor.error("maximum allowed size")
    visitor.open(song)


@pytest.mark.slow
def test_a_second_visitor_waits_and_a_closed_page_leaves_nothing(browser: Browser, server: Server, song: Path) -> None:
    first, second = Visitor(browser, server), Visitor(browser, server)
    for visitor in (first, second):
        visitor.open(song)
        visitor.set_up(steps=100)
    first.page.click("#generate")
    first.status(" of 100")
    second.page.click("#generate")
    second.status("1 job is before yours")
    second.screenshot("waiting")
    second.page.click("#cancel")
    second.status("Cancelled.")
    second.page.click("#generate")
    second.status("1 job is before yours")
    before = len(server.sessions())
    first.page.close()
    second.status(" of 100")
    second.context.close()
    deadline = time.monotonic() + 40  # RELOAD_S and more
    while len(server.sessions()) > before - 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(server.sessions()) <= before - 2
    assert not [path for path in server.folder.glob("riff-app-*/uploads/**/*") if path.is_file() and path.stat().st_size > 0]
    first.context.close()


@pytest.mark.slow
def test_visitors_fetch_their_own_files_only(visitor: Visitor, browser: Browser, server: Server, song: Path) -> None:
    visitor.open(song)
    own = next(request.url for request in visitor.requests if "/files/" in request.url).removeprefix(server.url)
    upload = next(path for path in server.sessions() if path.name in own) / "rock.ogg"
    assert upload.is_file()
    assert visitor.fetch(own) == 200
    stranger = Visitor(browser, server)
    assert stranger.fetch(own) == 404
    for path in (upload, "/etc/passwd", ROOT / "README.md", server.folder / "log", "https://example.org/", "../README.md"):
        assert {one.fetch(f"gradio_api/file={path}") for one in (visitor, stranger)} == {404}
    statuses = [
        stranger.fetch(path) for path in ("gradio_api/info", "docs", "openapi.json", "gradio_api/openapi.json", "monitoring")
    ]
    assert set(statuses) == {404}
    stranger.context.close()


@pytest.mark.slow
def test_a_recording_is_a_song(visitor: Visitor) -> None:
    visitor.page.get_by_role("tab", name="Record").click()
    visitor.page.get_by_role("button", name="Record", exact=True).click()
    time.sleep(1.5)
    visitor.page.get_by_role("button", name="Stop", exact=True).first.click()
    visitor.page.wait_for_selector("#waveform .region")
    assert seconds(visitor.page.locator("#end :is(input, textarea)").input_value()) > 0.8


@pytest.mark.slow
def test_screenshot_of_the_page(visitor: Visitor) -> None:
    """Makes docs/app.png where APP_SCREENSHOTS is docs."""
    visitor.page.click("#demo-song")
    visitor.page.wait_for_selector("#waveform .region")
    visitor.number("#start", 5)
    visitor.number("#end", "0:15.2")
    visitor.page.click("#generate")
    visitor.take(2)
    visitor.status("")
    visitor.page.locator("#takes img").evaluate_all("images => Promise.all(images.map(image => image.decode()))")
    visitor.screenshot("app")
    path = SCREENSHOTS / "app.png"
    Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < 300_000
