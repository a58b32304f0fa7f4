"""sample_riff_cnet.py on a tiny model, and the estimate of a sample's loudness."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import refusal, run_script
from PIL import Image

import sample_riff_cnet
from demo.world.compose import compose
from riff.audio.notes import Note, read_midi, write_midi
from riff.errors import DataError
from riff.models.loading import load_control_pipeline
from riff.sampling.clip import control_from_image
from riff.sampling.levels import match_level
from riff.sampling.options import SamplingOptions
from riff.sampling.pipelines import prepare_pipeline, sample_control
from riff.spectrogram.image import SpectrogramImage, load_grey, load_image, waveform_to_image
from riff.spectrogram.params import CLIP_SAMPLES


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("song") / "song.wav"
    soundfile.write(path, compose(5, 0, 6.0).mixture.T, 44_100)
    return path


def flags(model: Path, place: Path, *more: object) -> list[str]:
    return [str(flag) for flag in ("--model", model, "--output", place, "--steps", 2, "--num_samples", 1, *more)]


def test_a_song_gives_its_files_and_the_same_seed_the_same_bytes(tiny_control: Path, song: Path, tmp_path: Path) -> None:
    asked = ("--audio", song, "--seed", 7)
    run_script("sample_riff_cnet.py", *flags(tiny_control, tmp_path / "one", *asked))
    sample_riff_cnet.main(flags(tiny_control, tmp_path / "two", *asked))
    names = {
        "accompaniment.png",
        "accompaniment.wav",
        "control.png",
        "sample-0.png",
        "sample-0.wav",
        "sheet-0.png",
        "vocal-0.mid",
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
    assert "--overwrite" in refusal(sample_riff_cnet.main, *flags(tiny_control, tmp_path / "one", "--audio", song))


def test_samples_of_a_tune(tiny_control: Path, song: Path, tmp_path: Path) -> None:
    write_midi(tmp_path / "tune.mid", [Note(2.0, 3.0, 62.0), Note(3.0, 4.0, 64.0)])
    flags = ["--model", tiny_control, "--audio", song, "--separator", "none", "--steps", 4, "--griffin_lim_iterations", 1]

    def run(name: str, *more: object) -> Path:
        sample_riff_cnet.main([str(flag) for flag in (*flags, "--output", tmp_path / name, "--num_samples", 2, *more)])
        return tmp_path / name

    with_file = run("file", "--start", 1, "--melody", tmp_path / "tune.mid", "--melody_strength", 1, "--prompt", "a female vocal")
    notes, _ = read_midi(with_file / "tune.mid")  # one for both, where it lies in the clip
    assert [(round(note.start, 2), note.pitch) for note in notes] == [(1.0, 62), (2.0, 64)]
    assert not (with_file / "tune-0.mid").exists()
    assert (with_file / "vocal-0.mid").exists()
    composed = run("composed", "--melody", "compose")
    assert (composed / "tune-0.mid").read_bytes() != (composed / "tune-1.mid").read_bytes()
    with pytest.raises(SystemExit):
        sample_riff_cnet.main(["--control", "edges.png", "--melody", "compose"])


def test_an_edge_map_alone_is_enough(tiny_control: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    edges = np.zeros((512, 512), np.uint8)
    edges[::40] = 255
    Image.fromarray(edges).save(tmp_path / "edges.png")
    sample_riff_cnet.main(flags(tiny_control, tmp_path / "out", "--control", tmp_path / "edges.png"))
    assert (tmp_path / "out" / "sample-0.wav").exists()
    assert "edges" not in capsys.readouterr().err  # nothing to warn of


@pytest.mark.parametrize(("level", "words"), [(0, "holds no edges (all black)"), (255, "is white all over")])
def test_a_blank_control_is_sampled_with_a_warning(
    tiny_control: Path, tmp_path: Path, capsys: pytest.CaptureFixture, level: int, words: str
) -> None:
    path = tmp_path / "blank.png"
    Image.new("L", (512, 512), level).save(path)
    quick = ("--model", tiny_control, "--steps", 1, "--num_samples", 1, "--griffin_lim_iterations", 1, "--output", tmp_path / "out")
    sample_riff_cnet.main([str(flag) for flag in (*quick, "--control", path)])
    assert f"--control {path}: {words}" in capsys.readouterr().err
    assert (tmp_path / "out" / "sample-0.wav").exists()


def in_mode(edges: np.ndarray, mode: str) -> Image.Image:
    """Edges saved with a transparent background of any colour."""
    white = Image.fromarray(np.full_like(edges, 255))
    if mode in ("LA", "RGBA"):
        drawn = white.convert(mode)
        drawn.putalpha(Image.fromarray(edges))
        return drawn
    if mode == "P":
        palette = Image.fromarray(edges // 255, "P")
        palette.putpalette([255, 255, 255] * 256)  # both colours are white, and the first is transparent
        return palette
    return Image.fromarray(edges.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(edges).convert(mode)


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "LA", "P", "I;16"])
def test_edges_of_any_kind_of_png_are_the_same(tmp_path: Path, mode: str) -> None:
    edges = np.zeros((512, 64), np.uint8)
    edges[100:110, 3:50] = 255
    in_mode(edges, mode).save(tmp_path / "edges.png", transparency=0 if mode == "P" else None)
    np.testing.assert_array_equal(control_from_image(tmp_path / "edges.png").edges, edges)


def test_a_transparent_spectrogram_is_silent_there(tmp_path: Path) -> None:
    image = Image.new("RGBA", (8, 512), (0, 0, 0, 255))
    image.putpixel((3, 5), (0, 0, 0, 0))
    image.save(tmp_path / "spectrogram.png")
    pixels = load_image(tmp_path / "spectrogram.png").pixels
    assert (pixels[5, 3], pixels[5, 4]) == (255, 0)


def test_levels_of_16_and_32_bits(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 300, 32_768, 65_535]], np.uint16)).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(load_grey(tmp_path / "deep.png"), [[0, 1, 128, 255]])
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(DataError, match=r"float.tiff: an image of 32 bits; save it with 8"):
        load_grey(tmp_path / "float.tiff")


def test_invalid_inputs_end_in_one_line(tiny_control: Path, song: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((512, 512), 100, np.uint8)).save(tmp_path / "grey.png")
    Image.new("L", (100, 100)).save(tmp_path / "small.png")
    Image.new("L", (100, 512)).save(tmp_path / "narrow.png")
    for more, words in (
        (["--control", tmp_path / "grey.png"], "holds grey levels"),
        (["--control", tmp_path / "small.png"], "small.png: 100x100 pixels; it must be as high as a spectrogram"),
        (["--control", tmp_path / "narrow.png"], "narrow.png: an image of 512x100 does not fit this model"),
        (["--audio", song, "--start", 99], "start 99"),
        (["--audio", tmp_path / "none.wav"], "none.wav"),
        (["--audio", song, "--separator", "magic"], "--separator: invalid choice: 'magic'"),
        (["--audio", song, "--output", song / "below-a-file"], "cannot create this folder"),
    ):
        assert words in refusal(sample_riff_cnet.main, *flags(tiny_control, tmp_path / "out", *more))
    assert "give one of --audio FILE and --control IMAGE" in refusal(sample_riff_cnet.main, *flags(tiny_control, tmp_path / "out"))


def test_control_at_strength_zero_is_no_control(tiny_control: Path) -> None:
    pipeline = prepare_pipeline(load_control_pipeline(tiny_control))
    for zero in (pipeline.controlnet.controlnet_mid_block, pipeline.controlnet.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(zero.weight)  # as if trained
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


def test_a_silent_accompaniment_has_no_loudness() -> None:
    white = SpectrogramImage(np.full((512, 8), 255, np.uint8), 0.0)
    assert match_level(white.pixels, white).max_value > 0
