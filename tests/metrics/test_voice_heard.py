"""Is a voice heard that was not there? Known voices and instruments, and what has no answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from musicnn_folder import write_networks

from riff.errors import AudioError, DataError
from riff.metrics.voice_heard import SILENT_SINGING, VoiceHeard, can_hear, hear_voice

RATE = 44_100
NOISE = np.random.default_rng(0).normal(0, 0.1, (2, 4 * RATE)).astype(np.float32)


@pytest.fixture
def tagger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tagger with random weights."""
    write_networks(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.usefixtures("tagger")
def test_nothing_added_is_the_floor() -> None:
    heard = hear_voice(NOISE, NOISE, RATE)
    assert heard[:2] == (0.0, SILENT_SINGING)
    assert not heard.heard
    assert heard.scores("add a male vocal") == {"voice_heard": 0.0, "voice_rise": 0.0, "voice_alone": SILENT_SINGING}


@pytest.mark.usefixtures("tagger")
def test_a_silent_accompaniment_and_all_silent_are_judged_too() -> None:
    assert np.isfinite(hear_voice(NOISE, 0 * NOISE, RATE)[:3]).all()
    assert hear_voice(0 * NOISE, 0 * NOISE, RATE)[:2] == (0.0, SILENT_SINGING)


@pytest.mark.usefixtures("tagger")
def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="cut them to the same length"):
        hear_voice(NOISE, NOISE[:, 1:], RATE)
    with pytest.raises(AudioError, match=r"lasts 1\.00 s"):
        hear_voice(NOISE[:, :RATE], NOISE[:, :RATE] / 2, RATE)


@pytest.mark.parametrize(
    ("heard", "prompt", "right"),
    [
        (VoiceHeard(2, 2, 3, 65), "add a female vocal", {"gender_heard": 1.0, "pyin_register": 1.0}),
        (VoiceHeard(2, 2, 3, 50), "add a male vocal", {"gender_heard": 0.0, "pyin_register": 1.0}),
        (VoiceHeard(2, 2, -3, float("nan")), "add a male vocal", {"gender_heard": 1.0, "pyin_register": 0.0}),
        (VoiceHeard(2, 2, 3, 65), "add a vocal", {}),
        (VoiceHeard(2, -2, 3, 65), "add a female vocal", {}),  # an instrument has no gender
        (VoiceHeard(-2, 2, 3, 65), "add a female vocal", {}),
    ],
)
def test_gender_is_scored_where_one_is_asked_for_and_a_voice_is_heard(
    heard: VoiceHeard, prompt: str, right: dict[str, float]
) -> None:
    scores = heard.scores(prompt)
    assert {name: scores[name] for name in scores if not name.startswith("voice")} == right
    assert scores["voice_heard"] == float(heard.rise > 0 < heard.alone)


def test_without_weights_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lines: list[str] = []
    assert not can_hear(lines.append)
    assert len(lines) == 1
    assert "left out: musicnn's weights are not in" in lines[0]


@pytest.mark.real
def test_real_weights_hear_a_vocal_and_no_drums(monkeypatch: pytest.MonkeyPatch) -> None:
    from demo.world.compose import compose

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    song, other = compose(5, 3, 6.0), compose(5, 1, 6.0)
    accompaniment = song.mixture - song.stems["vocals"]
    assert hear_voice(song.mixture, accompaniment, song.sample_rate).heard
    assert not hear_voice(accompaniment + other.stems["drums"], accompaniment, song.sample_rate).heard
