"""Read any audio file as float32 (channels, samples); write WAV, FLAC or OGG; resample and mix channels."""

from __future__ import annotations

import os
import re
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from riff.audio.decoding import FORMATS, container_duration, decode, joined_format
from riff.errors import AudioError, AudioWarning, RiffError
from riff.files import atomic_path

AUDIO_SUFFIXES = frozenset(
    {".aac", ".ac3", ".aif", ".aiff", ".ape", ".caf", ".flac", ".m4a", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4"}
    | {".ogg", ".opus", ".wav", ".webm", ".wma", ".wv"}
)
STEM_FILE_SUFFIX = ".stem.mp4"  # a song's mixture and stems as streams of one file

_SUBTYPES = {".wav": "PCM_24", ".flac": "PCM_24", ".ogg": "VORBIS"}
_UNBOUNDED_SUBTYPES = ("FLOAT", "DOUBLE", "VORBIS")
_BLOCK = 65_536  # samples
_NO_SAMPLES = "holds no samples; export it again or take it out"
_LARGEST_DECLARED = 0x7FFF_0000  # bytes: a WAV that was written to a pipe declares more, meaning "to the end of the file"
_UNKNOWN_LENGTH = 2**60  # samples: libsndfile reports at least that for a FLAC that was written to a pipe
_SET_ADD_PEAK_CHUNK = 0x1050  # libsndfile's SFC_SET_ADD_PEAK_CHUNK: a chunk of float WAVs, with the current time in it
_MAX_LOSS = 0.5  # of a file's duration
_UNREPORTED_LOSS_S = 0.02  # less than an MP3 frame, 0.026 s


@dataclass(frozen=True)
class Audio:
    """A waveform with its sample rate.

    Attributes:
        waveform: float32, shape (channels, samples), nominally in [-1, 1]. Float files and lossy decoders may go beyond.
        sample_rate: Hz.
    """

    waveform: np.ndarray
    sample_rate: int

    @property
    def duration_s(self) -> float:
        return self.waveform.shape[-1] / self.sample_rate


def list_audio_files(folder: str | Path) -> list[Path]:
    """The audio files of a folder by suffix, without hidden ones, sorted by name.

    Raises:
        AudioError: the folder does not exist or holds no audio.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AudioError(f"{folder}: no such folder; give a folder of audio files")
    files = [path for path in folder.iterdir() if is_audio(path)]
    if not files:
        raise AudioError(f"{folder}: no audio in this folder; put {', '.join(sorted(AUDIO_SUFFIXES))} files there")
    return sorted(files, key=lambda path: path.name)


def is_audio(path: Path) -> bool:
    """Whether this is an audio file by its suffix, and not a hidden one."""
    return plain_name(path.name) != path.name and not path.name.startswith(".") and path.is_file()


def is_stem_file(path: Path) -> bool:
    """Whether this file, by its suffix, has a song's stems as streams."""
    return path.name.lower().endswith(STEM_FILE_SUFFIX)


def plain_name(name: str) -> str:
    """A file name without the suffix of an audio file; other dots belong to the name ("St. Vitus - Word Gets Around")."""
    if name.lower().endswith(STEM_FILE_SUFFIX):
        return name[: -len(STEM_FILE_SUFFIX)]
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in AUDIO_SUFFIXES else name


def read_audio(path: str | Path) -> Audio:
    """Read a whole file: WAV, FLAC, OGG, AIFF with libsndfile; MP3, M4A, AAC, WebM, WMA and the rest with FFmpeg.

    The first of several audio streams is read. Silence replaces what cannot be decoded, so that the rest stays in time. The
    expected duration is the declared one or that of the timestamps; without a declaration (AAC, MP3 without a Xing header), the
    size of undecodable packets is counted in. A file of which less than half can be decoded, damaged or cut off, is refused.
    FLAC and OGG files that were joined are read to their end.

    Warns:
        AudioWarning: a part is lost, or of joined files of another format only the first is read.

    Raises:
        AudioError: no such file, not audio, most of it lost, no samples, or non-finite samples.
    """
    path = _require_file(path)
    joined = joined_format(path)
    audio = (None if joined else _read_with_libsndfile(path)) or _read_with_ffmpeg(path, first_only=True)[0]
    _check_samples(path, audio)
    if joined and joined not in ("FLAC", "OGG"):
        message = f"{path}: several {joined} files joined into one, of which only the first, {audio.duration_s:.2f} s, is read"
        warnings.warn(f"{message}; join them in an audio editor", AudioWarning, stacklevel=2)
    return audio


def read_audio_streams(path: str | Path) -> list[Audio]:
    """Read all audio streams of a file, in the file's order, with FFmpeg in one pass.

    Warns:
        AudioWarning: as `read_audio`, for any of the streams.

    Raises:
        AudioError: as `read_audio`, for any of the streams.
    """
    path = _require_file(path)
    streams = _read_with_ffmpeg(path)
    for audio in streams:
        _check_samples(path, audio)
    return streams


def declared_duration(path: str | Path) -> float | None:
    """Duration in seconds that a file declares, read without decoding it; None where it declares none.

    Raises:
        AudioError: no such file, or not audio.
    """
    path = _require_file(path)
    if path.suffix.lower() != ".mp3":  # as in `_read_with_libsndfile`
        try:
            info = soundfile.info(_native(path))
            return info.duration if info.frames < _UNKNOWN_LENGTH else None
        except soundfile.LibsndfileError:
            pass
    try:
        with open(path, "rb") as file, av.open(file, options={"format_whitelist": FORMATS}) as container:
            return container_duration(container)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def check_duration(path: str | Path, check: Callable[[float], object]) -> None:
    """Call `check` with a file's duration in seconds, and raise what it raises, without decoding a file that passes.

    A declared duration may be wrong, so one that `check` refuses is measured. A file that declares none passes.

    Raises:
        AudioError: no such file, or not audio.
    """
    declared_s = declared_duration(path)
    if declared_s is None:
        return
    try:
        check(declared_s)
    except RiffError:
        check(read_audio(path).duration_s)


def _native(path: Path) -> str | bytes:
    """A path as libsndfile takes it; soundfile itself cannot encode a name that is not UTF-8."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def _unreadable(path: Path, error: Exception) -> AudioError:
    reason = getattr(error, "strerror", None) or error
    return AudioError(f"{path}: cannot be read as audio ({reason}); give a WAV, FLAC, OGG, MP3 or M4A file")


def _require_file(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: no such audio file; check the path")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: {_NO_SAMPLES}")
    return path


def _check_samples(path: Path, audio: Audio) -> None:
    if audio.waveform.shape[-1] == 0:
        raise AudioError(f"{path}: {_NO_SAMPLES}")
    finite = np.isfinite(audio.waveform).all(axis=0)
    if not finite.all():
        seconds = int(np.argmin(finite)) / audio.sample_rate
        raise AudioError(f"{path}: holds NaN or infinite samples (the first at {seconds:.2f} s); export it again")


def _check_loss(path: Path, decoded_s: float, expected_s: float, tolerance_s: float = 0.0) -> None:
    """Refuse a file of which most is lost, and warn of a loss above the tolerance."""
    if decoded_s < (1 - _MAX_LOSS) * expected_s:
        raise AudioError(
            f"{path}: damaged or cut off, only {decoded_s:.2f} of {expected_s:.2f} s can be decoded; get the file again"
        )
    if expected_s - decoded_s > tolerance_s:
        lost = f"{expected_s - decoded_s:.2f} of {expected_s:.2f} s are lost"
        warnings.warn(f"{path}: damaged or cut off, {lost}; going on with the rest", AudioWarning, stacklevel=4)


def _read_with_libsndfile(path: Path) -> Audio | None:
    """None where libsndfile does not know the format, cannot read all of it, or would use libmpg123.

    libmpg123 prints warnings to stderr, overestimates the duration of MP2, and stops at damage.
    """
    if path.suffix.lower() == ".mp3":
        return None
    try:
        file = soundfile.SoundFile(_native(path))
    except soundfile.LibsndfileError:
        return None
    with file:
        if file.subtype.startswith("MPEG"):
            return None
        if file.format == "OGG" and file.channels > 2:
            return None  # libsndfile keeps Vorbis's channel order, FL FC FR ... LFE; FFmpeg converts it to WAV's
        try:
            samples = file.read(dtype="float32", always_2d=True) if file.frames < _UNKNOWN_LENGTH else None
        except (soundfile.LibsndfileError, MemoryError):  # a damaged header may declare any length
            return None
        if samples is None or len(samples) < file.frames:
            return None
        decoded_s = len(samples) / file.samplerate
        _check_loss(path, decoded_s, decoded_s * _declared_share(file))
        return Audio(np.ascontiguousarray(samples.T), file.samplerate)


def _declared_share(file: soundfile.SoundFile) -> float:
    """Ratio of the declared to the actual size, at least 1, from the log of libsndfile, which reads all there is."""
    note = re.search(r"^\s*(?:riff|data|SSND|Data Size) +: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if note is None or int(note[1]) >= _LARGEST_DECLARED:
        return 1.0
    return max(1.0, int(note[1]) / max(1, int(note[2])))


def _read_with_ffmpeg(path: Path, first_only: bool = False) -> list[Audio]:
    try:
        with open(path, "rb") as file:
            streams = decode(file, first_only)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not streams:
        raise AudioError(f"{path}: has no audio stream; give an audio file")
    result = []
    for stream in streams:
        expected_s = stream.expected_s
        if not stream.decoded_s and not expected_s:
            raise AudioError(f"{path}: {_NO_SAMPLES}")
        # Files differ in whether they count encoder delay and padding.
        tolerance_s = _UNREPORTED_LOSS_S if stream.has_holes else 0.01 * expected_s + 0.1
        _check_loss(path, stream.decoded_s, expected_s, tolerance_s)
        result.append(Audio(stream.waveform(), stream.sample_rate))
    return result


def write_audio(path: str | Path, waveform: np.ndarray, sample_rate: int, subtype: str | None = None) -> None:
    """Write a WAV, FLAC or OGG file (by suffix) atomically.

    Args:
        waveform: float, shape (channels, samples). Integer formats clip to [-1, 1].
        subtype: libsndfile's name. Default: `PCM_24` for WAV and FLAC (opens everywhere, 144 dB), `VORBIS` for OGG. `FLOAT`
            keeps a WAV's samples exactly and unclipped. The same samples give the same bytes, except as `VORBIS`.

    Raises:
        AudioError: another suffix, non-finite samples, or a format that does not support this.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _SUBTYPES:
        raise AudioError(f"{path}: cannot write this format; name it .wav, .flac or .ogg")
    if not np.isfinite(waveform).all():
        raise AudioError(f"{path}: the waveform has NaN or infinite samples; nothing was written")
    subtype = subtype or _SUBTYPES[suffix]
    columns = np.ascontiguousarray(waveform.T, dtype=np.float32)  # (samples, channels)
    if subtype not in _UNBOUNDED_SUBTYPES:
        columns = columns.clip(-1.0, 1.0)
    with atomic_path(path) as temporary:
        try:
            with soundfile.SoundFile(_native(temporary), "w", sample_rate, columns.shape[1], subtype) as file:
                soundfile._snd.sf_command(file._file, _SET_ADD_PEAK_CHUNK, soundfile._ffi.NULL, 0)
                for start in range(0, len(columns), _BLOCK):  # one long write overflows the stack of the OGG encoder
                    file.write(columns[start : start + _BLOCK])
        except (soundfile.LibsndfileError, ValueError) as error:
            raise AudioError(f"{path}: cannot be written ({error}); choose another format or path") from error


def wav_header(sample_rate: int, channels: int, samples: int) -> bytes:
    """The beginning of a WAV file, before its interleaved float32 samples, for a stream that cannot be written again."""
    size = 4 * channels * samples
    what = struct.pack("<HHIIHHH", 3, channels, sample_rate, 4 * channels * sample_rate, 4 * channels, 32, 0)  # 3: IEEE float
    chunks = [(b"fmt ", what), (b"fact", struct.pack("<I", samples))]
    body = b"WAVE" + b"".join(name + struct.pack("<I", len(data)) + data for name, data in chunks) + b"data"
    most = 2**32 - 1  # players read on beyond it
    return b"RIFF" + struct.pack("<I", min(most, len(body) + 4 + size)) + body + struct.pack("<I", min(most, size))


def resample(waveform: np.ndarray, rate: int, target_rate: int) -> np.ndarray:
    """Change the sample rate with soxr's high-quality filter.

    Args:
        waveform: float32, shape (channels, samples).

    Returns:
        float32, shape (channels, round(samples * target_rate / rate)); the waveform itself where the rates are equal.
    """
    if rate == target_rate:
        return waveform
    length = round(waveform.shape[1] * target_rate / rate)
    columns = soxr.resample(np.ascontiguousarray(waveform.T, dtype=np.float32), rate, target_rate)[:length]
    resampled = np.zeros((waveform.shape[0], length), np.float32)  # soxr may stop a sample short
    resampled[:, : len(columns)] = columns.T
    return resampled


def to_channels(waveform: np.ndarray, channels: int) -> np.ndarray:
    """Change the number of channels to n: output channel k is the mean of the input channels k, k + n, k + 2n, ...

    8 channels become stereo with the mean of the even ones on the left and of the odd ones on the right; mono is the mean of
    all; fewer channels than n are repeated.

    Args:
        waveform: float32, shape (any number of channels, samples).

    Returns:
        float32, shape (channels, samples).
    """
    have = len(waveform)
    if have == channels:
        return waveform
    if have < channels:
        return waveform[np.arange(channels) % have]
    return np.stack([waveform[k::channels].mean(axis=0, dtype=np.float32) for k in range(channels)])
