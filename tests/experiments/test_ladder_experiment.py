"""The experiment `ladder`: vocals over the untouched accompaniment, a model's and other systems' scored alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import last_error, run_script
from musicnn_folder import write_networks

from demo.evaluation import demo_clips
from riff.audio.io import write_audio
from riff.experiments.clips import ReferenceClip
from riff.experiments.experiment import Evaluation, load_evaluation
from riff.experiments.ladder import CLAP_METRICS, EXPERIMENT, GENDER_METRICS, HEARD, METRICS, mix_with_vocal, mixes_of_folder
from riff.experiments.rungs import MODEL, RUNGS, SILENCE, TRUE
from riff.sampling.song import load_song_model

FLAGS = {"vocals": None, "clap": None}


@pytest.fixture(autouse=True, scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A tagger with random weights, whether or not the machine has the real ones."""
    cache = tmp_path_factory.mktemp("cache")
    write_networks(cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield


@pytest.fixture(scope="module")
def clips() -> list[ReferenceClip]:
    return demo_clips(4, 3)


@pytest.fixture(scope="module")
def evaluation(tiny_control: Path, clips: list[ReferenceClip]) -> Evaluation:
    return load_evaluation(str(tiny_control), clips, steps=1)


@pytest.fixture(scope="module")
def true_vocals(clips: list[ReferenceClip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocals")
    for clip in clips:
        write_audio(folder / f"{clip.name}.wav", clip.mix - clip.accompaniment, 44_100, subtype="FLOAT")
    return folder


def test_the_accompaniment_under_a_generated_vocal_is_untouched(tiny_control: Path, clips: list[ReferenceClip]) -> None:
    model = load_song_model(str(tiny_control), steps=1)
    mix = mix_with_vocal(model, clips[0], 3)
    vocal = mix - clips[0].accompaniment
    assert mix.shape == clips[0].mix.shape
    assert np.abs(vocal).max() > 0.001
    # The same mono vocal on both sides of the stereo accompaniment, whatever that holds.
    np.testing.assert_allclose(vocal[0], vocal[1], atol=1e-6)
    np.testing.assert_array_equal(mix_with_vocal(model, clips[0], 3), mix)


def test_the_true_vocals_of_another_system_score_as_the_true_ones(evaluation: Evaluation, true_vocals: Path) -> None:
    result = EXPERIMENT.measure(evaluation, FLAGS | {"vocals": true_vocals})
    assert list(result.means) == list(RUNGS)
    assert set(METRICS) - set(CLAP_METRICS) >= set(result.means[TRUE])
    for metric, value in result.means[MODEL].items():
        assert value == pytest.approx(result.means[TRUE][metric], abs=1e-3), metric
    assert result.means[SILENCE]["melody"] == 0 < result.means[TRUE]["melody"]
    assert all(set(HEARD) < set(one.scores) for one in result.scored)
    assert result.means[SILENCE].get("voice_rise", 0) == 0
    left_out = set(METRICS) - set(CLAP_METRICS) - set(GENDER_METRICS) - set(result.means[TRUE])
    assert all(METRICS[metric] in " ".join(result.remarks) for metric in left_out)
    assert all(
        set(METRICS) - set(CLAP_METRICS) - set(GENDER_METRICS) - {"edge_f1_inside"} <= set(one.scores) for one in result.scored
    )


def test_clap_adds_its_columns(evaluation: Evaluation, true_vocals: Path, tiny_clap: Path) -> None:
    result = EXPERIMENT.measure(evaluation, FLAGS | {"vocals": true_vocals, "clap": str(tiny_clap)})
    assert all(-1 <= row["clap_score"] <= 1 for row in result.means.values())
    assert set(result.means[SILENCE]) >= set(CLAP_METRICS)
    assert "fad" not in result.means[TRUE]
    assert result.means[MODEL]["clap_score"] == pytest.approx(result.means[TRUE]["clap_score"], abs=1e-4)
    assert abs(result.means[MODEL]["fad"]) < abs(result.means[SILENCE]["fad"]) + 1e-6


def test_what_another_system_left_out_is_named(clips: list[ReferenceClip], true_vocals: Path, tmp_path: Path) -> None:
    (tmp_path / f"{clips[0].name}.wav").symlink_to(true_vocals / f"{clips[0].name}.wav")
    with pytest.raises(Exception, match=f"{clips[1].name}.wav"):
        mixes_of_folder(tmp_path, clips)
    with pytest.raises(Exception, match="gone: no such folder"):
        mixes_of_folder(tmp_path / "gone", clips)


@pytest.mark.slow
def test_the_script_judges_the_benchmarks_clips(songs: Path, tiny_control: Path, tmp_path: Path) -> None:
    flags = ("--experiment", "ladder", "--model", tiny_control, "--songs", songs, "--steps", 1, "--num_shown", 1)
    missing = ("--clap", tmp_path / "no-clap")
    done = run_script("tools/evaluate_samples.py", *flags, *missing, "--output", tmp_path / "out")
    assert "CLAP scores are left out" in done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(results["means"]) == set(RUNGS)
    assert "raw pitch accuracy" in (tmp_path / "out" / "index.html").read_text()
    done = run_script("tools/evaluate_samples.py", "--experiment", "ladder", "--clips", "benchmark", code=2)
    assert "--clips benchmark" in last_error(done)
