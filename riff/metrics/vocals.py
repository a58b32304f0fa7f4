"""Does a vocal sing what another one sings, and is it as loud against its backing? As numbers."""

from __future__ import annotations

import mir_eval
import numpy as np

from riff.audio.loudness import loudness_against
from riff.errors import DataError
from riff.metrics.melody import PitchTrack

PITCH_TOLERANCE = 50.0  # cents, a quarter tone
MOST_LEVEL_ERROR = 20.0  # LU: more than this is not heard as a level but as no vocal, or no backing


def raw_pitch_accuracy(track: PitchTrack, reference: PitchTrack, tolerance: float = PITCH_TOLERANCE) -> float:
    """Share of the frames that the reference sings in which the other sings less than a quarter tone off.

    MIREX's raw pitch accuracy (Poliner et al., IEEE TASLP 2007; Salamon et al., IEEE SPM 2014) by
    `mir_eval.melody.raw_pitch_accuracy`. A track has no pitch where it does not sing (see `PitchTrack`), so those frames are
    wrong. What it sings where the reference is silent does not count, and an octave off is wrong.

    Args:
        track, reference: of the same number of frames, from `melody_of` or `added_melody`.
        tolerance: cents.

    Returns:
        [0, 1], higher is better; not symmetric. 1 if neither sings, 0 if one of them does not.

    Raises:
        DataError: tracks of different lengths.
    """
    if len(track.note) != len(reference.note):
        raise DataError(f"pitch tracks of {len(track.note)} and {len(reference.note)} frames cannot be compared; cut them alike")
    if not track.sung.any() or not reference.sung.any():
        return float(track.sung.any() == reference.sung.any())
    cents, expected = (np.where(one.sung, 100 * one.note, 0.0) for one in (track, reference))  # 0 is mir_eval's "none"
    voiced, expected_voiced = track.sung.astype(float), reference.sung.astype(float)
    return float(mir_eval.melody.raw_pitch_accuracy(expected_voiced, expected, voiced, cents, cent_tolerance=tolerance))


def level_error(vocal: np.ndarray, true_vocal: np.ndarray, backing: np.ndarray, sample_rate: int) -> float:
    """How far the vocal-to-backing level is from the true one.

    The difference of two `loudness_against`, each of a vocal over the backing where that vocal sings (ITU-R BS.1770-4).

    Args:
        vocal, true_vocal, backing: float32, shape (channels, samples), of equal length.

    Returns:
        LU, [0, 20], lower is better. A difference of more counts as 20, and so does a side without a level: a silent vocal,
        or one that sings only where the backing rests. 0 if neither vocal has one.
    """
    level, expected = (loudness_against(one, backing, sample_rate) for one in (vocal, true_vocal))
    if level is None or expected is None:
        return 0.0 if level is expected else MOST_LEVEL_ERROR
    return min(MOST_LEVEL_ERROR, abs(level - expected))
