"""What players play is read: damage is skipped and reported, the rest stays in time; a file of which most is lost is refused."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from riff.audio.io import declared_duration, list_audio_files, plain_name, read_audio, write_audio
from riff.errors import AudioError, AudioWarning

RATE = 44_100
SECONDS = 6
# suffix: FFmpeg's names of the codec and, where the suffix does not say it, of the container
FORMATS = {
    "mp3": ("mp3", ""),
    "mp2": ("mp2", ""),
    "m4a": ("aac", ""),
    "alac.m4a": ("alac", "ipod"),
    "aac": ("aac", ""),
    "ogg": ("opus", "ogg"),
    "flac": ("flac", ""),
    "webm": ("opus", ""),
    "mkv": ("aac", ""),
    "mka": ("flac", "matroska"),
    "wma": ("wmav2", "asf"),
    "mp3.wav": ("mp3", "wav"),
    "mp2.mp3": ("mp2", "mp2"),
    "ac3": ("ac3", ""),
    "wv": ("wavpack", ""),
}


def sweep(seconds: float = SECONDS, rate: int = RATE) -> np.ndarray:
    """A rising tone over noise, so that every moment is told from every other."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal((2, len(time)))
    return (0.5 * np.sin(2 * np.pi * (200 + 300 * time) * time) + 0.05 * noise).astype(np.float32)


def encoded(
    path: Path,
    codec: str,
    container: str = "",
    waveform: np.ndarray | None = None,
    rate: int = RATE,
    bit_rate: int = 128_000,
    **flags: str,
) -> Path:
    """A file of the sweep, or of another waveform at 44.1 kHz, by FFmpeg."""
    waveform = sweep() if waveform is None else waveform
    layout = {1: "mono", 2: "stereo"}[len(waveform)]
    rate = 48_000 if codec == "opus" else rate
    with av.open(str(path), "w", format=container or None, options=flags) as output:
        stream = output.add_stream("libopus" if codec == "opus" else codec, rate=rate, layout=layout)
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform), format="fltp", layout=layout)
        frame.rate, frame.pts = RATE, 0
        size = stream.codec_context.frame_size
        to_stream = av.AudioResampler(stream.format, layout, rate, frame_size=size or 0)
        for part in [*to_stream.resample(frame), *to_stream.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The undamaged file of a format, made once."""
    folder = tmp_path_factory.mktemp("whole")

    def made(name: str) -> Path:
        path = folder / f"song.{name}"
        return path if path.exists() else encoded(path, *FORMATS[name])

    return made


def read_quietly(path: Path) -> tuple[np.ndarray, list[str]]:
    """The waveform at 44.1 kHz but for the rate's own, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        audio = read_audio(path)
    return audio.waveform, [str(warning.message) for warning in caught if warning.category is AudioWarning]


def replaced(content: bytes, start: float, length: int, zeros: bool = False) -> bytes:
    """The content with so many bytes from a share of it on turned into noise."""
    first = round(len(content) * start)
    noise = bytes(length) if zeros else np.random.default_rng(1).bytes(length)
    return content[:first] + noise[: len(content) - first] + content[first + length :]


ID3V1 = b"TAG" + b"x" * 125
LYRICS = b"LYRICSBEGINLYR00020la la la la la la la000037LYRICS200" + ID3V1
APE_ITEM = (4).to_bytes(4, "little") + bytes(4) + b"Title\0song"


def ape_tag() -> bytes:
    def header(flags: int) -> bytes:
        numbers = (2000, len(APE_ITEM) + 32, 1, flags)
        return b"APETAGEX" + b"".join(number.to_bytes(4, "little") for number in numbers) + bytes(8)

    return header(0xA0000000) + APE_ITEM + header(0x80000000)


@pytest.mark.parametrize("name", FORMATS)
def test_what_the_decoder_reads_is_read(whole: Callable[[str], Path], name: str) -> None:
    path = whole(name)
    waveform, warned = read_quietly(path)
    rate = read_audio(path).sample_rate
    assert waveform.shape[1] / rate == pytest.approx(SECONDS, abs=0.06)
    assert warned == []
    assert declared_duration(path) == pytest.approx(SECONDS, abs=0.3)
    assert list_audio_files(path.parent)  # by its suffix
    assert plain_name(path.name) != path.name


@pytest.mark.parametrize(
    "tail", [bytes(100), ID3V1, ape_tag(), ape_tag() + ID3V1, LYRICS], ids=["zeros", "id3", "ape", "both", "lyrics"]
)
@pytest.mark.parametrize("name", ["mp3", "mp2", "mp3.wav", "ogg", "flac", "m4a", "aac", "webm", "mkv", "wma"])
def test_what_follows_the_sound_is_none(whole: Callable[[str], Path], tmp_path: Path, name: str, tail: bytes) -> None:
    path = tmp_path / whole(name).name
    path.write_bytes(whole(name).read_bytes() + tail)
    waveform, warned = read_quietly(path)
    np.testing.assert_array_equal(waveform, read_audio(whole(name)).waveform)
    assert warned == []


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("name", ["mp3", "mp2", "mp3.wav", "mp2.mp3", "ogg", "flac", "m4a", "alac.m4a", "aac", "mka", "wma"])
def test_damage_in_the_middle_is_skipped_and_the_rest_stays_in_time(
    whole: Callable[[str], Path], tmp_path: Path, name: str, zeros: bool
) -> None:
    path = tmp_path / whole(name).name
    path.write_bytes(replaced(whole(name).read_bytes(), 0.5, 1000, zeros))
    undamaged, damaged = read_audio(whole(name)), read_quietly(path)
    assert len(damaged[1]) == 1
    assert f"{path}: damaged or cut off, " in damaged[1][0]
    waveform, rate = damaged[0], undamaged.sample_rate
    assert abs(waveform.shape[1] - undamaged.waveform.shape[1]) < 0.1 * rate  # raw MP3 and AAC tell no time but by their frames
    np.testing.assert_allclose(waveform[:, : rate // 2], undamaged.waveform[:, : rate // 2], atol=1e-6)
    last = [sound[0, -rate // 2 :] for sound in (waveform, undamaged.waveform)]
    if name not in ("mp3", "mp2", "mp3.wav", "mp2.mp3", "aac", "wma"):
        assert np.corrcoef(last)[0, 1] > 0.99


def test_streams_of_other_forms_that_were_joined_are_read_in_the_form_of_the_first(tmp_path: Path) -> None:
    first = encoded(tmp_path / "a.mp3", "mp3")
    second = encoded(tmp_path / "b.mp3", "mp3", waveform=sweep(2)[:1], rate=22_050)
    for parts, channels in (((first, first), 2), ((first, second), 2), ((second, first), 1)):
        path = tmp_path / "joined.mp3"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        sound, _ = read_quietly(path)
        seconds = sum(read_audio(part).duration_s for part in parts)
        assert len(sound) == channels
        assert sound.shape[1] / read_audio(parts[0]).sample_rate == pytest.approx(seconds, abs=0.2)


@pytest.mark.parametrize("name", ["wav", "aiff", "flac", "ogg", "opus", "m4a"])
def test_joined_files_are_read_on_or_a_warning_says_that_the_first_alone_was_read(tmp_path: Path, name: str) -> None:
    parts = [sweep(3), sweep(2)]
    for number, part in enumerate(parts):
        path = tmp_path / f"{number}.{name}"
        if name in ("opus", "m4a"):
            encoded(path, {"opus": "opus", "m4a": "aac"}[name], "ogg" if name == "opus" else "", waveform=part)
        else:
            soundfile.write(path, part.T, RATE)
        assert read_quietly(path)[1] == []
    joined = tmp_path / f"joined.{name}"
    joined.write_bytes(b"".join((tmp_path / f"{number}.{name}").read_bytes() for number in (0, 1)))
    sound, warned = read_quietly(joined)
    seconds = sound.shape[1] / (48_000 if name == "opus" else RATE)
    if name in ("flac", "ogg", "opus"):
        assert warned == []
        assert seconds == pytest.approx(5, abs=0.1)
    else:
        (warning,) = warned
        assert warning.startswith(f"{joined}: several {'MP4' if name == 'm4a' else name.upper()} files joined into one")
        assert f"only the first, {seconds:.2f} s, is read" in warning
        assert seconds == pytest.approx(3, abs=0.1)


def test_a_flac_without_a_length(tmp_path: Path) -> None:
    """As encoders write it to a pipe."""
    path = tmp_path / "pipe.flac"
    soundfile.write(path, sweep().T, RATE, subtype="PCM_24")
    content, expected = bytearray(path.read_bytes()), read_audio(path).waveform
    content[21] &= 0xF0  # total samples: the low 36 bits of these five bytes
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert declared_duration(path) is None
    np.testing.assert_array_equal(read_audio(path).waveform, expected)
    content[21] |= 0x07  # far more than there are
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"damaged or cut off, only 6\.00 of \d+\.\d\d s"):
        read_audio(path)


@pytest.mark.parametrize("name", ["wav", "aiff", "flac", "mp3", "webm", "mkv", "m4a"])
def test_a_file_that_is_cut_off_is_warned_of_and_refused_where_most_is_lost(
    whole: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    path = tmp_path / f"song.{name}"
    if name == "m4a":
        encoded(path, "aac", movflags="faststart")
    elif name in FORMATS:
        path.write_bytes(whole(name).read_bytes())
    else:
        soundfile.write(path, sweep().T, RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 7 // 10])
    with pytest.warns(AudioWarning, match=r"damaged or cut off, \d\.\d\d of 6\.\d\d s are lost; going on with the rest"):
        assert read_audio(path).duration_s == pytest.approx(0.7 * SECONDS, abs=0.35)
    path.write_bytes(content[: len(content) * 4 // 10])
    with pytest.raises(AudioError, match=r"damaged or cut off, only \d\.\d\d of \d\.\d\d s can be decoded; get the file again"):
        read_audio(path)


@pytest.mark.parametrize("xing", ["0", "1"])
def test_an_mp3_of_which_most_is_noise_is_refused(tmp_path: Path, xing: str) -> None:
    path = encoded(tmp_path / "song.mp3", "mp3", write_xing=xing, id3v2_version="0")
    content = path.read_bytes()
    path.write_bytes(replaced(content, 0.3, len(content)))
    with pytest.raises(AudioError, match="damaged or cut off"):
        read_audio(path)


def test_an_mp3_without_a_length_may_be_longer_or_shorter_than_its_first_frames_say(tmp_path: Path) -> None:
    """As one of a variable bit rate that was recorded from a stream."""
    parts = [
        encoded(tmp_path / f"{rate}.mp3", "mp3", waveform=sweep(2), bit_rate=rate, write_xing="0", id3v2_version="0").read_bytes()
        for rate in (32_000, 320_000)
    ]
    path = tmp_path / "song.mp3"
    for content in (parts[0] + parts[1], parts[1] + parts[0]):
        path.write_bytes(content)
        sound, warned = read_quietly(path)
        assert sound.shape[1] / RATE == pytest.approx(4, abs=0.2)
        assert warned == []


def test_the_sound_of_a_video_may_end_before_its_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "film.mkv"), "w") as output:
        film, sound = output.add_stream("mpeg4", rate=10), output.add_stream("aac", rate=RATE, layout="stereo")
        film.width = film.height = 64
        film.pix_fmt = "yuv420p"
        for _ in range(100):
            output.mux(film.encode(av.VideoFrame(64, 64, "yuv420p")))
        frame = av.AudioFrame.from_ndarray(sweep(2), format="fltp", layout="stereo")
        frame.rate = RATE
        output.mux([*film.encode(None), *sound.encode(frame), *sound.encode(None)])
    waveform, warned = read_quietly(tmp_path / "film.mkv")
    assert waveform.shape[1] == pytest.approx(2 * RATE, abs=2048)
    assert warned == []


@pytest.mark.parametrize("name", [b"caf\xe9", b"Artist: Title", b"http", b"a?b#c%20", "ギター".encode(), b"x" * 240])
def test_any_name_is_read_and_written(tmp_path: Path, name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is not UTF-8, and one that FFmpeg would take for an address."""
    monkeypatch.chdir(tmp_path)
    for suffix in (".wav", ".flac"):
        path = Path(os.fsdecode(name) + suffix)
        write_audio(path, sweep(0.1), RATE)
        assert read_audio(path).waveform.shape == (2, 4410)
        assert declared_duration(path) == pytest.approx(0.1)
    encoded(Path("plain.mp3"), "mp3").rename(os.fsdecode(name) + ".mp3")
    assert read_audio(os.fsdecode(name) + ".mp3").duration_s == pytest.approx(SECONDS, abs=0.06)


@pytest.mark.parametrize("samples", [1, 2, 441])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_sound_of_few_samples_is_read(tmp_path: Path, samples: int, suffix: str) -> None:
    write_audio(tmp_path / f"blip{suffix}", sweep()[:, :samples], RATE)
    assert read_audio(tmp_path / f"blip{suffix}").waveform.shape == (2, samples)
