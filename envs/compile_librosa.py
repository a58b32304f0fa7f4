"""Compile what librosa compiles at its first call (Numba), in one process, into the cache beside it.

    .venv/bin/python envs/compile_librosa.py

Processes that make their first call at the same time may store each other's code under one name, and every later call crashes.
"""

from __future__ import annotations

import librosa
import numpy as np

RATE = 22_050

clicks = np.zeros(3 * RATE)
clicks[:: RATE // 2] = 1.0
for sound in (clicks, clicks.astype(np.float32)):
    librosa.beat.beat_track(y=sound, sr=RATE)
    librosa.onset.onset_detect(y=sound, sr=RATE)
    librosa.pyin(sound, fmin=80, fmax=400, sr=RATE)
    librosa.feature.chroma_cqt(y=sound, sr=RATE)
