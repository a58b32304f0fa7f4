"""Prompts beyond what the text encoder reads: a warning, once, names the words that are left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import CLIPTokenizer

from demo.tokenizer import train_tokenizer
from riff.models import encoders
from riff.models.control import attach_control
from riff.models.edit import attach_edit
from riff.models.encoders import warn_of_long, words_left_out
from riff.models.loading import load_base
from riff.sampling.edit import sample_edit
from riff.sampling.options import EditOptions, SamplingOptions
from riff.sampling.pipelines import image_to_image_pipeline, prepare_pipeline, sample_control, sample_image_to_image
from riff.sampling.song import SongModel, SongSampler
from riff.spectrogram.edges import save_edges
from riff.spectrogram.image import SpectrogramImage, save_image
from riff.training.control import prepare_control_data

LONG = "Generate a sad male vocal pop melody " * 12 + "with a trumpet"
IMAGE = np.full((512, 512), 255, np.uint8)


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    encoders._warn_once.cache_clear()
    yield
    encoders._warn_once.cache_clear()


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return train_tokenizer(["Generate a sad male vocal pop melody with a trumpet and a violin"])


def test_what_is_left_out_is_what_truncation_drops(tokenizer: CLIPTokenizer) -> None:
    tails = words_left_out(tokenizer, ["short", LONG, LONG, ""])
    assert list(tails) == [LONG]
    assert tails[LONG].endswith("with a trumpet")
    kept = tokenizer.decode(tokenizer(LONG, truncation=True).input_ids[1:-1]).split()
    assert kept + tails[LONG].split() == LONG.lower().split()


def test_the_limit_is_the_tokenizers_own(tokenizer: CLIPTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "model_max_length", 6)
    assert words_left_out(tokenizer, ["sad male vocal pop", "sad male vocal pop melody"]) == {"sad male vocal pop melody": "melody"}


def test_a_set_of_prompts_is_one_line(tokenizer: CLIPTokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        warn_of_long(tokenizer, [LONG, f"{LONG} and a violin", "short"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("2 prompts are longer than the 77 tokens that the model reads; of the first, this is left out: ")


def test_sampling_says_it(tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One clip of either kind, from another image, and whole songs, by either text."""
    control = prepare_pipeline(attach_control(load_base(str(tiny_base))))
    edit = prepare_pipeline(attach_edit(load_base(str(tiny_base))))
    quick, negative = SamplingOptions(steps=1), SamplingOptions(steps=1, negative_prompt=LONG)
    ways: list[Any] = [
        lambda text: sample_control(control, [IMAGE] * 2, [text] * 2, [0, 1], quick),
        lambda text: sample_control(control, [IMAGE], ["short"], [0], negative if text == LONG else quick),
        lambda text: sample_edit(edit, [IMAGE], [text], [0], EditOptions(steps=1)),
        lambda text: SongSampler(SongModel(control, quick, "mix"), SpectrogramImage(IMAGE, 1.0), text).sample(0),
        lambda text: sample_image_to_image(image_to_image_pipeline(control), [IMAGE], [text], [0], quick, 1.0),
    ]
    for way in ways:
        encoders._warn_once.cache_clear()
        way("short")
        assert capsys.readouterr().err == ""
        way(LONG)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("the prompt is longer than the 77 tokens that the model reads; this is left out: ")


def test_training_data_says_it(tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = []
    for number, prompt in enumerate([LONG, f"{LONG} and drums", "short"]):
        record = {"source": f"source/{number}.png", "target": f"target/{number}.png", "prompt": prompt, "song": str(number)}
        save_edges(tmp_path / record["source"], np.zeros((512, 512), np.uint8))
        save_image(tmp_path / record["target"], SpectrogramImage(IMAGE, 1.0))
        lines.append(json.dumps(record) + "\n")
    (tmp_path / "prompt.json").write_text("".join(lines))
    prepare_control_data(tmp_path, "", attach_control(load_base(str(tiny_base))), "cpu", 0.3)
    assert "2 prompts are longer than the 77 tokens" in capsys.readouterr().err
