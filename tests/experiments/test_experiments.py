"""What all experiments share: names, cached samples, and pages with the command that repeats them."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import last_error, run_script
from PIL import Image

from demo.evaluation import demo_clips
from riff.audio.io import write_audio
from riff.errors import AudioError, ModelError, OptionError
from riff.experiments import NAMES, find_experiments
from riff.experiments.clips import ReferenceClip
from riff.experiments.control import EXPERIMENT as CONTROL_EXPERIMENT
from riff.experiments.experiment import Evaluation, Result, ScoredImage, load_evaluation, mean_scores
from riff.experiments.pages import FinishedExperiment, table_text, write_overview, write_page
from riff.experiments.sample_cache import SampleCache
from riff.models.model_types import CONTROL, EDIT
from riff.sampling.options import SamplingOptions
from riff.sampling.pipelines import sample_control
from riff.separation.stems import STEM_NAMES
from riff.spectrogram.edges import FOLLOWED, MISSED, canny_edges, overlay_edges
from riff.spectrogram.image import SpectrogramImage
from tools import evaluate_samples


@pytest.fixture(scope="module")
def clips() -> list[ReferenceClip]:
    return [replace(clip, sound_iterations=1) for clip in demo_clips(4, 1)]


@pytest.fixture(scope="module")
def evaluation(tiny_control: Path, clips: list[ReferenceClip]) -> Evaluation:
    return load_evaluation(str(tiny_control), clips, steps=1)


@pytest.fixture(scope="module")
def measured(evaluation: Evaluation) -> Result:
    return CONTROL_EXPERIMENT.measure(evaluation, {"unknown": 1})


def test_every_entry_is_an_experiment_of_that_name() -> None:
    found = [one for one, _ in find_experiments(["all"])]
    assert [one.name for one in found] == list(NAMES)
    parser = evaluate_samples.make_parser()
    for one in found:
        assert one.question.endswith("?")
        assert one.metrics
        assert set(one.flags) <= set(vars(parser.parse_args([])))


def test_a_models_type_decides_its_experiments(tiny_control: Path) -> None:
    types = {one.name: model_type for one, model_type in find_experiments(["all"])}
    assert types["edit"] is types["ladder"] is EDIT
    controlled = {one.name: model_type for one, model_type in find_experiments(["all"], str(tiny_control))}
    assert set(controlled) == set(types) - {"edit"}
    assert set(controlled.values()) == {CONTROL}
    assert [one.name for one, _ in find_experiments(["control", "control"], str(tiny_control))] == ["control"]
    assert set(types.values()) == {CONTROL, EDIT}
    with pytest.raises(ModelError, match="edit needs an edit model"):
        find_experiments(["control", "edit"], str(tiny_control))


def test_a_sample_is_generated_once_and_is_the_pipelines(evaluation: Evaluation, clips: list[ReferenceClip]) -> None:
    samples = SampleCache(evaluation.model.pipeline, size=2)
    edges = clips[0].edges
    options = SamplingOptions(steps=1)
    first = samples.control(edges, "a song", 3, options)
    assert samples.control(edges.copy(), "a song", 3, SamplingOptions(steps=1)) is first
    assert np.array_equal(first.pixels, sample_control(evaluation.model.pipeline, [edges], ["a song"], [3], options)[0])
    assert first.seconds > 0
    others = [samples.control(edges, "a song", 4, options), samples.control(255 - edges, "a song", 3, options)]
    assert all(not np.array_equal(other.pixels, first.pixels) for other in others[:1])
    again = samples.control(edges, "a song", 3, options)  # two others came since, so it was dropped and is generated again
    assert again is not first
    assert np.array_equal(again.pixels, first.pixels)


def test_a_second_experiment_uses_the_samples_of_the_first(evaluation: Evaluation, measured: Result) -> None:
    samples = dict(evaluation.samples._kept)
    second = CONTROL_EXPERIMENT.measure(evaluation, {})
    assert list(evaluation.samples._kept.values()) == list(samples.values())
    assert measured.means == second.means
    assert list(measured.means) == ["control", "floor", "ceiling", "true mix", "covered"]
    assert measured.means["true mix"]["edge_f1"] > measured.means["floor"]["edge_f1"]


def test_means_are_over_the_clips_that_have_the_metric() -> None:
    image = SpectrogramImage(np.zeros((2, 2), np.uint8), 1.0)
    scored = [
        ScoredImage("a", "vocal", image, {"pitch": 60.0, "performed": 1.0}),
        ScoredImage("b", "vocal", image, {"performed": 0.0}),
        ScoredImage("a", "silent", image, {}),
    ]
    assert mean_scores(scored, ["pitch", "performed"]) == {
        "vocal": {"pitch": 60.0, "performed": 0.5, "clips": 2},
        "silent": {"clips": 1},
    }


def test_edges_are_teal_where_the_image_has_them_and_red_where_not() -> None:
    pixels = np.full((64, 64), 255, np.uint8)
    pixels[20:30] = 0
    edges = canny_edges(pixels)
    edges[50, :] = 255
    overlay = overlay_edges(pixels, edges)
    assert overlay.shape == (64, 64, 3)
    assert (overlay[50] == MISSED).all()
    assert (overlay[edges > 0][: int((edges[:40] > 0).sum())] == FOLLOWED).all()
    untouched = overlay[edges == 0]
    assert (untouched == untouched[:, :1]).all()  # grey


def test_pages_link_to_existing_files_and_show_the_command(measured: Result, clips: list[ReferenceClip], tmp_path: Path) -> None:
    finished = FinishedExperiment(CONTROL_EXPERIMENT, replace(measured, remarks=["As it was."]), "python it.py")
    page = write_page(tmp_path / "control", finished, clips, 1)
    text = page.read_text()
    assert text.count("<audio") == 4
    assert text.count("-edges.png") == 8  # an image and the link around it
    assert "python it.py" in text
    assert "As it was." in text
    overlay = np.array(Image.open(tmp_path / "control" / "clips" / f"{clips[0].name}-true-mix-edges.png"))
    assert (overlay == FOLLOWED).all(axis=2).sum() > 2 * (overlay == MISSED).all(axis=2).sum()
    assert 'href="control/index.html"' in write_overview(tmp_path, [finished]).read_text()
    lines = table_text(CONTROL_EXPERIMENT, measured.means).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == list(CONTROL_EXPERIMENT.metrics)


def test_the_command_gives_the_same_arguments_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["tools/evaluate_samples.py"])
    parser = evaluate_samples.make_parser()
    given = ["--experiment", "edit", "--songs", "my songs", "--seed", "3", "--held_out_wording", "--edit_kinds", "add", "noop"]
    args = parser.parse_args([*given, "--scale", "2.5", "--output", "elsewhere"])
    command = shlex.split(parser.command(args, [name for name in vars(args) if name != "output"]))
    again = parser.parse_args(command[2:])
    assert vars(again) | {"output": None} == vars(args) | {"output": None}
    assert parser.command(parser.parse_args([]), ["seed", "steps"]).split()[2:] == []


@pytest.mark.parametrize("songs", ["demo:0", "demo:x", "demo:"])
def test_songs_that_are_none(songs: str) -> None:
    with pytest.raises(OptionError, match=f"{songs}: no songs; write demo:N"):
        evaluate_samples.load_clips(songs, 3)
    with pytest.raises(AudioError, match="no such folder"):
        evaluate_samples.load_clips("no/such/folder", 3)


def test_songs_that_hold_no_vocal_are_named(songs: Path, tmp_path: Path) -> None:
    assert len(evaluate_samples.load_clips(str(songs), 3)) == 4
    with pytest.raises(AudioError, match=f"{tmp_path}: holds no songs"):
        evaluate_samples.load_clips(str(tmp_path), 3)
    (tmp_path / "hummed").mkdir()
    for name in STEM_NAMES:
        write_audio(tmp_path / "hummed" / f"{name}.wav", np.zeros((2, 6 * 44_100), np.float32), 44_100)
    with pytest.raises(AudioError, match=r"no song there has 5\.11 s with a vocal"):
        evaluate_samples.load_clips(str(tmp_path), 3)
    with pytest.raises(OptionError, match="--held_out_wording is of demo songs"):
        evaluate_samples.load_clips(str(songs), 3, held_out_wording=True)


def test_several_experiments_as_a_command(tmp_path: Path) -> None:
    """An experiment that cannot be done is named at the end, and the others' results are there."""
    quick = ("--songs", "demo:1", "--steps", 1, "--num_shown", 1, "--num_seeds", 2)
    done = run_script("tools/evaluate_samples.py", "--experiment", "need", "seeds", *quick, "--output", tmp_path / "out", code=2)
    assert last_error(done) == "error: --experiment need: steps 1: too few to change an image by 0.3; give 4 or more"
    results = json.loads((tmp_path / "out" / "seeds" / "results.json").read_text())
    assert results["arguments"]["model"] == "models/riff-cnet-mini"
    assert results["arguments"]["experiment"] == ["seeds"]
    assert 0 < results["means"]["control"]["edge_f1"] < results["means"]["true mix"]["edge_f1"]
    overview = (tmp_path / "out" / "index.html").read_text()
    assert "seeds/index.html" in overview
    again = (
        "python tools/evaluate_samples.py --experiment seeds --model models/riff-cnet-mini --songs demo:1 --num_shown 1 --steps 1"
    )
    assert f"{again} --num_seeds 2" in overview
    assert not (tmp_path / "out" / "need").exists()


def test_an_accompaniment_scores_fully_against_itself(clips: list[ReferenceClip]) -> None:
    scores = clips[0].score(clips[0].accompaniment_image)
    assert scores["edge_f1"] == pytest.approx(1)
    assert scores["chroma_cosine"] == pytest.approx(1)
    assert clips[0].outside.any()
