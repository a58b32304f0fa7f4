"""Decode any file with FFmpeg; packets that cannot be decoded are skipped, and counted."""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

# What FFmpeg may take a file for: playlists and the like would let a file name other files and addresses.
FORMATS = "aac,ac3,aiff,amr,ape,asf,avi,caf,flac,flv,matroska,mov,mp3,mpegts,ogg,tta,w64,wav,wv"
_BIT_RATE_FORMATS = ("aac", "ac3", "amr", "mpegts", "w64", "wav")  # FFmpeg estimates their durations from the bit rate
_FILM_FORMATS = ("flv", "matroska,webm")  # they declare the length of the whole, and a film may outlast its sound
_SHORTEST_GAP_S = 0.01  # containers round their timestamps to a millisecond or less
_XING = re.compile(rb"\xff[\xe2-\xff].{2,38}(?:Xing|Info)\0\0\0[\1\3\5\7\t\v\r\17](.{4})", re.DOTALL)  # how many frames follow
_LONGEST_MP3_FRAME = 2881  # bytes
# By format: a file's first bytes, and those of a file that was joined to it (in OGG, of a stream that begins after sound).
_HEADERS = {
    "WAV": (rb"RIFF|RF64", rb"(?:RIFF|RF64).{4}WAVE"),
    "AIFF": (rb"FORM", rb"FORM.{4}AIF[CF]"),
    "FLAC": (rb"fLaC", rb"fLaC[\x00\x80]\x00\x00\x22"),
    "OGG": (rb"OggS", rb"OggS\x00[\x00\x01\x04\x05].*?OggS\x00\x02\x00{8}"),
    "MP4": (rb"....ftyp", rb"\x00\x00\x00.ftyp(?:M4A|M4B|mp4|iso|qt)"),
}
_LOUDEST = 10.0  # times full scale; no decoder gives more for a packet that is whole


@dataclass
class DecodedStream:
    """A stream of sound, as far as it can be decoded.

    Attributes:
        blocks: float32, shape (channels, samples) each; a number stands for so many samples that were lost.
        declared_s: how long the file says that the stream lasts; 0 where it says nothing.
        bad_packets: how many could not be decoded. bad_bytes, good_bytes: of the packets that could not and that could.
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
        """How long the stream should be: as it declares, or as its timestamps or bytes have it where that is more."""
        samples = sum(block if isinstance(block, int) else block.shape[1] for block in self.blocks)
        by_time = samples / self.sample_rate if samples else 0.0
        by_bytes = 0.0 if self.declared_s or not self.good_bytes else self.decoded_s * (1 + self.bad_bytes / self.good_bytes)
        return max(self.declared_s, by_time, by_bytes)

    def waveform(self) -> np.ndarray:
        """float32, shape (channels, samples), with silence in the place of what was lost, so that the rest stays in time."""
        channels = next(len(block) for block in self.blocks if not isinstance(block, int))
        return np.concatenate(
            [np.zeros((channels, block), np.float32) if isinstance(block, int) else block for block in self.blocks], axis=1
        )


def decode(file: BinaryIO, first_only: bool = False) -> list[DecodedStream]:
    """Decode the streams of sound of a file, or the first alone; one pass over the file serves all.

    Raises:
        av.FFmpegError: no format that FFmpeg may read, or one that it cannot make out.
    """
    with av.open(file, options={"format_whitelist": FORMATS}) as container:
        streams = container.streams.audio[:1] if first_only else container.streams.audio
        decoders = {stream.index: _Decoder(said_duration(container, stream)) for stream in streams}
        try:
            for packet in container.demux(streams) if streams else ():
                if packet.stream_index in decoders:  # others are flushed too
                    decoders[packet.stream_index].take(packet)
        except av.FFmpegError:  # the container is damaged; what came before is there
            for decoder in decoders.values():
                decoder.decoded.bad_packets += 1
        for decoder in decoders.values():
            decoder.finish()
            decoder.decoded.declared_s = _declared_duration(container, decoder, file)
        return [decoder.decoded for decoder in decoders.values()]


def said_duration(container: av.container.InputContainer, stream: av.AudioStream | None = None) -> float | None:
    """Seconds that a container, or a stream of it, lasts, declared or estimated by FFmpeg; None where neither is known."""
    if stream is None or not stream.duration or not stream.time_base:
        return container.duration / av.time_base if container.duration else None
    return float(stream.duration * stream.time_base)


def _declared_duration(container: av.container.InputContainer, decoder: _Decoder, file: BinaryIO) -> float:
    """How long the file itself says that a stream lasts; 0 where all there is is an estimate."""
    said_s, name = decoder.said_s or 0.0, container.format.name
    if name == "mp3":
        start = max(0, decoder.first_byte - _LONGEST_MP3_FRAME)
        file.seek(start)
        xing = _XING.search(file.read(max(0, decoder.first_byte - start)))
        return min(said_s, int.from_bytes(xing[1]) * decoder.packet_s) if xing else 0.0
    if name in _FILM_FORMATS and any(stream.type != "audio" for stream in container.streams):
        return 0.0
    return 0.0 if name in _BIT_RATE_FORMATS else said_s


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
        said_s: of `said_duration`. first_byte, packet_s: where the first packet lies in the file, and how long it lasts.
    """

    def __init__(self, said_s: float | None) -> None:
        self.decoded, self.said_s, self.first_byte, self.packet_s = DecodedStream(), said_s, -1, 0.0
        self._resampler: av.AudioResampler | None = None
        self._form: tuple[str, str, int] | None = None
        self._first: av.AudioFrame | None = None
        self._position = 0  # samples, lost ones included

    def take(self, packet: av.Packet) -> None:
        if self.first_byte < 0:
            self.first_byte = packet.pos or 0
            self.packet_s = float(packet.duration * packet.time_base) if packet.duration and packet.time_base else 0.0
        try:
            for frame in packet.decode():
                self._add(frame)
        except (av.FFmpegError, ValueError):  # it cannot be decoded, or makes no sound of any form
            self.decoded.bad_packets += 1
            self.decoded.bad_bytes += packet.size
        else:
            self.decoded.good_bytes += packet.size

    def finish(self) -> None:
        if self._resampler is not None:
            self._append(self._resampler.resample(None))

    def _add(self, frame: av.AudioFrame) -> None:
        """Append a frame in the form of the first, after what its timestamp says is missing before it."""
        if self._first is None:
            self._first, self.decoded.sample_rate = frame, frame.rate
        form = (frame.format.name, frame.layout.name, frame.rate)
        if form != self._form:  # of files that were joined
            self.finish()
            self._resampler, self._form = av.AudioResampler("fltp", self._first.layout, self._first.rate), form
        if frame.pts is not None and self._first.pts is not None:
            passed_s = float(frame.pts * frame.time_base - self._first.pts * self._first.time_base)
            gap = round(passed_s * self._first.rate) - self._position
            if gap > _SHORTEST_GAP_S * self._first.rate and not (self.said_s and passed_s > self.said_s):
                self.decoded.blocks.append(gap)
                self._position += gap
        assert self._resampler is not None
        self._append(self._resampler.resample(frame))

    def _append(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            samples = frame.to_ndarray()
            is_sound = np.abs(samples).max(initial=0.0) < _LOUDEST  # what damaged packets decode to may be any number, NaN too
            self.decoded.blocks.append(samples if is_sound else frame.samples)
            self._position += frame.samples
