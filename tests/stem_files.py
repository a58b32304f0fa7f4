"""MUSDB18's compressed form, made here: songs as files of several AAC streams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from riff.audio.io import Audio, read_audio

STREAMS = ("mixture", "drums", "bass", "other", "vocals")
FRAME = {"aac": 1024, "alac": 4096}  # samples


def write_stem_file(path: Path, streams: Sequence[Audio], codec: str = "aac") -> Path:
    """Write an MP4 of several streams; each waveform is float32, shape (2, samples). ALAC keeps every length exactly."""
    with av.open(str(path), "w", format="mp4") as container:
        outputs = [container.add_stream(codec, rate=audio.sample_rate, layout="stereo") for audio in streams]
        for output, audio in zip(outputs, streams, strict=True):
            if codec == "aac":
                output.bit_rate = 256_000
            waveform = audio.waveform if codec == "aac" else (audio.waveform * 2.0**31).astype(np.int32)
            for start in range(0, waveform.shape[1], FRAME[codec]):
                block = np.ascontiguousarray(waveform[:, start : start + FRAME[codec]])
                frame = av.AudioFrame.from_ndarray(block, format=output.format.name, layout="stereo")
                frame.sample_rate, frame.pts = audio.sample_rate, start
                container.mux(output.encode(frame))
            container.mux(output.encode(None))
    return path


def stem_file_of(song: Path, path: Path) -> Path:
    """The song of a folder SONG/{mixture,drums,bass,other,vocals}.wav as a .stem.mp4."""
    return write_stem_file(path, [read_audio(song / f"{name}.wav") for name in STREAMS])
