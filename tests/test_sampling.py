"""sample_riff_cnet.py on a tiny model, and the estimate of a sample's loudness."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import last_error, run_script
from PIL import Image

import sample_riff_cnet
from demo.composition import compose
from riff.errors import DataError
from riff.models.control import load_control_pipeline
from riff.sampling.control import SamplingOptions, match_level, prepare_pipeline, sample_control
from riff.spectrogram.image import SpectrogramImage, load_image, waveform_to_image
from riff.spectrogram.params import CLIP_SAMPLES


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("song") / "song.wav"
    soundfile.write(path, compose(5, 0, 6.0).mixture.T, 44_100)
    return path


def sample(model: Path, place: Path, *more: object, code: int = 0):  # type: ignore[no-untyped-def]
    return run_script(
        "sample_riff_cnet.py", "--model", model, "--output", place, "--steps", 2, "--num_samples", 1, *more, code=code
    )


def test_a_song_gives_its_files_and_the_same_seed_the_same_bytes(tiny_control: Path, song: Path, tmp_path: Path) -> None:
    for place in ("one", "two"):
        sample(tiny_control, tmp_path / place, "--audio", song, "--seed", 7)
    names = {
        "accompaniment.png",
        "accompaniment.wav",
        "control.png",
        "sample-0.png",
        "sample-0.wav",
        "sheet-0.png",
        "manifest.json",
    }
    assert {path.name for path in (tmp_path / "one").iterdir()} == names
    for name in names - {"manifest.json"}:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    listed = json.loads((tmp_path / "one" / "manifest.json").read_text())["files"]
    assert {*listed, "manifest.json"} == names
    assert all(any(fnmatchcase(name, pattern) for pattern in sample_riff_cnet.FILES) for name in listed)
    sound, rate = soundfile.read(tmp_path / "one" / "sample-0.wav")
    assert (len(sound), rate) == (CLIP_SAMPLES, 44_100)
    assert load_image(tmp_path / "one" / "sample-0.png").max_value > 0
    error = last_error(sample(tiny_control, tmp_path / "one", "--audio", song, code=2))
    assert "--overwrite" in error


def test_an_edge_map_alone_is_enough(tiny_control: Path, tmp_path: Path) -> None:
    edges = np.zeros((512, 512), np.uint8)
    edges[::40] = 255
    Image.fromarray(edges).save(tmp_path / "edges.png")
    sample(tiny_control, tmp_path / "out", "--control", tmp_path / "edges.png")
    assert (tmp_path / "out" / "sample-0.wav").exists()


def test_what_cannot_be_sampled_ends_in_one_line(tiny_control: Path, song: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((512, 512), 100, np.uint8)).save(tmp_path / "grey.png")
    Image.new("L", (100, 100)).save(tmp_path / "small.png")
    for flags, words in (
        (["--control", tmp_path / "grey.png"], "holds grey levels"),
        (["--control", tmp_path / "small.png"], "100x100 does not fit this model"),
        (["--audio", song, "--start", 99], "--start 99"),
        (["--audio", tmp_path / "none.wav"], "none.wav"),
        (["--audio", song, "--separator", "magic"], "--separator magic"),
        (["--audio", song, "--output", song / "below-a-file"], "cannot create this folder"),
    ):
        assert words in last_error(sample(tiny_control, tmp_path / "out", *flags, code=2))
    run_script("sample_riff_cnet.py", "--output", tmp_path / "out", code=2)


def test_control_at_strength_zero_is_no_control(tiny_control: Path) -> None:
    pipeline = prepare_pipeline(load_control_pipeline(tiny_control))
    for zero in (pipeline.controlnet.controlnet_mid_block, pipeline.controlnet.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(zero.weight)  # as if it were trained
    edges = [np.zeros((512, 512), np.uint8), np.full((512, 512), 255, np.uint8)]

    def draw(strength: float) -> list[np.ndarray]:
        return [sample_control(pipeline, [one], ["p"], [0], SamplingOptions(steps=2, strength=strength))[0] for one in edges]

    without, uncontrolled = draw(0.0)
    np.testing.assert_array_equal(without, uncontrolled)
    assert not np.array_equal(draw(1.0)[0], draw(1.0)[1])
    with pytest.raises(DataError, match="multiples of"):
        sample_control(pipeline, [np.zeros((500, 512), np.uint8)], ["p"], [0])


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_the_loudness_of_a_true_mix_is_found_from_its_accompaniment(index: int) -> None:
    song = compose(6, index, 5.2)
    mix = waveform_to_image(torch.from_numpy(song.mixture))
    backing = waveform_to_image(torch.from_numpy(song.mixture - song.stems["vocals"]))
    found = match_level(mix.pixels, backing).max_value
    assert found == pytest.approx(mix.max_value, rel=0.03)


def test_a_silent_accompaniment_says_nothing_of_loudness() -> None:
    white = SpectrogramImage(np.full((512, 8), 255, np.uint8), 0.0)
    assert match_level(white.pixels, white).max_value > 0
