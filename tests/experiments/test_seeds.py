"""The experiment `seeds`: what counts as another vocal, and as the same accompaniment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT, run_script

from demo.evaluation import demo_clips
from demo.world.compose import compose
from riff.experiments.clips import ReferenceClip
from riff.experiments.experiment import Evaluation, Result, load_evaluation
from riff.experiments.seeds import EXPERIMENT, METRICS, ROWS, AddedVocal, compare
from riff.spectrogram.image import waveform_to_image
from riff.spectrogram.params import CLIP_SAMPLES

MODEL = ROOT / "models" / "riff-cnet-mini"
FLAGS = {"num_seeds": 2}


@pytest.fixture(scope="module")
def clips() -> list[ReferenceClip]:
    return demo_clips(4, 2)


@pytest.fixture(scope="module")
def evaluation(clips: list[ReferenceClip]) -> Evaluation:
    return load_evaluation(str(MODEL), clips, steps=1)


@pytest.fixture(scope="module")
def result(evaluation: Evaluation) -> Result:
    return EXPERIMENT.measure(evaluation, FLAGS)


def with_vocal(clip: ReferenceClip, vocal: np.ndarray) -> AddedVocal:
    """The clip's accompaniment with another vocal."""
    return AddedVocal.over(clip.accompaniment_image, waveform_to_image(torch.from_numpy(clip.accompaniment + vocal)))


def test_the_same_vocal_is_no_difference_and_another_one_is(clips: list[ReferenceClip]) -> None:
    clip = clips[0]
    own = with_vocal(clip, clip.vocal)
    others = [compose(4, index, 6.0).stems["vocals"][:, -CLIP_SAMPLES:] for index in (2, 3)]
    anywhere = np.ones(own.added.shape, bool)
    same = compare(own, own, anywhere)
    assert (same["edge_f1"], same["melody_difference"]) == (1, 0)
    assert (same["vocal_difference"], same["gradient_correlation"]) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    for vocals in others:
        another = compare(own, with_vocal(clip, vocals), clip.outside)
        assert another["vocal_difference"] > 0.7
        assert another["melody_difference"] > 0.5
        assert another["gradient_correlation"] > 0.6  # the accompaniment is the same
    assert compare(own, with_vocal(clip, others[0]), anywhere)["edge_f1"] < another["edge_f1"]


def test_differences_do_not_depend_on_which_comes_first(clips: list[ReferenceClip]) -> None:
    clip = clips[0]
    ours, theirs = (with_vocal(clip, compose(4, index, 6.0).stems["vocals"][:, :CLIP_SAMPLES]) for index in (2, 3))
    forward, backward = compare(ours, theirs, clip.outside), compare(theirs, ours, clip.outside)
    assert forward == pytest.approx(backward)


def test_a_semitone_is_a_semitone(clips: list[ReferenceClip]) -> None:
    """Two sung glides whose pitches are three semitones apart."""
    clip = clips[0]

    def glide(note: float) -> np.ndarray:
        time = np.arange(CLIP_SAMPLES) / 44_100
        pitch = 440 * 2 ** ((note + np.sin(2 * np.pi * time) - 69) / 12)
        phase = 2 * np.pi * np.cumsum(pitch) / 44_100
        return np.float32(0.05) * np.sum([np.sin(k * phase) / k for k in range(1, 12)], axis=0).astype(np.float32)[None]

    silent = replace(clips[0], accompaniment=np.zeros_like(clips[0].accompaniment))
    low, high = (with_vocal(silent, glide(note)) for note in (57.0, 60.0))
    assert compare(low, high, clip.outside)["melody_difference"] == pytest.approx(3, abs=0.15)


def test_rows_columns_and_images(result: Result, clips: list[ReferenceClip]) -> None:
    assert list(result.means) == list(ROWS)
    assert {name for row in result.means.values() for name in row} <= {*METRICS, "clips"}
    assert [one.row for one in result.shown if one.clip == clips[1].name] == ["seed 1", "seed 100001", "true mix"]
    assert result.sampling["num_seeds"] == 2
    same = result.means["true mix"]
    assert same["melody_difference"] < 0.5
    assert same["vocal_difference"] < 0.3 < result.means["true vocals"]["vocal_difference"]
    assert same["gradient_correlation"] > result.means["other songs"]["gradient_correlation"]


def test_a_single_song_has_no_other_to_compare_with(evaluation: Evaluation) -> None:
    alone = EXPERIMENT.measure(replace(evaluation, clips=evaluation.clips[:1]), FLAGS)
    assert set(alone.means) == set(ROWS) - {"other songs", "true vocals"}


def test_one_seed_is_not_enough() -> None:
    done = run_script("tools/evaluate_samples.py", "--experiment", "seeds", "--num_seeds", 1, code=2)
    assert "--num_seeds: '1' is not a whole number, 2 or more" in done.stderr
