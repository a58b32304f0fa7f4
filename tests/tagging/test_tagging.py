"""musicnn on PyTorch: agreement with the original, what its input is, and where its weights come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from make_musicnn_reference import SAMPLE_RATE, signal
from musicnn_folder import random_weights

from riff.errors import AudioError, ModelError
from riff.tagging import tags
from riff.tagging.musicnn import MTT_TAGS, N_MELS, PATCH, Musicnn, log_mel_patches

PATCH_SAMPLES = 187 * 256


def test_the_input_is_whole_patches_of_log_mel() -> None:
    patches = log_mel_patches(np.tile(signal(), (2, 1)), SAMPLE_RATE)
    assert patches.shape == (2, PATCH, N_MELS)
    assert patches.dtype == np.float32
    assert patches.min() >= 0
    half = log_mel_patches(0.5 * signal()[None], SAMPLE_RATE)
    loud = patches > 3
    np.testing.assert_allclose((patches - half)[loud], np.log10(4), atol=0.01)  # a quarter of the energy


def test_too_short_and_silent_recordings_are_named() -> None:
    with pytest.raises(AudioError, match=r"lasts 1\.00 s; tags need at least 3\.0 s"):
        tags.tag(signal()[None, :SAMPLE_RATE], SAMPLE_RATE)
    with pytest.raises(AudioError, match="silent"):
        tags.tag(np.zeros((2, 10 * SAMPLE_RATE), np.float32), SAMPLE_RATE)


@pytest.mark.parametrize("name", ["conv2d_5/kernel", "batch_normalization_9/gamma"])
def test_a_checkpoint_of_something_else_is_named(name: str) -> None:
    weights = random_weights()
    assert Musicnn(weights, MTT_TAGS, "here").tags[0] == "guitar"
    for wrong in ({}, {name: weights[name][:1]}, {name: np.full_like(weights[name], np.nan)}):
        with pytest.raises(ModelError, match=f"here: no musicnn checkpoint \\({name} is missing or invalid"):
            Musicnn({key: value for key, value in (weights | wrong).items() if wrong or key != name}, MTT_TAGS, "here")


def test_offline_says_how_to_fetch_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids"):
        tags.tag(signal()[None], SAMPLE_RATE, tmp_path / "musicnn")
    assert not (tmp_path / "musicnn").exists()


@pytest.mark.real
def test_the_original_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    reference = json.loads((ROOT / "tests/tagging/musicnn_reference.json").read_text())
    found = tags.tag(signal()[None], SAMPLE_RATE)
    for ours, theirs in zip(found, (reference["MTT_musicnn"], reference["MSD_musicnn"]), strict=True):
        np.testing.assert_allclose(list(ours.values()), theirs, atol=1e-4)
