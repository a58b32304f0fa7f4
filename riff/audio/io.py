"""Any audio file in, float32 (channels, samples) inside, WAV, FLAC or OGG out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from riff.errors import AudioError
from riff.files import atomic_path

AUDIO_SUFFIXES = frozenset({".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"})
STEM_FILE_SUFFIX = ".stem.mp4"  # a song's mixture and its stems as streams of one file

# What FFmpeg may take a file for: playlists and the like would let a file name other files and addresses.
_FFMPEG_FORMATS = "aac,aiff,flac,mov,mp3,ogg,wav"
_SUBTYPES = {".wav": "PCM_24", ".flac": "PCM_24", ".ogg": "VORBIS"}
_UNBOUNDED_SUBTYPES = ("FLOAT", "DOUBLE", "VORBIS")
_BLOCK = 65_536  # samples
_NO_SAMPLES = "holds no samples; export it again or take it out"
_LARGEST_DECLARED = 0x7FFF_0000  # bytes: a WAV that was written to a pipe declares more, meaning "to the end of the file"


@dataclass(frozen=True)
class Audio:
    """A waveform with its rate; a class and not a tuple, so that neither travels without a name.

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
    """The audio files of a folder, by suffix, sorted by name; hidden files and everything else left out.

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
    """Whether this is a song with its stems as streams of one file, by its suffix."""
    return path.name.lower().endswith(STEM_FILE_SUFFIX)


def plain_name(name: str) -> str:
    """A song's name without the suffix of an audio file; other dots belong to the name ("St. Vitus - Word Gets Around")."""
    if name.lower().endswith(STEM_FILE_SUFFIX):
        return name[: -len(STEM_FILE_SUFFIX)]
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in AUDIO_SUFFIXES else name


def read_audio(path: str | Path) -> Audio:
    """Read a whole file: WAV, FLAC, OGG, AIFF with libsndfile; MP3, M4A, AAC and the rest with FFmpeg.

    A file that declares its length (WAV, FLAC, AIFF, M4A) and holds less is refused; MP3, AAC and OGG are streams that
    declare none, and what is there is taken. Of several streams of sound the first is taken.

    Raises:
        AudioError: no such file, not audio, damaged or cut off, no samples, or samples that are not finite.
    """
    path = _require_file(path)
    # libmpg123 inside libsndfile writes its warnings straight to stderr, so MP3 goes to FFmpeg.
    audio = None if path.suffix.lower() == ".mp3" else _read_with_libsndfile(path)
    audio = audio or _read_with_ffmpeg(path, first_only=True)[0]
    _check_samples(path, audio)
    return audio


def read_audio_streams(path: str | Path) -> list[Audio]:
    """Read every stream of sound of a file, in the file's order, with FFmpeg; one pass over the file serves all.

    Raises:
        AudioError: as `read_audio`, for any of the streams.
    """
    path = _require_file(path)
    streams = _read_with_ffmpeg(path)
    for audio in streams:
        _check_samples(path, audio)
    return streams


def declared_duration(path: str | Path) -> float | None:
    """Seconds that a file says it lasts, found without decoding it; None where it says nothing.

    Raises:
        AudioError: no such file, or not audio.
    """
    path = _require_file(path)
    if path.suffix.lower() != ".mp3":  # as in `read_audio`
        try:
            return soundfile.info(path).duration
        except soundfile.LibsndfileError:
            pass
    try:
        with av.open(str(path), options={"format_whitelist": _FFMPEG_FORMATS}) as container:
            return container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> AudioError:
    reason = getattr(error, "strerror", None) or error
    return AudioError(f"{path}: cannot be read as audio ({reason}); give a WAV, FLAC, OGG, MP3 or M4A file")


def _require_file(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: no such audio file; check the path")
    return path


def _check_samples(path: Path, audio: Audio) -> None:
    if audio.waveform.shape[-1] == 0:
        raise AudioError(f"{path}: {_NO_SAMPLES}")
    finite = np.isfinite(audio.waveform).all(axis=0)
    if not finite.all():
        seconds = int(np.argmin(finite)) / audio.sample_rate
        raise AudioError(f"{path}: holds NaN or infinite samples (the first at {seconds:.2f} s); export it again")


def _read_with_libsndfile(path: Path) -> Audio | None:
    """None where libsndfile does not know the format."""
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError:
        return None
    with file:
        if file.format == "OGG" and file.channels > 2:
            return None  # in Vorbis's order, FL FC FR ... LFE, where FFmpeg gives that of WAV
        try:
            samples = file.read(dtype="float32", always_2d=True)  # (samples, channels)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{path}: damaged or cut off ({error.error_string}); get the file again") from error
        if len(samples) < file.frames or _misses_declared_data(file):
            raise AudioError(f"{path}: cut off, it holds only {len(samples) / file.samplerate:.2f} s; get the file again")
        return Audio(np.ascontiguousarray(samples.T), file.samplerate)


def _misses_declared_data(file: soundfile.SoundFile) -> bool:
    """Whether a WAV's header declares more bytes than follow; libsndfile notes that in its log and reads on."""
    note = re.search(r"^\s*data : (\d+) \(should be \d+\)", file.extra_info, re.MULTILINE)
    return note is not None and int(note[1]) < _LARGEST_DECLARED


def _read_with_ffmpeg(path: Path, first_only: bool = False) -> list[Audio]:
    try:
        with av.open(str(path), options={"format_whitelist": _FFMPEG_FORMATS}) as container:
            streams = container.streams.audio[:1] if first_only else container.streams.audio
            if not streams:
                raise AudioError(f"{path}: holds no sound; give an audio file")
            to_float = {stream.index: av.AudioResampler(format="fltp") for stream in streams}
            blocks: dict[int, list[np.ndarray]] = {stream.index: [] for stream in streams}
            for packet in container.demux(streams):
                for frame in packet.decode():
                    parts = to_float[packet.stream_index].resample(frame)
                    blocks[packet.stream_index] += [part.to_ndarray() for part in parts]
            for index, resampler in to_float.items():
                blocks[index] += [part.to_ndarray() for part in resampler.resample(None)]
            declares = "mp4" in container.format.name
            return [_join_blocks(path, stream, blocks[stream.index], declares) for stream in streams]
    except (av.FFmpegError, ValueError) as error:
        raise _unreadable(path, error) from error


def _join_blocks(path: Path, stream: av.AudioStream, blocks: list[np.ndarray], declares_length: bool) -> Audio:
    """What was decoded of a stream, of shape (channels, samples) each, as one, unless it is less than the stream declares."""
    if not blocks:  # an empty file named .flac gets this far
        raise AudioError(f"{path}: {_NO_SAMPLES}")
    waveform = np.concatenate(blocks, axis=1)
    rate = stream.sample_rate
    duration_s = waveform.shape[1] / rate
    declared_s = float(stream.duration * stream.time_base) if declares_length and stream.duration and stream.time_base else 0.0
    if duration_s < 0.99 * declared_s - 0.1:  # encoder delay and padding are counted differently from file to file
        raise AudioError(f"{path}: cut off after {duration_s:.2f} of {declared_s:.2f} s; get the file again")
    return Audio(waveform, rate)


def write_audio(path: str | Path, waveform: np.ndarray, sample_rate: int, subtype: str | None = None) -> None:
    """Write a WAV, FLAC or OGG file (by suffix), whole or not at all.

    Args:
        waveform: float, shape (channels, samples). Integer formats clip what lies outside [-1, 1]; nothing wraps.
        subtype: libsndfile's name. Default: `PCM_24` for WAV and FLAC (opens everywhere, 144 dB, and the same samples
            give the same bytes), `VORBIS` for OGG. `FLOAT` keeps a WAV's samples exactly and unclipped, but libsndfile
            puts the time of writing into it.

    Raises:
        AudioError: another suffix, samples that are not finite, or a format that cannot hold this.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _SUBTYPES:
        raise AudioError(f"{path}: cannot write this format; name it .wav, .flac or .ogg")
    if not np.isfinite(waveform).all():
        raise AudioError(f"{path}: the sound to be written holds NaN or infinite samples; nothing was written")
    subtype = subtype or _SUBTYPES[suffix]
    columns = np.ascontiguousarray(waveform.T, dtype=np.float32)  # (samples, channels)
    if subtype not in _UNBOUNDED_SUBTYPES:
        columns = columns.clip(-1.0, 1.0)
    with atomic_path(path) as temporary:
        try:
            with soundfile.SoundFile(temporary, "w", sample_rate, columns.shape[1], subtype) as file:
                for start in range(0, len(columns), _BLOCK):  # one long write overflows the stack of the OGG encoder
                    file.write(columns[start : start + _BLOCK])
        except (soundfile.LibsndfileError, ValueError) as error:
            raise AudioError(f"{path}: cannot be written ({error}); choose another format or place") from error


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
    """Mix down or spread out: output channel k is the mean of the input channels k, k + n, k + 2n, ...

    So 8 channels become stereo by averaging the even ones to the left and the odd ones to the right, any number becomes
    mono by the plain mean, and fewer are repeated. A mean cannot clip.

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
