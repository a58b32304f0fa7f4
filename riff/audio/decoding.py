"""Decode any file with FFmpeg; packets that cannot be decoded are skipped and counted."""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

# Formats that FFmpeg may detect; playlists and the like could refer to other files and to addresses.
FORMATS = "aac,ac3,aiff,amr,ape,asf,avi,caf,flac,flv,matroska,mov,mp3,mpegts,ogg,tta,w64,wav,wv"
_BIT_RATE_FORMATS = ("aac", "ac3", "amr", "mpegts", "w64", "wav")  # FFmpeg estimates their durations from the bit rate
_FILM_FORMATS = ("flv", "matroska,webm")  # they declare the length of the film, which may be longer than its sound
_SHORTEST_GAP_S = 0.01  # containers round their timestamps to a millisecond or less
_XING = re.compile(rb"\xff[\xe2-\xff].{2,38}(?:Xing|Info)\0\0\0[\1\3\5\7\t\v\r\17](.{4})", re.DOTALL)  # the number of frames
_LONGEST_MP3_FRAME = 2881  # bytes
# By format: a file's first bytes, and those of a file that was joined to it (in OGG, of a stream that begins after sound).
_HEADERS = {
    "WAV": (rb"RIFF|RF64", rb"(?:RIFF|RF64).{4}WAVE"),
    "AIFF": (rb"FORM", rb"FORM.{4}AIF[CF]"),
    "FLAC": (rb"fLaC", rb"fLaC[\x00\x80]\x00\x00\x22"),
    "OGG": (rb"OggS", rb"OggS\x00[\x00\x01\x04\x05].*?OggS\x00\x02\x00{8}"),
    "MP4": (rb"....ftyp", rb"\x00\x00\x00.ftyp(?:M4A|M4B|mp4|iso|qt)"),
}
_LOUDEST = 10.0  # times full scale; no decoder exceeds that for an undamaged packet


@dataclass
class DecodedStream:
    """An audio stream, as far as it can be decoded.

    Attributes:
        blocks: float32, shape (channels, samples) each; an int is a number of lost samples.
        declared_s: duration that the file declares; 0 where it declares none.
        bad_packets: number of packets that could not be decoded. bad_bytes, good_bytes: sizes of the bad and the good ones.
    """

    sample_rate: int = 0
    blocks: list[np.ndarray | int] = field(default_factory=list)
    declared_s: float = 0.0
    bad_packets: int = 0
    bad_bytes: int = 0
    good_bytes: int = 0

    @property
    def has_holes(self) -> bool:
        return self.bad_packets > 0 or any(isinstance(block, int) for block in self.blocks)

    @property
    def decoded_s(self) -> float:
        samples = sum(block.shape[1] for block in self.blocks if not isinstance(block, int))
        return samples / self.sample_rate if samples else 0.0

    @property
    def expected_s(self) -> float:
        """The longest of the durations by the declaration, by timestamps and, without a declaration, by bytes."""
        samples = sum(block if isinstance(block, int) else block.shape[1] for block in self.blocks)
        by_time = samples / self.sample_rate if samples else 0.0
        by_bytes = 0.0 if self.declared_s or not self.good_bytes else self.decoded_s * (1 + self.bad_bytes / self.good_bytes)
        return max(self.declared_s, by_time, by_bytes)

    def waveform(self) -> np.ndarray:
        """float32, shape (channels, samples), with silence for lost samples, so that the rest stays in time."""
        channels = next(len(block) for block in self.blocks if not isinstance(block, int))
        return np.concatenate(
            [np.zeros((channels, block), np.float32) if isinstance(block, int) else block for block in self.blocks], axis=1
        )


def decode(file: BinaryIO, first_only: bool = False) -> list[DecodedStream]:
    """Decode the audio streams of a file, or the first alone, in one pass over the file.

    Raises:
        av.FFmpegError: not a format of `FORMATS`.
    """
    with av.open(file, options={"format_whitelist": FORMATS}) as container:
        streams = container.streams.audio[:1] if first_only else container.streams.audio
        decoders = {stream.index: _Decoder(container_duration(container, stream)) for stream in streams}
        try:
            for packet in container.demux(streams) if streams else ():
                if packet.stream_index in decoders:  # others are flushed too
                    decoders[packet.stream_index].take(packet)
        except av.FFmpegError:  # the container is damaged; the packets before are decoded
            for decoder in decoders.values():
                decoder.decoded.bad_packets += 1
        for decoder in decoders.values():
            decoder.finish()
            decoder.decoded.declared_s = _declared_duration(container, decoder, file)
        return [decoder.decoded for decoder in decoders.values()]


def container_duration(container: av.container.InputContainer, stream: av.AudioStream | None = None) -> float | None:
    """Duration in seconds of a container or of one of its streams, declared or estimated by FFmpeg; None where unknown."""
    if stream is None or not stream.duration or not stream.time_base:
        return container.duration / av.time_base if container.duration else None
    return float(stream.duration * stream.time_base)


def _declared_duration(container: av.container.InputContainer, decoder: _Decoder, file: BinaryIO) -> float:
    """Duration of a stream that the file itself declares; 0 where there is only an estimate."""
    duration_s, name = decoder.duration_s or 0.0, container.format.name
    if name == "mp3":
        start = max(0, decoder.first_byte - _LONGEST_MP3_FRAME)
        file.seek(start)
        xing = _XING.search(file.read(max(0, decoder.first_byte - start)))
        return min(duration_s, int.from_bytes(xing[1]) * decoder.packet_s) if xing else 0.0
    if name in _FILM_FORMATS and any(stream.type != "audio" for stream in container.streams):
        return 0.0
    return 0.0 if name in _BIT_RATE_FORMATS else duration_s


def joined_format(path: Path) -> str | None:
    """The format of a file that holds several files one after another, as `cat` joins them; None for any other file.

    FFmpeg reads joined FLAC and OGG files to their end. Otherwise decoders stop at the end of the first file.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for name, (first, following) in _HEADERS.items():
            if re.match(first, content, re.DOTALL):
                # A RIFF file declares where it ends, so that its samples need not be searched.
                start = 8 + int.from_bytes(content[4:8], "little") if content[:4] == b"RIFF" else 8
                return name if re.compile(following, re.DOTALL).search(content, start) else None
    return None


class _Decoder:
    """Decodes the packets of one stream.

    Attributes:
        duration_s: of `container_duration`. first_byte, packet_s: position in the file and duration of the first packet.
    """

    def __init__(self, duration_s: float | None) -> None:
        self.decoded, self.duration_s, self.first_byte, self.packet_s = DecodedStream(), duration_s, -1, 0.0
        self._resampler: av.AudioResampler | None = None
        self._format: tuple[str, str, int] | None = None
        self._first: av.AudioFrame | None = None
        self._position = 0  # in samples, lost ones included

    def take(self, packet: av.Packet) -> None:
        if self.first_byte < 0:
            self.first_byte = packet.pos or 0
            self.packet_s = float(packet.duration * packet.time_base) if packet.duration and packet.time_base else 0.0
        try:
            for frame in packet.decode():
                self._add(frame)
        except (av.FFmpegError, ValueError):  # it cannot be decoded, or has no valid audio format
            self.decoded.bad_packets += 1
            self.decoded.bad_bytes += packet.size
        else:
            self.decoded.good_bytes += packet.size

    def finish(self) -> None:
        if self._resampler is not None:
            self._append(self._resampler.resample(None))

    def _add(self, frame: av.AudioFrame) -> None:
        """Append a frame, converted to the format of the first, after a gap where its timestamp shows one."""
        if self._first is None:
            self._first, self.decoded.sample_rate = frame, frame.rate
        frame_format = (frame.format.name, frame.layout.name, frame.rate)
        if frame_format != self._format:  # joined files
            self.finish()
            self._resampler, self._format = av.AudioResampler("fltp", self._first.layout, self._first.rate), frame_format
        if frame.pts is not None and self._first.pts is not None:
            passed_s = float(frame.pts * frame.time_base - self._first.pts * self._first.time_base)
            gap = round(passed_s * self._first.rate) - self._position
            if gap > _SHORTEST_GAP_S * self._first.rate and not (self.duration_s and passed_s > self.duration_s):
                self.decoded.blocks.append(gap)
                self._position += gap
        assert self._resampler is not None
        self._append(self._resampler.resample(frame))

    def _append(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            samples = frame.to_ndarray()
            is_valid = np.abs(samples).max(initial=0.0) < _LOUDEST  # damaged packets may decode to any number, NaN included
            self.decoded.blocks.append(samples if is_valid else frame.samples)
            self._position += frame.samples
