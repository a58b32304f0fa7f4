"""The experiment `melody`: a guide at full strength sings the tune, and without one that is chance."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.evaluation import demo_clips
from riff.experiments import melody
from riff.experiments.experiment import load_evaluation


def test_the_guide_is_the_ceiling(tiny_control: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(melody, "STRENGTHS", (0.5,))
    monkeypatch.setattr(melody, "can_hear", lambda say: False)  # weights that a machine may not have
    result = melody.EXPERIMENT.measure(load_evaluation(str(tiny_control), demo_clips(11, 1), steps=1), {})
    means = result.means
    assert list(means) == ["free", "0.5", "edges 0", "edges 0.3", "edges 0.5", "guide", "true vocal"]
    assert means["guide"]["raw_chroma_accuracy"] >= means["guide"]["raw_pitch_accuracy"] > 0.8
    assert means["free"]["raw_pitch_accuracy"] < 0.3
    assert "raw_pitch_accuracy" not in means["true vocal"]
    assert 0.3 < means["guide"]["alike"] < 1  # other vowels
