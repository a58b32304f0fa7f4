"""CLAP's real classes at a small size: embeddings, scores, and the warning without a model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from riff.errors import DataError, ModelError
from riff.metrics.clap import DEFAULT_CLAP, Clap, clap_scores, load_clap, optional_clap

RATE = 44_100  # Hz


@pytest.fixture(scope="module")
def clap(tiny_clap: Path) -> Clap:
    return load_clap(str(tiny_clap))


def tone(hertz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_embeddings_have_unit_length_and_belong_to_their_sounds_in_any_batch(clap):
    sounds = [tone(200 * index, seconds) for index, seconds in enumerate((1, 5.11, 10, 3, 2, 4, 1.5, 6, 2.5, 12), start=1)]
    together = clap.embed_sounds(sounds, RATE)
    assert together.shape == (10, 8)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    one_by_one = np.concatenate([clap.embed_sounds([sound], RATE) for sound in sounds])
    np.testing.assert_allclose(together, one_by_one, atol=1e-4)
    assert np.ptp(together, axis=0).max() > 0.01
    assert clap.embed_sounds([], RATE).shape == clap.embed_texts([]).shape == (0, 8)


def test_channels_are_mixed_and_the_rate_is_the_models(clap):
    mono = tone(440, 2)
    expected = clap.embed_sounds([mono], RATE)
    np.testing.assert_allclose(clap.embed_sounds([np.stack([mono, mono])], RATE), expected, atol=1e-5)
    np.testing.assert_allclose(clap.embed_sounds([tone(440, 2, 48_000)], 48_000), expected, atol=1e-2)


def test_long_sounds_are_heard_whole_and_always_alike(clap):
    low, high = tone(100, 10, 48_000), tone(9000, 5, 48_000)
    apart = clap.embed_sounds([low, high], 48_000)
    whole = clap.embed_sounds([np.concatenate([low, high])], 48_000)
    expected = 2 * apart[0] + apart[1]
    np.testing.assert_allclose(whole[0], expected / np.linalg.norm(expected), atol=1e-5)
    np.testing.assert_array_equal(whole, clap.embed_sounds([np.concatenate([low, high])], 48_000))


def test_a_score_is_the_cosine_of_a_sound_and_its_own_text(clap):
    sounds, texts = [tone(300, 2), tone(2000, 2)], ["a low tone", "a high tone, and more of it"]
    scores = clap_scores(clap, sounds, texts, RATE)
    cosines = clap.embed_sounds(sounds, RATE) @ clap.embed_texts(texts).T
    np.testing.assert_allclose(scores, np.diag(cosines), atol=1e-5)
    np.testing.assert_allclose(clap_scores(clap, sounds[::-1], texts[::-1], RATE), scores[::-1], atol=1e-4)
    assert (np.abs(scores) <= 1).all()


def test_what_cannot_be_scored_is_refused(clap):
    with pytest.raises(DataError, match="one text a sound"):
        clap_scores(clap, [tone(300, 1)], ["one", "two"], RATE)
    with pytest.raises(DataError, match="sound 2 holds no samples"):
        clap.embed_sounds([tone(300, 1), np.zeros((1, 0), np.float32)], RATE)
    with pytest.raises(DataError, match="not finite"):
        clap.embed_sounds([np.full((1, 100), np.nan, np.float32)], RATE)


def test_without_the_model_an_evaluation_goes_on_after_one_line(tmp_path):
    program = "from riff.metrics.clap import *; print(*(optional_clap(name, 'cpu', print) for name in {}))"
    names = [str(tmp_path / "nothing"), DEFAULT_CLAP]
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program.format(names)], env=offline, capture_output=True, text=True, check=True, timeout=300
    )
    missing, unreachable, result = done.stdout.splitlines()
    assert "nothing: no such folder" in missing
    assert f"hf download {DEFAULT_CLAP}" in unreachable
    assert result == "None None"


def test_a_model_that_is_there_is_loaded_without_a_word(tiny_clap):
    messages: list[str] = []
    assert isinstance(optional_clap(str(tiny_clap), "cpu", messages.append), Clap)
    assert messages == []


def test_other_weights_are_no_clap(tiny_clap, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_clap, other)
    weights = {name: tensor for name, tensor in load_file(other / "model.safetensors").items() if "text_model" not in name}
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="not the weights of a CLAP model"):
        load_clap(str(other))
    torch.save(weights, other / "pytorch_model.bin")
    (other / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        load_clap(str(other))
