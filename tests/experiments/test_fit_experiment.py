"""The experiment `fit`: the rows stand between chance and the true vocals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from demo.evaluation import demo_clips
from riff.errors import DataError
from riff.experiments.experiment import load_evaluation
from riff.experiments.fit import COMPOSED, EXPERIMENT, MODEL, OTHERS, TRUE, score_vocals


def test_true_vocals_fit_better_than_over_other_songs(tiny_edit) -> None:
    evaluation = load_evaluation(str(tiny_edit), demo_clips(12, 3), steps=1)
    result = EXPERIMENT.measure(evaluation, {})
    means = result.means
    assert list(means) == [MODEL, MODEL + OTHERS, COMPOSED, COMPOSED + OTHERS, TRUE, TRUE + OTHERS]
    assert means[TRUE]["harmony"] > means[TRUE + OTHERS]["harmony"]
    assert means[TRUE]["rhythm"] > means[TRUE + OTHERS]["rhythm"]
    assert means[TRUE]["harmony_share"] == means[TRUE]["rhythm_share"] == 1
    assert means[TRUE]["alike"] < 0.5
    assert means[MODEL]["fits"] == 0  # random weights make no melody
    assert len(result.shown) == 9
    with pytest.raises(DataError, match="two songs or more"):
        EXPERIMENT.run(replace(evaluation, clips=evaluation.clips[:1]))


def test_a_backing_without_onsets_leaves_chance_over_the_others_known() -> None:
    first, second = demo_clips(12, 2)
    noise = np.random.default_rng(0).normal(0, 0.1, first.mix.shape).astype(np.float32)
    third = replace(first, name="noise", accompaniment=noise, mix=noise + first.mix - first.accompaniment)
    clips = [first, second, third]
    scores = {(one.clip, one.row): one.scores for one in score_vocals(clips, TRUE, [clip.mix_image for clip in clips])}
    assert "rhythm" not in scores["noise", TRUE]
    assert {"harmony", "rhythm"} <= set(scores[second.name, TRUE + OTHERS])
