"""The two parts are the song, the voice is mostly in the one and the band in the other."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from riff.audio.io import read_audio, write_audio
from riff.errors import AudioError, OptionError
from riff.separation import repet
from riff.separation.separator import SeparationOptions, create_separator, open_songs
from riff.separation.stems import StemsFolder, read_stems
from tools import separate_audio

RATE = 22_050
REPET = SeparationOptions("repet")


@lru_cache(maxsize=1)
def song(seconds: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    """(vocals, accompaniment): a melody with vibrato that never repeats over two bars of chords and drums that do."""
    rng = np.random.default_rng(0)
    time = np.arange(round(seconds * RATE)) / RATE
    beat = round(0.5 * RATE)
    bar = np.zeros((2, 8 * beat))
    for number, root in enumerate((220.0, 174.6, 261.6, 196.0) * 2):
        here = slice(number * beat, (number + 1) * beat)
        decay = np.exp(-3 * time[:beat])
        chord = sum(np.sin(2 * np.pi * root * k * time[:beat]) / k for k in (1, 1.25, 1.5, 2, 2.5, 3, 4))
        hit = rng.standard_normal(beat) * np.exp(-40 * time[:beat]) + 2 * np.sin(2 * np.pi * 60 * time[:beat]) * decay
        bar[:, here] = 0.1 * np.outer([1.0, 0.6], chord * decay) + 0.15 * hit
    accompaniment = np.tile(bar, (1, 4))[:, : len(time)]
    notes = 330.0 * 2 ** (rng.integers(-5, 8, 40) / 12)
    glide = np.interp(time, np.arange(40) * 0.37, notes) * (1 + 0.012 * np.sin(2 * np.pi * 5.5 * time))
    phase = 2 * np.pi * np.cumsum(glide) / RATE
    voice = 0.12 * sum(np.sin(k * phase) / k for k in range(1, 9)) * (np.sin(2 * np.pi * time / 6) > -0.6)
    return np.stack([voice, voice]).astype(np.float32), accompaniment.astype(np.float32)


def si_sdr_db(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al., ICASSP 2019)."""
    reference, estimate = reference.ravel().astype(np.float64), estimate.ravel().astype(np.float64)
    target = reference * (estimate @ reference) / (reference @ reference)
    return float(10 * np.log10(np.sum(target**2) / np.sum((estimate - target) ** 2)))


def test_repet_separates_a_song() -> None:
    vocals, accompaniment = song()
    mix = vocals + accompaniment
    stems = create_separator(REPET).separate(mix, RATE)
    assert si_sdr_db(accompaniment, stems.accompaniment) > si_sdr_db(accompaniment, mix) + 4
    assert si_sdr_db(vocals, stems.vocals) > si_sdr_db(vocals, mix) + 4


def test_repet_in_blocks_is_nearly_repet_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vocals, accompaniment = song()
    mix = vocals + accompaniment
    monkeypatch.setattr(repet, "BLOCK_S", 6.0)
    monkeypatch.setattr(repet, "OVERLAP_S", 1.0)
    stems = create_separator(REPET).separate(mix, RATE)
    np.testing.assert_allclose(stems.vocals + stems.accompaniment, mix, atol=1e-6)
    assert si_sdr_db(accompaniment, stems.accompaniment) > si_sdr_db(accompaniment, mix) + 3


@pytest.mark.parametrize("samples", [1, 100, 1_000, 1_001, 1_501, 12_345])
def test_crossfaded_blocks_add_up(monkeypatch: pytest.MonkeyPatch, samples: int) -> None:
    monkeypatch.setattr(repet, "BLOCK_S", 1.0)
    monkeypatch.setattr(repet, "OVERLAP_S", 0.1)
    monkeypatch.setattr(repet, "_extract_vocals", lambda waveform, sample_rate: waveform)
    mix = np.random.default_rng(2).uniform(-1, 1, (2, samples)).astype(np.float32)
    np.testing.assert_allclose(create_separator(REPET).separate(mix, sample_rate=1_000).vocals, mix, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
@pytest.mark.parametrize(("rate", "samples"), [(8_000, 20_001), (96_000, 144_000), (44_100, 13_230), (44_100, 1)])
def test_the_parts_are_the_song(channels: int, rate: int, samples: int) -> None:
    mix = np.random.default_rng(1).uniform(-1, 1, (channels, samples)).astype(np.float32)
    stems = create_separator(REPET).separate(mix, rate)
    assert stems.vocals.shape == stems.accompaniment.shape == mix.shape
    assert stems.vocals.dtype == stems.accompaniment.dtype == np.float32
    np.testing.assert_allclose(stems.vocals + stems.accompaniment, mix, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 6_615, 5 * RATE])
def test_silence_stays_silence(samples: int) -> None:
    stems = create_separator(REPET).separate(np.zeros((2, samples), np.float32), RATE)
    assert not stems.vocals.any()
    assert not stems.accompaniment.any()


def test_silence_around_a_song_is_no_nan() -> None:
    mix = np.zeros((2, 6 * RATE), np.float32)
    mix[:, 2 * RATE : 4 * RATE] = np.sum(song(), axis=0)[:, : 2 * RATE]
    stems = create_separator(REPET).separate(mix, RATE)
    assert np.isfinite(stems.vocals).all()
    assert not stems.vocals[:, :RATE].any()


def test_a_dead_channel_does_not_silence_the_voice() -> None:
    vocals, accompaniment = song()
    left = (vocals + accompaniment)[:1]
    one_sided = create_separator(REPET).separate(np.concatenate([left, np.zeros_like(left)]), RATE)
    mono = create_separator(REPET).separate(left, RATE)
    np.testing.assert_allclose(one_sided.vocals[:1], mono.vocals, atol=1e-6)
    assert not one_sided.vocals[1].any()


def test_unknown_separator_lists_the_known() -> None:
    with pytest.raises(OptionError, match=r"no separator magic; .*repet"):
        create_separator(SeparationOptions("magic"))


# Songs that come with stems


def write_stems(folder: Path, suffix: str = ".wav", **waveforms: np.ndarray) -> Path:
    for name, waveform in waveforms.items():
        write_audio(folder / f"{name}{suffix}", waveform, RATE)
    return folder


def level(value: float, samples: int = 100) -> np.ndarray:
    return np.full((2, samples), value, np.float32)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_stems_are_summed_without_wrapping(tmp_path: Path, suffix: str) -> None:
    write_stems(tmp_path / "song", suffix, vocals=level(0.25), drums=level(0.75), bass=level(0.5), other=level(0.5))
    stems, rate = read_stems(StemsFolder(tmp_path).find("song"))
    assert rate == RATE
    np.testing.assert_allclose(stems.vocals, level(0.25), atol=1e-6)
    np.testing.assert_allclose(stems.accompaniment, level(1.75), atol=1e-6)
    assert stems.accompaniment.dtype == np.float32


def test_one_accompaniment_file_will_do(tmp_path: Path) -> None:
    write_stems(tmp_path / "song", vocals=level(0.25), accompaniment=level(-0.5))
    np.testing.assert_allclose(read_stems(StemsFolder(tmp_path).find("song"))[0].accompaniment, level(-0.5), atol=1e-6)


@pytest.mark.parametrize(
    ("present", "says"),
    [
        ({}, "song: no stems of this song"),
        ({"drums": level(0), "bass": level(0), "other": level(0)}, r"song: vocals\.wav is missing"),
        ({"vocals": level(0), "drums": level(0), "other": level(0)}, r"song: bass\.wav is missing"),
        ({"vocals": level(0), "accompaniment": level(0, 99)}, r"accompaniment\.wav: 2 channels of 99 samples"),
        ({"vocals": level(0), "accompaniment": level(0)[:1]}, r"accompaniment\.wav: 1 channels"),
    ],
)
def test_missing_and_unfitting_stems_are_named(tmp_path: Path, present: dict[str, np.ndarray], says: str) -> None:
    write_stems(tmp_path / "song", ".wav", **present)
    with pytest.raises(AudioError, match=says):
        read_stems(StemsFolder(tmp_path).find("song"))


def test_a_song_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    write_stems(tmp_path / "song", vocals=level(0), accompaniment=level(0))
    (tmp_path / "stems").mkdir()
    with pytest.raises(OptionError, match="leaves its folder"):
        read_stems(StemsFolder(tmp_path / "stems").find("../song"))


def test_a_missing_stems_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="nowhere: no such folder"):
        StemsFolder(tmp_path / "nowhere")


# tools/separate_audio.py


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    folder = tmp_path / "songs"
    mix = np.sum(song(), axis=0)[:, : 3 * RATE]
    write_audio(folder / "a good one.wav", mix, RATE)
    (folder / "b text.wav").write_text("not a song\n")
    write_audio(folder / "c cut.flac", mix, RATE)
    content = (folder / "c cut.flac").read_bytes()
    (folder / "c cut.flac").write_bytes(content[: len(content) // 2])
    soundfile.write(folder / "d surround.wav", np.tile(mix, (4, 1)).T, 96_000)
    return folder


def test_the_good_songs_of_a_folder_are_done(songs: Path, tmp_path: Path) -> None:
    output = tmp_path / "stems"
    command = [sys.executable, "tools/separate_audio.py", "--audio", str(songs), "--output", str(output), "--separator", "repet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert ["b text.wav" in errors[0], "c cut.flac" in errors[1], len(errors)] == [True, True, 2]
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in output.iterdir() if path.is_dir()) == ["a good one", "d surround"]
    for name, channels, rate in (("a good one", 2, RATE), ("d surround", 8, 96_000)):
        mix = read_audio(songs / f"{name}.wav")
        parts = [read_audio(output / name / f"{part}.wav") for part in ("vocals", "accompaniment")]
        assert all(part.sample_rate == mix.sample_rate == rate for part in parts)
        assert len(mix.waveform) == channels
        np.testing.assert_allclose(parts[0].waveform + parts[1].waveform, mix.waveform, atol=1e-6)


def test_again_skips_what_is_there(songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--audio", str(songs / "a good one.wav"), "--output", str(tmp_path / "stems"), "--separator", "repet"]
    vocals = tmp_path / "stems" / "a good one" / "vocals.wav"
    assert separate_audio.main(arguments) == 0
    first = vocals.stat().st_mtime_ns
    assert separate_audio.main(arguments) == 0
    assert vocals.stat().st_mtime_ns == first
    assert "1 were there" in capsys.readouterr().out
    assert separate_audio.main([*arguments, "--overwrite"]) == 0
    assert vocals.stat().st_mtime_ns > first


def test_two_songs_of_one_name_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for suffix in (".flac", ".wav"):
        write_audio(tmp_path / "songs" / f"song{suffix}", level(0.1), RATE)
    assert (
        separate_audio.main(["--audio", str(tmp_path / "songs"), "--output", str(tmp_path / "stems"), "--separator", "repet"]) == 2
    )
    assert "song.wav: its stems would replace those of song.flac" in capsys.readouterr().err


@pytest.mark.parametrize(("flag", "value", "says"), [("--audio", "nowhere.wav", "nowhere.wav"), ("--separator", "magic", "repet")])
def test_wrong_flags_end_in_one_line(tmp_path: Path, flag: str, value: str, says: str) -> None:
    write_audio(tmp_path / "song.wav", level(0.1), RATE)
    flags = {"--audio": str(tmp_path / "song.wav"), "--output": str(tmp_path / "stems"), "--separator": "repet", flag: value}
    command = [sys.executable, "tools/separate_audio.py", *(word for pair in flags.items() for word in pair)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_stems_beside_a_mixture_are_taken_instead_of_separating(tmp_path: Path) -> None:
    write_stems(tmp_path / "song", mixture=level(0.75), vocals=level(0.25), drums=level(0.5), bass=level(0), other=level(0))
    song = tmp_path / "song" / "mixture.wav"
    opener = open_songs(SeparationOptions(), [song])
    assert opener.name == "stems"
    np.testing.assert_allclose(opener.open(song)[0].accompaniment, level(0.5), atol=1e-6)
    separated, _ = open_songs(REPET, [song]).open(song)  # asked for by name, a separator separates
    assert not separated.vocals.any()


def test_four_given_stems_are_written_as_they_are(tmp_path: Path) -> None:
    parts = {"vocals": level(0.25), "drums": level(0.75), "bass": level(0.5), "other": level(-0.5)}
    write_stems(tmp_path / "songs" / "song", ".wav", mixture=level(1.0), **parts)
    mixture = tmp_path / "songs" / "song" / "mixture.wav"
    assert separate_audio.main(["--audio", str(mixture), "--output", str(tmp_path / "out"), "--stems", "4"]) == 0
    for name, part in parts.items():
        np.testing.assert_allclose(read_audio(tmp_path / "out" / "mixture" / f"{name}.wav").waveform, part, atol=1e-6)


def test_a_separator_of_two_parts_gives_no_four(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_audio(tmp_path / "song.wav", level(0.1), RATE)
    arguments = ["--audio", str(tmp_path / "song.wav"), "--output", str(tmp_path / "out"), "--separator", "repet", "--stems", "4"]
    assert separate_audio.main(arguments) == 2
    assert "no drums" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.wav"))


@pytest.mark.parametrize("separator", ["stems", "repet"])
def test_contradictions_about_stems_are_named(tmp_path: Path, separator: str) -> None:
    write_audio(tmp_path / "song.wav", level(0.1), RATE)
    with pytest.raises((AudioError, OptionError), match=r"gives the stems already|give a folder of stems"):
        open_songs(SeparationOptions(separator, tmp_path if separator == "repet" else None), [tmp_path / "song.wav"]).open(
            tmp_path / "song.wav"
        )


def test_flac_parts_are_24_bits(tmp_path: Path) -> None:
    vocals, accompaniment = (part[:, : 2 * RATE] for part in song())
    write_audio(tmp_path / "song.wav", vocals + accompaniment, RATE)
    arguments = ["--audio", str(tmp_path / "song.wav"), "--output", str(tmp_path / "out"), "--separator", "repet"]
    assert separate_audio.main([*arguments, "--format", "flac"]) == 0
    assert soundfile.info(tmp_path / "out" / "song" / "vocals.flac").subtype == "PCM_24"
