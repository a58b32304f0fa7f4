"""A song with its parts: given stems stay what they are, and stems of another song are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stem_files import write_stem_file

from riff.audio.clips import check_regions
from riff.audio.io import Audio, write_audio
from riff.errors import AudioError, AudioWarning, OptionError
from riff.sampling.clip import control_from_audio
from riff.separation.separator import SeparationOptions, SongOpener, open_songs
from riff.separation.song import Song, open_excerpt, open_song

RATE = 44_100


def noise(seed: int, channels: int = 2, samples: int = 2 * RATE) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, samples))).astype(np.float32)


def write_song(folder: Path, mixture: np.ndarray, stems: dict[str, np.ndarray], rate: int = RATE, mixture_rate: int = RATE) -> Path:
    """A song beside STEMS/song/; returns the song."""
    for name, part in stems.items():
        write_audio(folder / "stems" / "song" / f"{name}.wav", part, rate, subtype="FLOAT")
    write_audio(folder / "song.wav", mixture, mixture_rate, subtype="FLOAT")
    return folder / "song.wav"


def opened(song: Path) -> Song:
    return open_song(song, open_songs(SeparationOptions(stems_dir=song.parent / "stems"), [song]))


STEMS = {name: noise(number) for number, name in enumerate(("vocals", "drums", "bass", "other"))}
MIXTURE = np.stack(list(STEMS.values())).sum(axis=0)


def test_the_accompaniment_is_the_given_stems_sum_to_the_bit(tmp_path: Path) -> None:
    song = opened(write_song(tmp_path, MIXTURE, STEMS))
    np.testing.assert_array_equal(song.accompaniment, STEMS["drums"] + STEMS["bass"] + STEMS["other"])
    np.testing.assert_array_equal(song.waveform, MIXTURE)
    assert song.residue_db < -120
    assert song.duration_s == 2.0


def test_a_separated_song_is_its_parts_sum_at_every_frequency(tmp_path: Path) -> None:
    """Also where a separator drops something, as Spleeter does above 11 kHz."""

    class Deaf:
        name = "deaf"

        def separate(self, waveform: np.ndarray, sample_rate: int):  # type: ignore[no-untyped-def]
            from riff.separation.stems import Stems

            return Stems({"vocals": 0.5 * waveform, "accompaniment": np.zeros_like(waveform)})

    write_audio(tmp_path / "song.wav", MIXTURE, 48_000, subtype="FLOAT")
    song = open_song(tmp_path / "song.wav", SongOpener(Deaf()))
    np.testing.assert_allclose(song.vocals + song.accompaniment, song.waveform, atol=1e-7)
    assert song.sample_rate == 48_000


def test_times_beyond_the_song_are_refused_before_it_is_separated(tmp_path: Path) -> None:
    class Untouched:
        name = "untouched"

        def separate(self, waveform: np.ndarray, sample_rate: int):  # type: ignore[no-untyped-def]
            pytest.fail("the song was separated")

    write_audio(tmp_path / "song.wav", MIXTURE, RATE, subtype="FLOAT")
    opener = SongOpener(Untouched())
    with pytest.raises(AudioError, match=r"start 2\.5: .*song\.wav lasts 2\.00 s; begin inside it"):
        control_from_audio(tmp_path / "song.wav", opener, start_s=2.5)
    with pytest.raises(OptionError, match=r"end 3: the song lasts 2\.00 s"):
        open_song(tmp_path / "song.wav", opener, check=lambda duration_s: check_regions([(1.0, 3.0)], duration_s))
    with pytest.raises(AudioError, match=r"a part of 1 s from 2 s: the song lasts 2\.00 s; begin inside it"):
        open_excerpt(tmp_path / "song.wav", opener, 2.0, 1.0)
    beside = write_song(tmp_path, MIXTURE, STEMS)
    with pytest.raises(AudioError, match=r"lasts 2\.00 s"):
        control_from_audio(beside, open_songs(SeparationOptions(stems_dir=tmp_path / "stems"), [beside]), start_s=2.5)


def test_a_mono_song_takes_the_form_of_its_stereo_stems(tmp_path: Path) -> None:
    stems = {name: np.repeat(part[:1], 2, axis=0) for name, part in STEMS.items()}
    song = opened(write_song(tmp_path, MIXTURE[:1], stems))
    assert song.waveform.shape == song.accompaniment.shape == (2, 2 * RATE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixture": noise(9)}, "do not sum to it"),
        ({"mixture": MIXTURE[:, : RATE // 2]}, "samples and its stems"),
        ({"mixture": MIXTURE, "mixture_rate": 48_000}, "48000 Hz and its stems 44100 Hz"),
        ({"mixture": np.zeros_like(MIXTURE)}, "do not sum to it"),
    ],
)
def test_stems_of_something_else_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        opened(write_song(tmp_path, stems=STEMS, **change))


def test_silence_is_a_song(tmp_path: Path) -> None:
    silence = {name: np.zeros_like(part) for name, part in STEMS.items()}
    assert opened(write_song(tmp_path, silence["vocals"], silence)).residue_db == -np.inf


def mastered(mixture: np.ndarray) -> np.ndarray:
    """As stem files of shops are: 12 dB louder, compressed above -26 dB at 4:1, and limited."""
    level = np.convolve(np.abs(mixture).max(axis=0), np.ones(4410) / 4410, mode="same")
    above_db = np.maximum(0, 20 * np.log10(level + 1e-9) + 26)
    return np.tanh(4 * mixture * 10 ** (-0.75 * above_db / 20)).astype(np.float32)


def swelling(part: np.ndarray) -> np.ndarray:
    return part * np.linspace(0.1, 3, part.shape[1], dtype=np.float32)


def test_stems_of_a_song_that_was_mastered_are_taken_and_said(tmp_path: Path) -> None:
    stems = {name: swelling(part) for name, part in STEMS.items()}
    mixture = mastered(np.stack(list(stems.values())).sum(axis=0))
    with pytest.warns(AudioWarning, match=r"song\.wav: its stems do not sum to it .*mastered; its stems are scaled by [+-]\d"):
        song = opened(write_song(tmp_path, mixture, stems))
    assert -20 < song.residue_db < -6
    ratio = song.accompaniment / (stems["drums"] + stems["bass"] + stems["other"])
    assert ratio.std() < 1e-5 * ratio.mean()
    powers = [np.square(sound).mean() for sound in (song.waveform, song.vocals + song.accompaniment)]
    assert 10 * np.log10(powers[0] / powers[1]) == pytest.approx(0, abs=1)


def test_a_stem_file_of_a_mastered_song_is_opened_and_one_of_another_is_not(tmp_path: Path) -> None:
    sound = {name: Audio(swelling(part), RATE) for name, part in STEMS.items()}
    parts = [sound[name] for name in ("drums", "bass", "other", "vocals")]
    master = Audio(mastered(np.stack([part.waveform for part in parts]).sum(axis=0)), RATE)
    with pytest.warns(AudioWarning, match="mastered"):
        open_song(write_stem_file(tmp_path / "mastered.stem.mp4", [master, *parts]), SongOpener(None))
    late = Audio(np.roll(master.waveform, 50, axis=1), RATE)
    for mixture, name in ((Audio(noise(9), RATE), "another"), (late, "late"), (Audio(-master.waveform, RATE), "inverted")):
        with pytest.raises(
            AudioError, match=r"do not sum to it .*correlation -?\d\.\d\d\); give the aligned stems of this very mix"
        ):
            open_song(write_stem_file(tmp_path / f"{name}.stem.mp4", [mixture, *parts]), SongOpener(None))
