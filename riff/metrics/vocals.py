"""Melody and level of a vocal compared with a reference vocal."""

from __future__ import annotations

from collections.abc import Callable

import mir_eval
import numpy as np

from riff.audio.loudness import loudness_against
from riff.errors import DataError
from riff.metrics.melody import PitchTrack

PITCH_TOLERANCE = 50.0  # cents, a quarter tone
MOST_LEVEL_ERROR = 20.0  # LU: a larger difference is heard as a missing vocal or backing


def raw_chroma_accuracy(track: PitchTrack, reference: PitchTrack, tolerance: float = PITCH_TOLERANCE) -> float:
    """`raw_pitch_accuracy` in which octave errors are right (`mir_eval.melody.raw_chroma_accuracy`)."""
    return _accuracy(mir_eval.melody.raw_chroma_accuracy, track, reference, tolerance)


def raw_pitch_accuracy(track: PitchTrack, reference: PitchTrack, tolerance: float = PITCH_TOLERANCE) -> float:
    """Share of the reference's voiced frames in which the other track is less than a quarter tone off.

    MIREX's raw pitch accuracy (Poliner et al., IEEE TASLP 2007; Salamon et al., IEEE SPM 2014) by
    `mir_eval.melody.raw_pitch_accuracy`. Unvoiced frames of a track have no pitch (see `PitchTrack`) and are wrong. Frames in which
    the reference is unvoiced do not count, and octave errors are wrong.

    Args:
        track, reference: of the same number of frames, from `melody_of` or `added_melody`.
        tolerance: cents.

    Returns:
        [0, 1], higher is better; not symmetric. 1 if neither has a voiced frame, 0 if one has none.

    Raises:
        DataError: tracks of different lengths.
    """
    return _accuracy(mir_eval.melody.raw_pitch_accuracy, track, reference, tolerance)


def _accuracy(measure: Callable[..., float], track: PitchTrack, reference: PitchTrack, tolerance: float) -> float:
    if len(track.note) != len(reference.note):
        raise DataError(
            f"pitch tracks of {len(track.note)} and {len(reference.note)} frames cannot be compared; cut them to the same length"
        )
    if not track.voiced.any() or not reference.voiced.any():
        return float(track.voiced.any() == reference.voiced.any())
    cents, expected = (np.where(pitch.voiced, 100 * pitch.note, 0.0) for pitch in (track, reference))  # 0 is mir_eval's "none"
    voiced, expected_voiced = track.voiced.astype(float), reference.voiced.astype(float)
    return float(measure(expected_voiced, expected, voiced, cents, cent_tolerance=tolerance))


def level_error(vocal: np.ndarray, true_vocal: np.ndarray, backing: np.ndarray, sample_rate: int) -> float:
    """Error of the vocal-to-backing level.

    The difference of two `loudness_against`, each of a vocal relative to the backing while that vocal sings (ITU-R BS.1770-4).

    Args:
        vocal, true_vocal, backing: float32, shape (channels, samples), of equal length.

    Returns:
        LU, [0, 20], lower is better; larger differences count as 20, and so does one vocal without a level: silent, or singing
        only while the backing is silent. 0 if neither vocal has a level.
    """
    level, expected = (loudness_against(voice, backing, sample_rate) for voice in (vocal, true_vocal))
    if level is None or expected is None:
        return 0.0 if level is expected else MOST_LEVEL_ERROR
    return min(MOST_LEVEL_ERROR, abs(level - expected))
