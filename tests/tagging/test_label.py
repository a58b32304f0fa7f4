"""Songs that describe themselves: words, prompt files, and the page to correct them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import librosa
import numpy as np
import pytest
from html_page import Page
from musicnn_folder import write_networks

import make_cnet_dataset
import preprocess_musdb
from riff.audio.io import read_audio, write_audio
from riff.data.records import read_prompts
from riff.errors import ModelError, OptionError, RiffError
from riff.metrics.voice_heard import can_hear
from riff.pairs.instructions import read_edit_prompts
from riff.tagging import label
from riff.tagging.label import LEAST_VOICE, NO_VOICE, WORDS, Word, listen, write_prompt
from riff.tagging.musicnn import MSD_TAGS, MTT_TAGS
from riff.tagging.tags import FEMALE, MALE, NO_SINGING, SINGING, Tags, find_weights
from tools import label_songs

RATE = 44_100
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_networks(folder)
    return folder


@pytest.fixture(scope="module")
def four(songs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 5.2 s of each of the four songs, as mixtures with their stems."""
    folder = tmp_path_factory.mktemp("four")
    for file in songs.glob("*/*.wav"):
        audio = read_audio(file)
        write_audio(folder / file.relative_to(songs), audio.waveform[:, : round(5.2 * RATE)], audio.sample_rate)
    return folder


@pytest.fixture
def tagger(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tagger with random weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def some_tags(**values: float) -> Tags:
    """Every tag at 0.1 but these; `_` stands for a space."""
    given = {name.replace("_", " "): value for name, value in values.items()}
    return Tags(*({name: given.get(name, 0.1) for name in tags.split("|")} for tags in (MTT_TAGS, MSD_TAGS)))


def lines_of(path: Path) -> dict[str, dict]:
    return {line["file"]: line for line in map(json.loads, path.read_text().splitlines())}


# words


@pytest.mark.parametrize(
    ("words", "prompt"),
    [
        ({"tempo": "up-tempo", "voice": "female", "style": "rock"}, "Generate an up-tempo female vocal rock melody"),
        ({"mood": "sad", "voice": "male", "style": "pop"}, "Generate a sad male vocal pop melody"),
        ({"mood": "intense"}, "Generate an intense vocal melody"),
        ({"tempo": "slow", "voice": NO_VOICE}, "Generate a slow instrumental melody"),
        ({}, "Generate a vocal melody"),
    ],
)
def test_prompts_are_worded_as_by_hand(words: dict[str, str], prompt: str) -> None:
    assert write_prompt(words) == prompt
    assert write_prompt(words, "edit") == prompt.replace("Generate", "add")


@pytest.mark.parametrize(
    ("tempo", "tags", "word"),
    [
        (152, some_tags(slow=0.01, fast=0.2), "up-tempo"),
        (152, some_tags(slow=0.4, fast=0.005), "slow"),  # its off-beats were taken for beats
        (100, some_tags(slow=0.01, fast=0.2), "mid-tempo"),
        (70, some_tags(slow=0.4, fast=0.005), "slow"),
        (70, some_tags(slow=0.01, fast=0.2), "up-tempo"),
    ],
)
def test_the_tempo_of_clicks_is_told_and_tags_choose_its_octave(tempo: int, tags: Tags, word: str) -> None:
    clicks = librosa.clicks(times=np.arange(0, 15, 60 / tempo), sr=RATE, length=15 * RATE)[None].astype(np.float32)
    found = label._tempo(clicks, RATE, tags)
    assert found.word == word
    assert found.confidence > label.SURE


def test_a_tempo_on_the_boundary_is_not_sure() -> None:
    clicks = librosa.clicks(times=np.arange(0, 15, 60 / 115), sr=RATE, length=15 * RATE)[None].astype(np.float32)
    assert label._tempo(clicks, RATE, some_tags()).confidence < label.SURE


def test_silence_has_no_tempo() -> None:
    assert label._tempo(np.zeros((2, 5 * RATE), np.float32), RATE, some_tags()).confidence == 0


@pytest.mark.parametrize("gender", ["female", "male"])
def test_a_voice_is_what_the_vocal_has_and_the_backing_has_not(gender: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {"female": FEMALE, "male": MALE}[gender]
    singing = dict.fromkeys(SINGING, 0.4) | dict.fromkeys(NO_SINGING, 0.02) | dict.fromkeys(theirs, 0.4)
    voice, band = Tags(some_tags().mtt | singing, some_tags().msd), some_tags()
    vocals = np.random.default_rng(0).normal(0, 0.1, (1, 4 * RATE)).astype(np.float32)
    monkeypatch.setattr(label, "tag", lambda waveform, rate: voice)
    assert label._voice(vocals, vocals, RATE, voice, band).word == gender
    monkeypatch.setattr(label, "tag", lambda waveform, rate: band)  # what a separator leaves of an instrumental
    assert label._voice(vocals, vocals, RATE, band, band).word == NO_VOICE
    assert label._voice(0.5 * LEAST_VOICE * vocals, vocals, RATE, voice, band) == Word(NO_VOICE, 1.0)


def test_the_voice_is_heard_where_it_is_loudest() -> None:
    song = np.full((2, 1000), 0.01, np.float32)
    song[:, 600:700] = 0.5
    part = label._loudest(song, 100)
    assert part.shape == (2, 100)
    assert part.mean() == pytest.approx(0.5)
    assert label._loudest(song, 2000) is song


@pytest.mark.usefixtures("tagger")
def test_a_song_without_a_backing_is_labelled_too() -> None:
    vocals = np.random.default_rng(0).normal(0, 0.1, (2, 4 * RATE)).astype(np.float32)
    assert set(listen(vocals, np.zeros_like(vocals), RATE)) == set(WORDS)


@pytest.mark.real
def test_real_weights_hear_the_demo_singers(monkeypatch: pytest.MonkeyPatch) -> None:
    from demo.world.compose import compose

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    song = compose(5, 3, 12.0)
    vocals = song.stems["vocals"]
    words = listen(vocals, song.mixture - vocals, song.sample_rate)
    assert words["style"].word == "electronic" == song.facts["style"]
    assert words["voice"].word == song.facts["gender"]
    assert listen(0 * vocals, song.mixture - vocals, song.sample_rate)["voice"].word == NO_VOICE


# the command


@pytest.mark.usefixtures("tagger")
def test_the_command_labels_a_folder_and_resumes(four: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, page = tmp_path / "prompts.json", tmp_path / "review.html"
    flags = ["--audio_dir", str(four), "--output", str(output), "--review", str(page)]
    assert label_songs.main(flags) == 0
    assert "4 songs labelled" in capsys.readouterr().out
    prompts = read_prompts(output)
    assert set(prompts) == {path.parent.name for path in four.glob("*/mixture.wav")}
    assert all(prompt.startswith("Generate a") and prompt.endswith("melody") for prompt in prompts.values())
    for line in lines_of(output).values():
        sure = {kind: found["word"] for kind, found in line["words"].items() if found["confidence"] >= label.SURE}
        assert line["prompt"] == write_prompt(sure)
    first, *others = lines_of(output)
    output.write_text(json.dumps({"file": f"{first}.wav", "prompt": "mine"}) + "\n")  # labels for one song only
    assert label_songs.main(flags) == 0
    assert "3 songs labelled" in capsys.readouterr().out
    assert lines_of(output)[f"{first}.wav"]["prompt"] == "mine"
    assert set(lines_of(output)) == {f"{first}.wav", *others}
    assert label_songs.main([*flags, "--overwrite"]) == 0
    assert read_prompts(output) == prompts


@pytest.mark.usefixtures("tagger")
def test_the_page_plays_every_song_and_knows_the_file(four: Path, tmp_path: Path) -> None:
    page = make_page(four, tmp_path)
    found = Page(page)
    assert found.open == []
    sounds = [link for link in found.links() if not link.startswith("#")]
    assert sorted((page.parent / link).resolve() for link in sounds) == sorted(four.resolve().glob("*/mixture.wav"))
    prompts = [attributes["value"] for tag, attributes in found.tags if attributes.get("class") == "prompt"]
    assert prompts == list(read_edit_prompts_of(tmp_path).values())


def make_page(songs: Path, folder: Path) -> Path:
    flags = ["--audio_dir", str(songs), "--output", str(folder / "prompts.json"), "--review", str(folder / "review.html")]
    assert label_songs.main([*flags, "--template", "edit"]) == 0
    return folder / "review.html"


def read_edit_prompts_of(folder: Path) -> dict[str, str]:
    return {song: prompts[0] for song, prompts in read_edit_prompts(folder / "prompts.json").items()}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; install one (Debian: apt install chromium)")
@pytest.mark.slow
@pytest.mark.usefixtures("tagger")
def test_a_corrected_page_saves_the_file(four: Path, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="drives a browser: pip install playwright")
    page = make_page(four, tmp_path)
    before = read_edit_prompts_of(tmp_path)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        tab.goto(page.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        for kind, word in (("tempo", "up-tempo"), ("mood", ""), ("voice", "female"), ("style", "ska")):
            tab.locator(f"fieldset >> nth=0 >> [data-word={kind}]").fill(word)
        tab.locator(".prompt >> nth=1").fill("add  a yodel ")
        tab.locator(".prompt >> nth=2").fill("")
        with tab.expect_download() as saving:
            tab.get_by_role("button", name="Save prompts.json").click()
        saving.value.save_as(tmp_path / "prompts.json")
        browser.close()
    first, second, _, fourth = before
    assert read_edit_prompts_of(tmp_path) == {
        first: "add an up-tempo female vocal ska melody",
        second: "add  a yodel",
        fourth: before[fourth],
    }


def add_bad_songs(folder: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 4 * RATE)).astype(np.float32)
    write_audio(folder / "good.wav", noise, RATE)
    write_audio(folder / "short.wav", noise[:, :RATE], RATE)
    write_audio(folder / "silent.wav", 0 * noise, RATE)
    (folder / "text.wav").write_text("no sound")


@pytest.mark.usefixtures("tagger")
def test_bad_songs_are_named_and_the_good_one_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "songs").mkdir()
    add_bad_songs(tmp_path / "songs")
    flags = ["--audio_dir", str(tmp_path / "songs"), "--output", str(tmp_path / "prompts.json"), "--separator", "repet"]
    assert label_songs.main(flags) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    for name, reason in (("short.wav", "lasts 1.00 s"), ("silent.wav", "is silent"), ("text.wav", "cannot be read")):
        assert any(name in line and reason in line for line in errors), errors
    assert list(lines_of(tmp_path / "prompts.json")) == ["good.wav"]
    assert "1 songs labelled" in captured.out


def test_what_cannot_begin_says_why(cache: Path, songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(folder: Path, output: Path, *more: object) -> str:
        with pytest.raises(RiffError) as caught:
            label_songs.main(list(map(str, ("--audio_dir", folder, "--output", output, *more))))
        return str(caught.value)

    (tmp_path / "empty").mkdir()
    assert "holds no songs" in refused(tmp_path / "empty", tmp_path / "prompts.json")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nothing"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE forbids" in refused(songs, tmp_path / "prompts.json")
    assert not (tmp_path / "prompts.json").exists()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    (tmp_path / "edits.json").write_text('{"file": "a", "edit_prompt": "add a voice"}\n')
    assert 'without "file" or "prompt"' in refused(songs, tmp_path / "edits.json")
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    assert "no page of labels" in refused(songs, tmp_path / "prompts.json", "--review", tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"choose another place, for instance with XDG_CACHE_HOME"):
        find_weights()
    lines: list[str] = []
    assert not can_hear(lines.append)
    assert len(lines) == 1


# prompts of pairs


@pytest.mark.usefixtures("tagger")
def test_pairs_take_prompts_by_listening(four: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--audio_dir", str(four), "--prompt_file", "auto", "--train_data_dir", str(tmp_path), "--num_workers", "1"]
    assert make_cnet_dataset.main([*flags, "--no-pitch_augment"]) == 0
    assert len(lines_of(tmp_path / label.LABELS_FILE)) == 4
    assert "no prompt for this song" not in capsys.readouterr().err


@pytest.mark.usefixtures("tagger")
def test_edit_pairs_take_instructions_by_listening(four: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--root_data_dir", str(four), "--output_dir", str(tmp_path), "--num_workers", "1", "--frame_len_seconds", "2.55"]
    assert preprocess_musdb.main([*flags, "--prompt_file", "auto"]) == 0
    prompts = read_edit_prompts(tmp_path / label.LABELS_FILE)
    records = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert records
    assert all(record["edit_prompt"] in prompts[record["song"]] for record in records)
    with pytest.raises(OptionError, match="describes vocals"):
        preprocess_musdb.main([*flags, "--prompt_filepath", "auto", "--gen_stem", "drums"])
