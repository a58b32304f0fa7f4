"""A song that is generated from left to right: its joints, its pieces, and what may change meanwhile."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from riff.audio.loudness import loudness_against
from riff.errors import OptionError
from riff.sampling.mixback import mix_back
from riff.sampling.rendering import backing_image
from riff.sampling.song import SongModel, load_song_model
from riff.sampling.stream import SongStream, StreamMixer, joined
from riff.sampling.windows import Guide
from riff.separation.song import Song, song_of
from riff.spectrogram.mel import waveform_to_mel
from riff.spectrogram.params import STANDARD
from riff.spectrogram.phase import OVERLAP_FRAMES, WORKING_RATE, continue_waveform, mel_to_waveform


def tone(seconds: float, frequency: float = 400.0, rate: int = 44_100) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_a_tone_in_blocks_has_no_step_at_their_joints() -> None:
    mel = waveform_to_mel(torch.from_numpy(tone(5.0)))
    hop, frames = STANDARD.at_rate(WORKING_RATE).hop_length, mel.shape[1]
    parts, before, first = [], torch.zeros(0), 0
    for end in (150, 300, frames):
        block = continue_waveform(before, mel[:, first:end])
        finished = hop * (end - first - (1 if end == frames else OVERLAP_FRAMES))
        parts.append(block[:finished])
        before, first = block[finished:], end - OVERLAP_FRAMES
    whole = mel_to_waveform(mel)
    assert len(torch.cat(parts)) == hop * (frames - 1)

    def steps(waveform: torch.Tensor, rate: int) -> np.ndarray:
        """Changes of level in dB from 20 ms to 20 ms, without the ends."""
        length = rate // 50
        blocks = waveform[: len(waveform) // length * length].reshape(-1, length)
        return np.abs(np.diff(10 * np.log10(blocks.square().mean(dim=1).numpy())))[10:-10]

    in_blocks = steps(torch.cat(parts), WORKING_RATE)
    assert in_blocks.max() < 1.1 * steps(whole, 44_100).max() + 0.1


@pytest.fixture(scope="module")
def song() -> Song:
    """11 s at 32 kHz: three windows."""
    times = np.arange(11 * 32_000) / 32_000
    backing = (0.2 * np.sin(2 * np.pi * 220 * times) * (1 + np.sin(4 * np.pi * times))).astype(np.float32)
    return song_of(0.1 * np.stack([tone(11, 660, 32_000)] * 2), np.stack([backing, 0.5 * backing]), 32_000)


@pytest.mark.parametrize("stereo", [False, True])
def test_a_vocal_mixed_in_pieces_is_the_vocal_mixed_at_once(stereo: bool) -> None:
    rng = np.random.default_rng(0)
    accompaniment = (0.9 * np.stack([tone(3, 110, 48_000), tone(3, 165, 48_000)]) / 0.3).astype(np.float32)
    vocal = (0.2 * rng.standard_normal(3 * WORKING_RATE)).astype(np.float32)  # the sum would exceed full scale
    at_once = StreamMixer(accompaniment, 48_000, 0.0, 0.0, stereo).add(vocal, is_last=True).mix
    mixer, cuts = StreamMixer(accompaniment, 48_000, 0.0, 0.0, stereo), [0, 7_000, 7_100, 30_000, len(vocal)]
    pieces = [mixer.add(vocal[first:end], end == len(vocal)) for first, end in pairwise(cuts)]
    mix = joined(pieces)
    assert [piece.start for piece in pieces] == np.cumsum([0, *(piece.mix.mix.shape[1] for piece in pieces[:-1])]).tolist()
    np.testing.assert_allclose(mix.vocal, at_once.vocal, atol=2e-6)
    np.testing.assert_array_equal(mix.accompaniment, accompaniment)
    np.testing.assert_array_equal(mix.mix, accompaniment + mix.vocal)
    assert np.abs(mix.mix).max() <= 1
    assert mix.limited_db == pytest.approx(at_once.limited_db)
    assert mix.limited_db < -1


def test_the_level_of_a_steady_vocal_is_that_of_the_whole_song(song: Song) -> None:
    vocal = np.tile(np.concatenate([tone(0.7, 500), np.zeros(13_230, np.float32)]), 11)
    whole = mix_back(vocal, song.accompaniment, song.sample_rate, vocal_lu=-4.0)
    mixer, parts = StreamMixer(song.accompaniment, song.sample_rate, None, -4.0), np.array_split(vocal[: 11 * 44_100], 4)
    at_24_khz = [np.interp(np.arange(len(part) * 24 // 44.1) * 44.1 / 24, np.arange(len(part)), part) for part in parts]
    mix = joined([mixer.add(part.astype(np.float32), number == 3) for number, part in enumerate(at_24_khz)])
    assert mix.gain_db == pytest.approx(whole.gain_db, abs=0.5)
    assert loudness_against(mix.vocal, mix.accompaniment, mix.sample_rate) == pytest.approx(-4.0, abs=0.5)


@pytest.fixture(scope="module", params=["control", "edit"])
def model(request: pytest.FixtureRequest, tiny_control: Path, tiny_edit: Path) -> SongModel:
    return load_song_model(str(tiny_control if request.param == "control" else tiny_edit), steps=1)


def test_pieces_join_to_the_song_and_follow_changes_only_after_them(model: SongModel, song: Song) -> None:
    backing = backing_image(song)
    plain = list(SongStream(model, song, backing, "a vocal", iterations=1))
    mix = joined(plain)
    assert mix.mix.shape == song.accompaniment.shape
    np.testing.assert_array_equal(mix.mix, song.accompaniment + mix.vocal)
    assert plain[0].mix.mix.shape[1] / song.sample_rate > 4.0

    steps: list[None] = []
    stream, changed = SongStream(model, song, backing, "a vocal", iterations=1, on_step=lambda: steps.append(None)), []
    for piece in stream:
        changed.append(piece)
        if model.follows_edges:
            stream.prompt = "another one"
        else:
            stream.guide = Guide(np.random.default_rng(0).integers(0, 256, backing.pixels.shape, dtype=np.uint8), 0.5)
    np.testing.assert_array_equal(changed[0].mix.vocal, plain[0].mix.vocal)
    assert any(np.abs(new.mix.vocal - old.mix.vocal).max() > 1e-4 for new, old in zip(changed[1:], plain[1:], strict=True))
    assert stream.take().after.pixels.shape == backing.pixels.shape
    assert len(steps) == len(stream) * stream.steps == 3


def test_edges_are_followed_as_they_are_given(song: Song, tiny_control: Path) -> None:
    model, backing, hints = load_song_model(str(tiny_control), steps=1), backing_image(song), list[torch.Tensor]()
    edges = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), backing.pixels.shape)
    with model.pipeline.controlnet.controlnet_cond_embedding.register_forward_pre_hook(lambda _, given: hints.append(given[0])):
        next(iter(SongStream(model, song, backing, "a vocal", iterations=1, edges=edges)))
    np.testing.assert_array_equal((255 * hints[0][0, 0]).round().byte().numpy(), edges[:, :512])


def test_windows_that_hardly_overlap_are_refused(model: SongModel, song: Song) -> None:
    with pytest.raises(OptionError, match=r"overlap by 0\.01: a stream needs more than"):
        SongStream(model, song, backing_image(song), "a vocal", overlap=0.01)
