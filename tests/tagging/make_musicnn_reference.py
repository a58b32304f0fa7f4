"""Make what the original musicnn says of a test signal, for the tests of this project's own reader.

    python -m venv tf && tf/bin/python -m pip install tensorflow==2.12.1 "numpy<2" "librosa<0.9"
    pip download --no-deps --ignore-requires-python musicnn==0.1.0 && unzip musicnn-0.1.0-py3-none-any.whl -d musicnn
    tf/bin/python tests/tagging/make_musicnn_reference.py musicnn tests/tagging/musicnn_reference.json

Runs beside TensorFlow and needs nothing of this project. Writes {"MTT_musicnn": [50 numbers], "MSD_musicnn": [50 numbers]}, means
over the signal's 3 s patches.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16_000
SECONDS = 7


def signal() -> np.ndarray:
    """Chords, a voice with vibrato and hits of noise: float32, shape (samples,) at 16 kHz."""
    time = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    chords = sum(np.sin(2 * np.pi * hz * time) for hz in (220.0, 277.18, 329.63))
    phase = 2 * np.pi * np.cumsum(440 * 2 ** (0.03 * np.sin(2 * np.pi * 5.5 * time))) / SAMPLE_RATE
    voice = sum(np.sin(number * phase) / number for number in range(1, 12))
    hits = np.random.default_rng(5).standard_normal(len(time)) * np.exp(-12 * (time % 0.5))
    return (0.1 * chords + 0.15 * voice * (np.sin(np.pi * time) > 0) + 0.1 * hits).astype(np.float32)


def main() -> None:
    package, output = Path(sys.argv[1]), Path(sys.argv[2])
    for alias in (bool, complex, float, int, object):  # which numpy has no more, and the original's librosa still names
        setattr(np, alias.__name__, alias)
    sys.path.insert(0, str(package))
    from musicnn import extractor

    extractor.librosa.load = lambda *_, **__: (signal(), SAMPLE_RATE)
    found = {name: extractor.extractor("", name, extract_features=False)[0] for name in ("MTT_musicnn", "MSD_musicnn")}
    output.write_text(
        json.dumps({name: np.round(tags.mean(axis=0).astype(float), 6).tolist() for name, tags in found.items()}) + "\n"
    )


if __name__ == "__main__":
    main()
