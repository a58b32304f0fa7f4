"""Songs that come with their stems: folders and MUSDB18's files of five AAC streams."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import last_error, run_script
from stem_files import STREAMS, stem_file_of, write_stem_file

from riff.audio.io import Audio, list_audio_files, plain_name, read_audio, read_audio_streams
from riff.errors import AudioError
from riff.pairs.songs import list_songs
from riff.separation.separator import SongOpener
from riff.separation.stems import BACKING_STEMS, Stems, StemsFolder, read_stems, stems_beside

RATE = 44_100


@pytest.fixture(scope="module")
def song(songs: Path) -> Path:
    """One song's folder."""
    return next(path for path in sorted(songs.iterdir()) if path.is_dir())


@pytest.fixture(scope="module")
def stem_file(song: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stem_file_of(song, tmp_path_factory.mktemp("musdb") / "Dr. A - B.C.stem.mp4")


def noise(samples: int, seed: int = 0, rate: int = RATE) -> Audio:
    return Audio((0.1 * np.random.default_rng(seed).standard_normal((2, samples))).astype(np.float32), rate)


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Scale-invariant ratio of signal to distortion in dB, of waveforms (channels, samples) of one length."""
    scaled = reference * (np.vdot(estimate, reference) / np.vdot(reference, reference))
    return float(10 * np.log10(np.sum(scaled**2) / np.sum((estimate - scaled) ** 2)))


def best_lag(estimate: np.ndarray, reference: np.ndarray, reach: int = 3000) -> int:
    """By how many samples the estimate is late, at most `reach`."""
    spectrum = np.fft.rfft(estimate.mean(axis=0), 2**20) * np.fft.rfft(reference.mean(axis=0), 2**20).conj()
    correlation = np.fft.irfft(spectrum)
    lags = np.arange(-reach, reach + 1)
    return int(lags[np.argmax(correlation[lags])])


def test_a_stem_file_gives_the_stems_of_the_folder(song: Path, stem_file: Path) -> None:
    """AAC is lossy, so the parts are alike and not equal; every one must lie exactly where it lay."""
    given, rate = read_stems(song)
    read, read_rate = read_stems(stem_file)
    assert (rate, list(given.parts)) == (read_rate, list(read.parts))
    pairs = {name: (read.parts[name], part) for name, part in given.parts.items()}
    pairs["mixture"] = (read_audio(stem_file).waveform, read_audio(song / "mixture.wav").waveform)
    for name, (estimate, reference) in pairs.items():
        samples = reference.shape[1]
        assert 0 <= estimate.shape[1] - samples < 2048, name
        assert best_lag(estimate, reference) == 0, name
        assert si_sdr(estimate[:, :samples], reference) > 15, name
        assert estimate.dtype == np.float32
    assert len({part.shape for part in read.parts.values()}) == 1


def test_a_stem_file_is_a_song_everywhere(stem_file: Path) -> None:
    folder = stem_file.parent
    assert list_audio_files(folder) == [stem_file]
    assert [(song.name, song.plain_name) for song in list_songs(folder)] == [("Dr. A - B.C.stem.mp4", "Dr. A - B.C")]
    assert stems_beside(stem_file) == stem_file
    expected, _ = read_stems(stem_file)
    for opened, _ in (read_stems(StemsFolder(folder).find("Dr. A - B.C")), SongOpener(None).open(stem_file)):
        np.testing.assert_array_equal(opened.vocals, expected.vocals)


def test_a_stem_file_is_taken_apart_by_the_script(stem_file: Path, tmp_path: Path) -> None:
    run_script("tools/separate_audio.py", "--audio", stem_file.parent, "--output", tmp_path, "--stems", 4)
    stems, _ = read_stems(tmp_path / "Dr. A - B.C")
    np.testing.assert_array_equal(stems.parts["bass"], read_stems(stem_file)[0].parts["bass"])


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a.wav", "a"),
        ("A - B.stem.mp4", "A - B"),
        ("A - B.STEM.MP4", "A - B"),
        ("St. Vitus - Word", "St. Vitus - Word"),
        ("Dr. A - X.Flac", "Dr. A - X"),
        ("film.MP4", "film"),
    ],
)
def test_plain_names(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_streams_that_end_within_a_frame_are_cut_to_the_shortest(tmp_path: Path) -> None:
    """Encoders fill up or cut off the last frame in their own ways; ALAC keeps any length, so it can show all of them."""

    def write(more: int) -> Path:
        whole = noise(RATE + more).waveform
        streams = [Audio(whole[:, : RATE + (more if name == "other" else 0)], RATE) for name in STREAMS]
        return write_stem_file(tmp_path / "a.stem.mp4", streams, codec="alac")

    stems, _ = read_stems(write(more=1023))
    assert stems.parts["other"].shape == (2, RATE)
    np.testing.assert_array_equal(stems.parts["other"], stems.vocals)
    with pytest.raises(AudioError, match="differ in length or format"):
        read_stems(write(more=1024))


@pytest.mark.parametrize(
    ("streams", "words"),
    [
        ([noise(RATE)] * 2, "holds 2 audio streams, not 5 (mixture, drums, bass, other, vocals)"),
        ([noise(RATE)] * 6, "holds 6 audio streams"),
        ([noise(RATE)] * 4 + [noise(RATE, rate=48_000)], "differ in length or format"),
    ],
)
def test_stem_files_that_are_none(tmp_path: Path, streams: list[Audio], words: str) -> None:
    path = write_stem_file(tmp_path / "a.stem.mp4", streams)
    with pytest.raises(AudioError, match=re.escape(words)) as raised:
        read_stems(path)
    assert str(path) in str(raised.value)


def test_damaged_stem_files(stem_file: Path, tmp_path: Path) -> None:
    whole = stem_file.read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"la la la"}.items():
        path = tmp_path / f"{name}.stem.mp4"
        path.write_bytes(content)
        with pytest.raises(AudioError, match=re.escape(str(path))):
            read_stems(path)
    with pytest.raises(AudioError, match="no such audio file"):
        read_audio_streams(tmp_path / "none.stem.mp4")
    (tmp_path / "more").mkdir()
    done = run_script("tools/separate_audio.py", "--audio", tmp_path / "cut.stem.mp4", "--output", tmp_path / "more", code=2)
    assert "cut.stem.mp4" in last_error(done)


def test_what_is_left_without_a_part_is_the_sum_of_the_others() -> None:
    parts = {name: noise(100, seed).waveform * 20 for seed, name in enumerate(("vocals", *BACKING_STEMS))}
    stems = Stems(parts)
    left = stems.without("bass")
    np.testing.assert_allclose(left, parts["vocals"] + parts["drums"] + parts["other"], rtol=1e-6)
    assert left.dtype == np.float32
    assert np.abs(left).max() > 1  # nothing clips it
    np.testing.assert_array_equal(stems.accompaniment, stems.without("vocals"))


def test_an_accompaniment_serves_the_vocals_only(tmp_path: Path, song: Path) -> None:
    for name, source in {"vocals": "vocals", "accompaniment": "other"}.items():
        (tmp_path / f"{name}.wav").write_bytes((song / f"{source}.wav").read_bytes())
    assert list(read_stems(tmp_path)[0].parts) == ["vocals", "accompaniment"]
    with pytest.raises(AudioError, match=r"drums\.wav is missing"):
        read_stems(tmp_path, needed="drums")
