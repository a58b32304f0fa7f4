"""Any audio file comes in whole or not at all, and goes out without wrapping."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from riff.audio.io import AUDIO_SUFFIXES, list_audio_files, read_audio, resample, to_channels, write_audio
from riff.errors import AudioError, RiffError

RATE = 44_100


def tones(channels: int = 2, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    """A different tone in every channel, so that none can be taken for another."""
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([0.5 * np.sin(2 * np.pi * 220 * (k + 1) * time) for k in range(channels)]).astype(np.float32)


def noise(channels: int = 2, samples: int = RATE) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.9, 0.9, (channels, samples)).astype(np.float32)


def encode(path: Path, waveform: np.ndarray, rate: int = RATE, codec: str = "aac", faststart: bool = False) -> Path:
    """Write a file that libsndfile cannot, by FFmpeg."""
    with av.open(str(path), "w", container_options={"movflags": "faststart"} if faststart else {}) as container:
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(waveform)]
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(waveform, format="fltp", layout=layout)
        frame.rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def snr_db(reference: np.ndarray, estimate: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(reference**2) / np.sum((reference - estimate) ** 2)))


# Reading


@pytest.mark.parametrize(
    ("suffix", "subtype", "step"),
    [
        (".wav", "PCM_16", 2**-15),
        (".wav", "PCM_24", 2**-23),
        (".wav", "PCM_32", 2**-24),
        (".wav", "FLOAT", 0.0),
        (".flac", "PCM_16", 2**-15),
        (".flac", "PCM_24", 2**-23),
        (".aiff", "PCM_24", 2**-23),
    ],
)
def test_lossless_formats_come_back_within_a_step(tmp_path: Path, suffix: str, subtype: str, step: float) -> None:
    waveform = noise()
    soundfile.write(tmp_path / f"song{suffix}", waveform.T, RATE, subtype=subtype)
    audio = read_audio(tmp_path / f"song{suffix}")
    assert audio.waveform.dtype == np.float32
    assert audio.waveform.shape == waveform.shape
    assert audio.sample_rate == RATE
    assert audio.duration_s == 1.0
    assert np.abs(audio.waveform - waveform).max() <= step


def test_full_scale_integers_stay_in_range(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "full.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(np.array([-32768, 32767, 0], "<i2").tobytes())
    assert read_audio(tmp_path / "full.wav").waveform[0].tolist() == [-1.0, 32767 / 32768, 0.0]


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
def test_lossy_formats_come_back_alike(tmp_path: Path, suffix: str) -> None:
    waveform = tones()
    soundfile.write(tmp_path / f"song{suffix}", waveform.T, RATE)
    audio = read_audio(tmp_path / f"song{suffix}")
    assert audio.waveform.shape == waveform.shape
    assert snr_db(waveform, audio.waveform) > 15


@pytest.mark.parametrize(("channels", "rate"), [(1, 22_050), (2, 44_100), (6, 96_000)])
def test_m4a_keeps_rate_channels_and_pitch(tmp_path: Path, channels: int, rate: int) -> None:
    audio = read_audio(encode(tmp_path / "song.m4a", tones(channels, 1.0, rate), rate))
    assert audio.sample_rate == rate
    assert len(audio.waveform) == channels
    assert audio.duration_s == pytest.approx(1.0, abs=0.1)
    middle = audio.waveform[0, rate // 4 : 3 * rate // 4]
    loudest_hz = np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle))))) * rate / len(middle)
    assert loudest_hz == pytest.approx(220, abs=4)
    assert 0.4 < np.abs(middle).max() < 0.6


def test_aac_stream(tmp_path: Path) -> None:
    assert read_audio(encode(tmp_path / "song.aac", tones())).duration_s == pytest.approx(0.5, abs=0.1)


def test_eight_channels_at_96_khz(tmp_path: Path) -> None:
    waveform = tones(8, 0.5, 96_000)
    soundfile.write(tmp_path / "surround.wav", waveform.T, 96_000, subtype="PCM_24")
    audio = read_audio(tmp_path / "surround.wav")
    assert audio.sample_rate == 96_000
    np.testing.assert_allclose(audio.waveform, waveform, atol=2**-23)


def test_the_content_counts_not_the_suffix(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, tones().T, RATE, format="FLAC")
    (tmp_path / "flac.mp3").write_bytes(buffer.getvalue())
    assert read_audio(tmp_path / "flac.mp3").waveform.shape == (2, RATE // 2)
    encode(tmp_path / "song.m4a", tones()).rename(tmp_path / "m4a.wav")
    assert read_audio(tmp_path / "m4a.wav").sample_rate == RATE


def test_wav_written_to_a_pipe_declares_no_length(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "pipe.wav", noise().T, RATE, subtype="PCM_16")
    content = bytearray((tmp_path / "pipe.wav").read_bytes())
    data = content.find(b"data") + 4
    content[data : data + 4] = content[4:8] = b"\xff" * 4
    (tmp_path / "pipe.wav").write_bytes(content)
    assert read_audio(tmp_path / "pipe.wav").waveform.shape == (2, RATE)


# Bad input


def make_missing(path: Path) -> None:
    pass


def make_folder(path: Path) -> None:
    path.mkdir()


def make_text(path: Path) -> None:
    path.write_text("this is not a song\n" * 100)


def make_playlist(path: Path) -> None:
    """A text that FFmpeg would follow to another file, if it were let."""
    soundfile.write(path.with_name("other.wav"), tones().T, RATE)
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{path.with_name('other.wav')}\n#EXT-X-ENDLIST\n")


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


def make_no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros((0, 2)), RATE, format="WAV")


def make_nan(path: Path) -> None:
    waveform = tones()
    waveform[1, 4410] = np.nan
    soundfile.write(path, waveform.T, RATE, subtype="FLOAT")


def make_infinite(path: Path) -> None:
    waveform = tones().astype(np.float64)
    waveform[0, 4410] = 1e300  # finite in the file, not in float32
    soundfile.write(path, waveform.T, RATE, subtype="DOUBLE")


def make_truncated(path: Path) -> None:
    soundfile.write(path, noise().T, RATE)
    cut(path, 0.5)


def make_truncated_to_its_header(path: Path) -> None:
    soundfile.write(path, noise().T, RATE)
    cut(path, 0.001)


def make_truncated_m4a(path: Path) -> None:
    cut(encode(path, noise()), 0.5)


def make_truncated_streamable_m4a(path: Path) -> None:
    cut(encode(path, noise(), faststart=True), 0.5)


@pytest.mark.parametrize(
    ("make", "name", "says"),
    [
        (make_missing, "song.wav", "no such audio file"),
        (make_folder, "song.wav", "no such audio file"),
        (make_text, "song.wav", "cannot be read as audio"),
        (make_text, "song.mp3", "cannot be read as audio"),
        (make_playlist, "song.wav", "cannot be read as audio"),
        (make_playlist, "song.mp3", "cannot be read as audio"),
        (make_empty, "song.wav", "no samples"),
        (make_empty, "song.flac", "no samples"),
        (make_no_samples, "song.wav", "no samples"),
        (make_nan, "song.wav", r"NaN or infinite samples \(the first at 0\.10 s\)"),
        (make_infinite, "song.wav", r"NaN or infinite samples \(the first at 0\.10 s\)"),
        (make_truncated, "song.flac", "cut off"),
        (make_truncated_to_its_header, "song.flac", "cut off"),
        (make_truncated, "song.wav", "cut off"),
        (make_truncated_m4a, "song.m4a", "cannot be read as audio"),
        (make_truncated_streamable_m4a, "song.m4a", "cannot be read as audio|cut off"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path: Path, make, name: str, says: str) -> None:
    make(tmp_path / name)
    with pytest.raises(AudioError, match=says) as caught:
        read_audio(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert ";" in str(caught.value)
    assert "\n" not in str(caught.value)


# Listing


def test_list_takes_audio_by_suffix_sorted_by_name(tmp_path: Path) -> None:
    for name in (
        "b.WAV",
        "a.flac",
        "C.Mp3",
        "d.mov",
        "e.mp4",
        "f.caf",
        "._a.flac",
        ".hidden.wav",
        "prompt_file.json",
        "notes.txt",
        "cover.png",
    ):
        (tmp_path / name).touch()
    (tmp_path / "folder.wav").mkdir()
    assert [path.name for path in list_audio_files(tmp_path)] == ["C.Mp3", "a.flac", "b.WAV", "d.mov", "e.mp4", "f.caf"]
    assert all(suffix == suffix.lower() for suffix in AUDIO_SUFFIXES)


def test_list_names_a_folder_without_audio(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(AudioError, match=f"{tmp_path}: no audio"):
        list_audio_files(tmp_path)
    with pytest.raises(AudioError, match="missing: no such folder"):
        list_audio_files(tmp_path / "missing")


# Writing


@pytest.mark.parametrize("name", ["song.wav", "song.flac"])
def test_what_is_too_loud_is_clipped_and_never_wraps(tmp_path: Path, name: str) -> None:
    waveform = np.array([[-3.0, -1.0, -0.5, 0.5, 1.0, 3.0]], np.float32)
    write_audio(tmp_path / name, waveform, RATE)
    np.testing.assert_allclose(read_audio(tmp_path / name).waveform, waveform.clip(-1, 1), atol=2**-22)


def test_float_keeps_every_sample(tmp_path: Path) -> None:
    waveform = noise(8) * 5
    write_audio(tmp_path / "song.wav", waveform, 96_000, subtype="FLOAT")
    audio = read_audio(tmp_path / "song.wav")
    np.testing.assert_array_equal(audio.waveform, waveform)
    assert audio.sample_rate == 96_000
    assert b"PEAK" not in (tmp_path / "song.wav").read_bytes()  # a chunk with the time of writing


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write_audio(tmp_path / name, noise(), RATE)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_minute_of_ogg(tmp_path: Path) -> None:
    """In one piece it would overflow the encoder's stack and end the process."""
    waveform = np.zeros((2, 60 * RATE), np.float32)
    write_audio(tmp_path / "song.ogg", waveform, RATE)
    assert read_audio(tmp_path / "song.ogg").waveform.shape == waveform.shape


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "song.flac"
    write_audio(path, tones(), RATE)
    before = path.read_bytes()
    with pytest.raises(AudioError, match=r"song\.flac"):
        write_audio(path, tones(9), RATE)  # FLAC holds eight channels
    with pytest.raises(AudioError, match="NaN"):
        write_audio(path, np.full((1, 9), np.nan, np.float32), RATE)
    with pytest.raises(AudioError, match=r"song\.mp3.*\.wav, \.flac or \.ogg"):
        write_audio(tmp_path / "song.mp3", tones(), RATE)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RiffError, match="choose another place"):
        write_audio(tmp_path / "file" / "song.wav", tones(), RATE)


# Rates and channels


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000, 96_000])
def test_resampling_keeps_the_tone(rate: int) -> None:
    out = resample(tones(2, 1.0, rate), rate, RATE)
    assert out.dtype == np.float32
    assert out.shape == (2, RATE)
    inner = slice(RATE // 10, -RATE // 10)
    assert snr_db(tones(2, 1.0)[:, inner], out[:, inner]) > 60


@given(samples=st.integers(1, 3000), rate=st.sampled_from([8_000, 22_050, 44_100, 48_000, 96_000]), channels=st.integers(1, 8))
def test_resampling_any_length(samples: int, rate: int, channels: int) -> None:
    assert resample(np.ones((channels, samples), np.float32), rate, RATE).shape == (channels, round(samples * RATE / rate))


def test_resampling_to_the_same_rate_is_nothing() -> None:
    waveform = tones()
    assert resample(waveform, RATE, RATE) is waveform


samples_in_range = st.floats(-1, 1, width=32)


@given(
    waveform=hnp.arrays(np.float32, st.tuples(st.integers(1, 8), st.integers(0, 20)), elements=samples_in_range),
    channels=st.integers(1, 8),
)
def test_mixing_channels_cannot_clip(waveform: np.ndarray, channels: int) -> None:
    out = to_channels(waveform, channels)
    assert out.shape == (channels, waveform.shape[1])
    assert out.dtype == np.float32
    assert np.abs(out).max(initial=0) <= np.abs(waveform).max(initial=0) + 1e-6
    if len(waveform) % channels == 0:
        np.testing.assert_allclose(out.mean(axis=0), waveform.mean(axis=0), atol=1e-6)


def test_eight_channels_to_stereo_are_even_and_odd() -> None:
    waveform = np.arange(8, dtype=np.float32)[:, None] / 8
    assert to_channels(waveform, 2).tolist() == [[3 / 8], [4 / 8]]
    assert to_channels(waveform, 1).tolist() == [[3.5 / 8]]
    assert to_channels(waveform[:1] + 1, 2).tolist() == [[1.0], [1.0]]
