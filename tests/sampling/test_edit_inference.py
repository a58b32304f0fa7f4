"""inference_instruct_pix2pix.py and tools/evaluate_samples.py --experiment edit, on a tiny model."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import last_error, run_script
from musicnn_folder import write_networks

import inference_instruct_pix2pix
from demo.evaluation import demo_clips
from demo.world.compose import compose
from riff.data.records import EditRecord, read_edit_records
from riff.data.stores import FolderStore
from riff.errors import ModelError, OptionError, RiffError
from riff.experiments.edit import EXPERIMENT, METRICS, edit_case, training_fingerprints
from riff.experiments.experiment import load_evaluation
from riff.files import write_json
from riff.metrics.edit import judge, score_edit
from riff.metrics.melody import register_of_prompt
from riff.models.edit import attach_edit
from riff.models.folders import save_pipeline
from riff.models.loading import load_base, load_edit_pipeline
from riff.pairs.instructions import DEFAULT_INSTRUCTIONS, NOTHING, kind_of_prompt, removals
from riff.sampling.edit import EditClip, best_take, clip_from_record, generate_candidates, generate_sweep
from riff.sampling.levels import mix_image, output_at_level, vocal_at_level
from riff.sampling.options import EditOptions, edit_options_for, edit_target
from riff.sampling.pipelines import prepare_pipeline
from riff.spectrogram.image import SpectrogramImage, image_to_mel, load_grey, load_image, save_image, waveform_to_image
from riff.spectrogram.params import CLIP_SAMPLES


@pytest.fixture(scope="module")
def tiny_edit(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base widened to an edit model, not trained."""
    folder = tmp_path_factory.mktemp("edit") / "tiny-edit"
    save_pipeline(attach_edit(load_base(str(tiny_base))), folder, {"base": str(tiny_base)}, part_only=True)
    return folder


@pytest.fixture(scope="module")
def clips() -> list:
    """Three clips with known parts, of a catalogue that nothing is trained on."""
    return demo_clips(4, 3)


@pytest.fixture(scope="module")
def edit_data(clips: list, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of an adding, a removing and an idle pair."""
    folder = tmp_path_factory.mktemp("data") / "edit-data"
    lines = []
    for clip, kind in zip(clips, ("add", "remove", "noop"), strict=True):
        case = edit_case(kind, clip)
        assert case.truth is not None
        line = {"edit_prompt": case.prompt, "kind": kind, "song": clip.name}
        for key, sub, image in (("input_file_path", "input_image", case.before), ("edited_file_path", "edited_image", case.truth)):
            save_image(folder / sub / f"{clip.name}.png", image)
            line[key] = f"{sub}/{clip.name}.png"
        lines.append(json.dumps(line))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def flags(model: Path, place: Path, *more: object) -> list[str]:
    quick = ("--num_inference_steps", 2, "--griffin_lim_iterations", 1)
    return [str(flag) for flag in ("--model_id", model, "--base_save_path", place, *quick, *more)]


def infer(model: Path, place: Path, *more: object, code: int = 0):  # type: ignore[no-untyped-def]
    return run_script("inference_instruct_pix2pix.py", *flags(model, place, *more), code=code)


def test_a_data_sets_clips_are_edited_judged_and_shown(
    tiny_edit: Path, edit_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    place = tmp_path / "out"
    sweep = ("--sweep", "--sweep_image_scales", 0.8, 1.5, "--sweep_text_scales", 3)
    inference_instruct_pix2pix.main(flags(tiny_edit, place, "--data_root", edit_data, "--max_samples", 2, "--best_of", 2, *sweep))
    printed = capsys.readouterr()
    assert "0 of 2 edits performed" in printed.out
    assert printed.err.count("none of 2 candidates performed the edit") == 2
    folders = sorted(path for path in place.iterdir() if path.is_dir())
    assert len(folders) == 2
    takes = {f"{name}.{suffix}" for name in ("original", "sample", "target") for suffix in ("png", "wav")}
    for folder, notes in zip(folders, ({"vocal.mid"}, set()), strict=True):  # the second removes a vocal
        assert {path.name for path in folder.iterdir()} == takes | notes | {"sheet.png", "sweep.png"}
        sound, rate = soundfile.read(folder / "sample.wav")
        assert (len(sound), rate) == (CLIP_SAMPLES, 44_100)
    scores = json.loads((place / "scores.json").read_text())
    first, second = scores["clips"]
    assert (first["kind"], second["kind"]) == ("add", "remove")
    assert [len(first["candidates"]), len(first["sweep"])] == [2, 2]
    assert first["score"] == max(candidate["score"] for candidate in first["candidates"])
    assert {cell["image_guidance_scale"] for cell in first["sweep"]} == {0.8, 1.5}
    page = (place / "index.html").read_text()
    for link in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert (place / link).is_file(), link
    assert page.count("<audio") == 6
    with pytest.raises(OptionError, match="--overwrite"):
        inference_instruct_pix2pix.main(flags(tiny_edit, place, "--data_root", edit_data))


def test_a_song_is_edited_and_the_same_seed_gives_the_same_bytes(tiny_edit: Path, tmp_path: Path) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, compose(5, 0, 6.0).mixture.T, 44_100)
    wanted = ("--audio", song, "--separator", "none", "--seed", 7, "--prompt", "remove the vocals")
    infer(tiny_edit, tmp_path / "one", *wanted)
    inference_instruct_pix2pix.main(flags(tiny_edit, tmp_path / "two", *wanted))
    names = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one" / "000-song").iterdir()}
    assert {name.name for name in names} == {"original.png", "original.wav", "sample.png", "sample.wav", "sheet.png"}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert json.loads((tmp_path / "one" / "scores.json").read_text())["clips"][0]["kind"] == "remove"
    original, _ = soundfile.read(tmp_path / "one" / "000-song" / "original.wav")
    np.testing.assert_allclose(original, soundfile.read(song)[0][:CLIP_SAMPLES], atol=1e-4)


def test_a_model_that_generates_vocals_writes_them_by_themselves(tiny_edit: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_edit, tmp_path / "model")
    origin = tmp_path / "model" / "riff.json"
    origin.write_text(json.dumps(json.loads(origin.read_text()) | {"target": "vocals"}))
    soundfile.write(tmp_path / "song.wav", compose(5, 0, 6.0).mixture.T, 44_100)
    inference_instruct_pix2pix.main(
        flags(tmp_path / "model", tmp_path / "out", "--audio", tmp_path / "song.wav", "--separator", "none")
    )
    folder = tmp_path / "out" / "000-song"
    original, sample, vocal = (soundfile.read(folder / f"{name}.wav")[0] for name in ("original", "sample", "vocal"))
    assert np.abs(vocal).max() > 0.01
    np.testing.assert_allclose(sample, original + vocal, atol=1e-4)
    assert load_grey(folder / "vocal.png").shape == (512, 512)
    assert "000-song/vocal.wav" in (tmp_path / "out" / "index.html").read_text()


def test_without_an_input_one_song_of_raw_audio_is_edited(tiny_edit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw-audio").mkdir()
    for name in ("a", "b"):
        soundfile.write(tmp_path / "raw-audio" / f"{name}.wav", compose(5, 0, 6.0).mixture.T, 44_100)
    monkeypatch.chdir(tmp_path)
    for more, clips in (([], {"000-a"}), (["--max_samples", "2"], {"000-a", "001-b"})):
        place = tmp_path / f"out-{len(more)}"
        inference_instruct_pix2pix.main(flags(tiny_edit, place, "--separator", "none", *more))
        assert {path.name for path in place.iterdir() if path.is_dir()} == clips


def test_a_broken_song_of_several_is_named_after_the_good_ones(
    tiny_edit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raw-audio").mkdir()
    (tmp_path / "raw-audio" / "a.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "raw-audio" / "b.wav", compose(5, 0, 6.0).mixture.T, 44_100)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RiffError, match=r"1 of 2 clips could not be edited.*a\.wav"):
        inference_instruct_pix2pix.main(flags(tiny_edit, tmp_path / "out", "--separator", "none", "--max_samples", "2"))
    assert (tmp_path / "out" / "000-b" / "sample.wav").is_file()


def test_clips_that_cannot_be_edited_are_named_after_the_good_ones(tiny_edit: Path, edit_data: Path, tmp_path: Path) -> None:
    lines = (edit_data / "metadata.jsonl").read_text().splitlines()
    broken = tmp_path / "broken"
    shutil.copytree(edit_data, broken)
    for line in (lines[0], lines[2]):
        (broken / json.loads(line)["input_file_path"]).unlink()
    error = last_error(infer(tiny_edit, tmp_path / "out", "--data_root", broken, code=2))
    assert "2 of 3 clips could not be edited" in error
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["clips"][0]["kind"] == "remove"


def test_a_folder_of_parquet_files_is_read_like_a_folder_of_pairs(
    tiny_edit: Path, edit_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets", reason="needs: pip install datasets")
    records = read_edit_records(edit_data)[:2]
    columns = {
        "original_image": [{"bytes": (edit_data / record.input_file_path).read_bytes()} for record in records],
        "edit_prompt": [record.edit_prompt for record in records],
        "edited_image": [{"bytes": (edit_data / record.edited_file_path).read_bytes()} for record in records],
        "kind": [record.kind for record in records],
    }
    images = datasets.Dataset.from_dict(columns)
    for column in ("original_image", "edited_image"):
        images = images.cast_column(column, datasets.Image())
    (tmp_path / "data").mkdir()
    images.to_parquet(tmp_path / "data" / "train.parquet")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HOME", raising=False)
    infer(tiny_edit, tmp_path / "out", "--dataset_id", tmp_path / "data", "--max_samples", 2)
    found = json.loads((tmp_path / "out" / "scores.json").read_text())["clips"]
    assert [(clip["kind"], clip["prompt"]) for clip in found] == [(record.kind, record.edit_prompt) for record in records]
    (original,) = (tmp_path / "out").glob("000-*/original.png")
    assert load_image(original).max_value == load_image(edit_data / records[0].input_file_path).max_value


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--dataset_id", "./nowhere"], "./nowhere: no such folder"),
        (["--data_root", "nowhere"], "no edit pairs there"),
        (["--audio", "nowhere.wav"], "nowhere.wav"),
    ],
)
def test_missing_inputs_are_named_before_anything_is_loaded(tiny_edit: Path, tmp_path: Path, more: list, words: str) -> None:
    with pytest.raises(RiffError, match=words):
        inference_instruct_pix2pix.main(flags(tiny_edit, tmp_path, *more))


@pytest.mark.parametrize(
    "more",
    [
        ["--audio", "a.wav", "--data_root", "b"],
        ["--audio", "a.wav", "--best_of", "0"],
        ["--audio", "a.wav", "--separator", "magic"],
    ],
)
def test_contradictory_flags_are_refused(more: list, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        inference_instruct_pix2pix.main(more)
    assert "error: " in capsys.readouterr().err


# The parts


def test_the_first_candidate_and_the_best(tiny_edit: Path, clips: list) -> None:
    pipeline = prepare_pipeline(load_edit_pipeline(tiny_edit))
    backing = waveform_to_image(torch.from_numpy(clips[0].accompaniment))
    clip, options = EditClip("a", backing, "add a vocal"), EditOptions(steps=1)
    two, one = (generate_candidates(pipeline, clip, options, 3, count) for count in (2, 1))
    np.testing.assert_array_equal(two[0].output.pixels, one[0].output.pixels)
    assert two[0].seed == 3 != two[1].seed
    sweep = generate_sweep(pipeline, clip, options, 3, (0.5, 1.5), (2.0, 7.5))
    assert [(t.options.image_guidance_scale, t.options.guidance_scale) for t in sweep] == [
        (0.5, 2),
        (0.5, 7.5),
        (1.5, 2),
        (1.5, 7.5),
    ]
    np.testing.assert_array_equal(sweep[-1].output.pixels, one[0].output.pixels)
    performed = two[1].verdict._replace(performed=True, score=0.1)
    ranked = [two[0], replace(two[1], seed=9, verdict=performed)]
    assert best_take(ranked).seed == 9  # what counts as an edit comes before what scores higher


def test_an_edit_is_put_at_the_inputs_level(clips: list) -> None:
    vocal = clips[0].mix - clips[0].accompaniment
    mix, backing, voice = (waveform_to_image(torch.from_numpy(part)) for part in (clips[0].mix, clips[0].accompaniment, vocal))
    assert output_at_level(mix.pixels, backing).max_value == pytest.approx(mix.max_value, rel=0.03)
    mixed = mix_image(output_at_level(voice.pixels, backing, "vocals"), backing, "vocals")
    assert score_edit(backing.pixels, mixed.pixels).is_edit
    found, true = (image_to_mel(image).square().sum(dim=0) for image in (vocal_at_level(voice.pixels, backing, 6.0), voice))
    band = image_to_mel(backing).square().sum(dim=0)
    singing = true > 0.01 * true.max()
    assert float(10 * torch.log10(found[singing].sum() / band[singing].sum())) == pytest.approx(6.0, abs=0.01)
    pale = np.round(255 - (255 - voice.pixels.astype(float)) / 4).astype(np.uint8)
    assert float(image_to_mel(vocal_at_level(pale, backing)).max()) < 0.01 * backing.max_value  # nothing to sing is not made loud
    white = SpectrogramImage(np.full((512, 512), 255, np.uint8), 0.0)
    assert vocal_at_level(voice.pixels, white).max_value > 0
    unchanged = mix_image(output_at_level(white.pixels, backing, "vocals"), backing, "vocals").pixels
    np.testing.assert_allclose(unchanged.astype(int), backing.pixels, atol=1)  # grey levels are cut, not rounded


def test_the_reference_of_a_vocal_only_data_set_is_the_sum(edit_data: Path, clips: list, tmp_path: Path) -> None:
    vocal = waveform_to_image(torch.from_numpy(clips[0].mix - clips[0].accompaniment))
    record = read_edit_records(edit_data)[0]
    for sub, image in (("input_image", load_image(edit_data / record.input_file_path)), ("edited_image", vocal)):
        save_image(tmp_path / sub / "a.png", image)
    alone = EditRecord("input_image/a.png", "edited_image/a.png", "add a vocal")
    made = clip_from_record(FolderStore(tmp_path), alone, "vocals")
    true = load_image(edit_data / record.edited_file_path)
    assert made.truth is not None
    assert np.abs(made.truth.pixels.astype(int) - true.pixels).mean() < 3.5
    quiet = clip_from_record(FolderStore(tmp_path), replace(alone, edited_max=1e-3), "vocals")
    assert quiet.truth is not None
    assert quiet.truth.max_value == pytest.approx(made.before.max_value, rel=1e-3)


def test_a_models_own_recommendations_count_and_the_users_count_more(tmp_path: Path) -> None:
    sampling = {"guidance_scale": 4.0, "image_guidance_scale": 0.9}
    write_json(tmp_path / "riff.json", {"sampling": sampling, "target": "vocals"})
    assert edit_options_for(tmp_path) == EditOptions(20, 4.0, 0.9)
    assert edit_options_for(tmp_path, 2.0, 1.1, steps=5) == EditOptions(5, 2.0, 1.1)
    assert edit_target(tmp_path) == "vocals"
    assert edit_target(tmp_path / "elsewhere") == "mix"
    write_json(tmp_path / "riff.json", {"target": "drums"})
    with pytest.raises(ModelError, match="mix or vocals"):
        edit_target(tmp_path)


def test_an_instructions_kind() -> None:
    assert {kind_of_prompt(words) for words in (*removals("vocals"), *removals("drums"), "Make it INSTRUMENTAL")} == {"remove"}
    assert {kind_of_prompt(words) for words in (*DEFAULT_INSTRUCTIONS.values(), "add a female vocal pop melody")} == {"add"}
    assert {kind_of_prompt(words) for words in NOTHING} == {"noop"}


# The experiment


def test_the_experiment_puts_a_model_between_floor_and_ceiling(
    tiny_edit: Path, edit_data: Path, clips: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_networks(tmp_path)  # of random weights
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert len(training_fingerprints(edit_data)) == 1  # adding pairs only
    flags = {"best_of": 2, "edit_kinds": ["add"], "instruction": "add {vocal}", "train_data_dir": edit_data}
    means = EXPERIMENT.measure(load_evaluation(str(tiny_edit), clips[:1], steps=1), flags).means
    assert list(means) == ["add", "add, best of 2", "add floor", "add ceiling", "add truth"]
    assert set().union(*means.values()) - {"gender_heard"} == {*METRICS, "clips"} - {"gender_heard"}  # only of a voice heard
    judged = {"performed", "edited", "backing_kept", "edit_score", "grey_levels"}
    assert all(set(row) >= judged for row in means.values())
    assert means["add truth"]["edited"] == means["add truth"]["fits"] == 1
    assert means["add floor"]["voice_heard"] == 0  # the accompaniment itself
    assert "voice_heard" not in means["add ceiling"]  # an image, and no mix over the accompaniment's own samples
    assert [means[kind]["performed"] for kind in ("add", "add floor", "add truth")] == [0, 0, 1]  # the model is not trained
    assert means["add truth"]["nearest_training"] == pytest.approx(0, abs=1e-3)  # the clip is in the training data
    assert means["add"]["nearest_training"] > 0.3
    assert means["add truth"]["register_obeyed"] == 1
    assert means["add"]["grey_levels"] > means["add truth"]["grey_levels"]


@pytest.mark.parametrize("kind", ["add", "remove", "noop"])
def test_the_reference_of_every_kind_is_performed(clips: list, kind: str) -> None:
    case = edit_case(kind, clips[0])
    assert case.truth is not None
    assert judge(kind, case.before.pixels, case.truth.pixels).performed
    if kind == "add":
        assert case.prompt == clips[0].prompt.replace("Generate", "add")
        assert edit_case(kind, clips[0], "Generate {vocal}").prompt == clips[0].prompt
        (unheard,) = demo_clips(4, 1, held_out_wording=True)
        asked = edit_case(kind, unheard).prompt
        assert asked == unheard.instruction != case.prompt
        assert register_of_prompt(asked) == register_of_prompt(case.prompt)
    assert judge(kind, case.before.pixels, case.before.pixels).performed is (kind == "noop")
    assert kind_of_prompt(case.prompt) == kind


def test_doing_nothing_is_right_when_it_is_asked_for(clips: list) -> None:
    mix, backing = clips[0].mix_image.pixels, clips[0].accompaniment_image.pixels
    pairs = (
        (mix, mix, True),
        (backing, backing, True),
        (backing, mix, False),
        (mix, backing, False),
        (mix, np.zeros_like(mix), False),
    )
    for before, after, performed in pairs:
        assert judge("noop", before, after).performed is performed


def test_the_experiment_as_a_command(tiny_edit: Path, edit_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # without the tagger's weights
    flags = ("--experiment", "edit", "--model", tiny_edit, "--songs", "demo:1", "--steps", 1, "--num_shown", 1)
    done = run_script("tools/evaluate_samples.py", *flags, "--train_data_dir", edit_data, "--output", tmp_path)
    assert "add ceiling" in done.stdout
    assert "what a tagger hears of the voice is left out" in done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["means"]["add truth"]["performed"] == 1
    assert results["means"]["add"]["nearest_training"] > 0
    page = (tmp_path / "index.html").read_text()
    assert page.count("<audio") == 4
    assert "nearest training example" in page


def test_an_image_of_another_size_is_named_and_the_others_are_edited(
    tiny_edit: Path, edit_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, widths = tmp_path / "data", (500, 568, 528)  # the model's latents are 16 pixels wide, and 528 are 33 of them
    shutil.copytree(edit_data, data)
    for record, width in zip(read_edit_records(data), widths, strict=True):
        for path in (record.input_file_path, record.edited_file_path):
            image = load_image(data / path)
            pixels = np.pad(image.pixels, ((0, 0), (0, 56)), constant_values=255)[:, :width]
            save_image(data / path, replace(image, pixels=np.ascontiguousarray(pixels)))
    with pytest.raises(RiffError, match=r"1 of 3 clips could not be edited; the first: .*512x500 does not fit this model"):
        inference_instruct_pix2pix.main(flags(tiny_edit, tmp_path / "out", "--data_root", data))
    assert f"left out: {Path(read_edit_records(data)[0].input_file_path).stem}: an image of 512x500" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out" / "scores.json").read_text())["clips"]) == 2
    made = sorted((tmp_path / "out").glob("*/sample.png"))
    assert [load_grey(path).shape for path in made] == [(512, 568), (512, 528)]
    listed = json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {*listed, "manifest.json"} == written
    assert all(any(fnmatchcase(name, pattern) for pattern in inference_instruct_pix2pix.FILES) for name in listed)
