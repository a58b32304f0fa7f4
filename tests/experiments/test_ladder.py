"""The ladder: whose vocals make its rungs, what they score, and which metrics order them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.evaluation import demo_clips
from riff.errors import DataError
from riff.experiments.clips import ReferenceClip
from riff.experiments.experiment import ScoredImage, mean_scores
from riff.experiments.ladder import AGAINST_BACKING, HEARD, LADDER_METRICS, PRESENCE, misordered, score_rungs
from riff.experiments.rungs import RUNGS, random_partners, retrieve_partners, same_tempo, vocal_of
from riff.spectrogram.params import STANDARD

RATE = 44_100  # Hz


def chords(notes: tuple[int, ...], beats_a_minute: float, name: str, vocal: float = 0.0) -> ReferenceClip:
    """Four seconds of a chord (MIDI numbers) struck on every beat, under a vocal that is a constant, to be told by it."""
    time = np.arange(4 * RATE) / RATE
    since_beat = time % (60 / beats_a_minute)
    tones = np.sum([np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * time) for note in notes], axis=0)
    hit = np.random.default_rng(0).standard_normal(len(time)) * np.exp(-since_beat / 0.01)
    backing = (0.1 * tones * np.exp(-3 * since_beat) + 0.1 * hit).astype(np.float32)[None]
    return ReferenceClip(name, "a song", backing + np.float32(vocal), backing)


C_MAJOR, F_SHARP_MAJOR = (60, 64, 67), (54, 58, 61)


# Partners


@given(st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_random_partners_are_others_each_once(count, seed):
    clips = [ReferenceClip(str(index), "", np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32)) for index in range(count)]
    partners = random_partners(clips, seed)
    assert sorted(partners) == list(range(count))
    assert all(own != other for own, other in enumerate(partners))
    assert partners == random_partners(clips, seed)


def test_the_partner_has_the_same_tempo_and_of_those_the_nearest_key():
    clips = [
        chords(C_MAJOR, 120, "own"),
        chords(C_MAJOR, 95, "same key, other tempo"),
        chords(F_SHARP_MAJOR, 120, "other key, same tempo"),
        chords((60, 64, 69), 120, "related key, same tempo"),
    ]
    assert retrieve_partners(clips)[0] == 3
    assert retrieve_partners(clips[:3])[0] == 2
    assert retrieve_partners(clips[:2])[0] == 1  # there is no other


def test_of_equal_partners_the_first_by_name_is_taken():
    clips = [chords(C_MAJOR, 120, name) for name in ("own", "b", "a", "c")]
    assert [clips[other].name for other in retrieve_partners(clips)] == ["a", "a", "b", "a"]


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [(120, 128, True), (120, 140, False), (120, 61, True), (61, 120, True), (120, 30, False), (0, 0, True), (0, 120, False)],
)
def test_tempos_agree_within_eight_percent_and_in_halves_and_doubles(ours, theirs, same):
    assert same_tempo(ours, theirs) is same


def test_a_vocal_takes_the_shape_of_its_new_clip():
    other = chords(C_MAJOR, 120, "other", vocal=0.25)
    np.testing.assert_allclose(vocal_of(other, 2, 1000), np.full((2, 1000), 0.25), atol=1e-6)
    longer = vocal_of(other, 1, 5 * RATE)
    assert longer.shape == (1, 5 * RATE)
    np.testing.assert_allclose(longer[0, [0, 4 * RATE - 1]], 0.25, atol=1e-6)
    assert not longer[0, 4 * RATE :].any()


def test_a_single_song_has_no_partner():
    for partners in (random_partners, retrieve_partners):
        with pytest.raises(DataError, match="give two or more"):
            partners([chords(C_MAJOR, 120, "alone")])


# Rungs


@pytest.fixture(scope="module")
def clips() -> list[ReferenceClip]:
    """1.2 s of three demo songs."""
    part = slice(0, STANDARD.clip_samples(121))
    return [ReferenceClip(clip.name, clip.prompt, clip.mix[:, part], clip.accompaniment[:, part]) for clip in demo_clips(3, 3)]


@pytest.fixture(scope="module")
def rungs(clips: list[ReferenceClip]) -> list[ScoredImage]:
    """The model is one that returns the true mix, a little louder."""
    return score_rungs(clips, {clip.name: np.float32(1.1) * clip.mix for clip in clips})


def test_every_clip_has_every_rung_with_every_metric(clips, rungs):
    assert [(one.clip, one.row) for one in rungs] == [(clip.name, rung) for clip in clips for rung in RUNGS]
    assert all(set(one.scores) == set(LADDER_METRICS) - set(HEARD) for one in rungs)
    assert all(np.isfinite(list(one.scores.values())).all() for one in rungs)


def test_untouched_silence_is_the_accompaniment_and_the_true_vocal_the_truth(rungs):
    means = mean_scores(rungs, LADDER_METRICS)
    true, silence = means["true vocal"], means["silence"]
    assert (true["log_mel_l1"], true["log_spectral_distance"], true["spectral_convergence"]) == pytest.approx((0, 0, 0), abs=1e-4)
    assert true["edge_f1_inside"] == 1.0
    assert true["si_sdr"] == 100.0
    assert true["raw_pitch_accuracy"] > 0.5
    assert true["level_error"] < 4
    for metric in AGAINST_BACKING:
        assert silence[metric] == pytest.approx(1.0), metric
    for metric in (*PRESENCE, "raw_pitch_accuracy"):
        assert silence[metric] == 0.0, metric
    assert silence["level_error"] == 20.0
    for rung in ("random vocal", "retrieved vocal"):  # another song's vocal, and not the own one
        assert means[rung]["raw_pitch_accuracy"] < 0.5 < true["raw_pitch_accuracy"]
        assert means[rung]["log_mel_l1"] > 1.0
        assert means[rung]["melody"] > 0.2


def test_the_true_mix_as_a_models_scores_as_the_true_mix(rungs):
    means = mean_scores(rungs, LADDER_METRICS)
    assert means["model"]["log_mel_l1"] == pytest.approx(20 * np.log10(1.1), abs=0.2)
    assert means["model"]["si_sdr"] == 100.0
    for metric in ("raw_pitch_accuracy", "melody", "beat_f1", "edge_f1_outside"):
        assert means["model"][metric] == pytest.approx(means["true vocal"][metric], abs=0.05), metric


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda clip: None, "the model made no mix"),
        (lambda clip: clip.mix[:, 1:], "samples, its clip"),
    ],
)
def test_a_model_must_have_made_a_mix_of_every_clip_in_its_length(clips, make, message):
    mixes = {clip.name: make(clip) for clip in clips}
    with pytest.raises(DataError, match=message):
        score_rungs(clips, {name: mix for name, mix in mixes.items() if mix is not None})


def test_a_ladder_without_a_model_has_four_rungs(clips):
    assert [one.row for one in score_rungs(clips[:2])[:4]] == ["silence", "random vocal", "retrieved vocal", "true vocal"]


# The order


def means_of(metric: str, *values: float) -> dict[str, dict[str, float]]:
    return {
        rung: {metric: value}
        for rung, value in zip(("silence", "random vocal", "retrieved vocal", "true vocal"), values, strict=True)
    }


@pytest.mark.parametrize(
    ("metric", "values", "wrong"),
    [
        ("raw_pitch_accuracy", (0, 0.1, 0.2, 0.9), []),
        ("raw_pitch_accuracy", (0, 0, 0, 0.9), []),
        ("raw_pitch_accuracy", (0, 0.1, 0.9, 0.9), [("retrieved vocal", "true vocal")]),
        ("raw_pitch_accuracy", (0.1, 0, 0.2, 0.9), [("silence", "random vocal")]),
        ("log_mel_l1", (9, 8, 7, 0), []),
        ("log_mel_l1", (5, 8, 7, 0), [("silence", "random vocal")]),
        ("chroma_cosine", (1, 0.6, 0.7, 0.8), []),
        ("chroma_cosine", (0, 0.6, 0.6, 0.8), []),
        ("chroma_cosine", (1, 0.7, 0.7, 0.7), [("random vocal", "true vocal")]),
        ("chroma_cosine", (1, 0.7, 0.6, 0.8), [("random vocal", "retrieved vocal")]),
        ("melody", (0, 0.7, 0.5, 0.6), []),
        ("melody", (0.5, 0.7, 0.5, 0.6), [("silence", "retrieved vocal")]),
    ],
)
def test_the_order_that_each_type_of_metric_must_have(metric, values, wrong):
    means = means_of(metric, *values)
    assert misordered(means) == {metric: wrong}


def test_the_models_rung_is_not_compared():
    means = means_of("melody", 0, 0.7, 0.5, 0.6)
    assert misordered(means | {"model": {"melody": -1.0}}) == misordered(means)
    assert misordered({rung: {} for rung in RUNGS}) == {}
