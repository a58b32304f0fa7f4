"""Whether a mix has a voice that its accompaniment has not, and whose: by musicnn, a tagger that this project did not train.

The networks listen to the sound, and know neither the accompaniment's image nor the prompt. Their weights are 21 MB; where they
cannot be had, the metric is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from riff.audio.pitch import median_note
from riff.errors import DataError, ModelError
from riff.metrics.melody import register_obeyed, register_of_prompt
from riff.tagging.musicnn import PATCH
from riff.tagging.tags import find_weights, tag

CLIP_HOP = PATCH // 3  # frames: three patches cover a clip of 5.11 s
SILENT_SINGING = -0.2  # log-odds for a voice in near silence, which the networks cannot judge
MIN_LOG_ODDS = 1.0


class VoiceHeard(NamedTuple):
    """What is heard of a new vocal. Log-odds are unbounded, and higher is better.

    Attributes:
        rise: log-odds for a voice (`riff.tagging.tags.Tags.singing`) of the mix, less the accompaniment's. The floor, the
            accompaniment itself, is 0; the ceiling is the true vocal's.
        alone: log-odds for a voice of the vocal alone.
        female: log-odds for a female voice against a male one, of the vocal alone; NaN of a silent vocal.
        note: the vocal's median pitch by pYIN, a MIDI number; NaN where it has none.
    """

    rise: float
    alone: float
    female: float
    note: float

    @property
    def heard(self) -> bool:
        """What was added sounds like a voice, and it and the mix together by at least e to 1.

        Chosen on demo songs of catalogue 21, where an added instrument makes the mix sound more like singing as often as not, but
        does not sound like a voice alone (benchmarks/voice_heard.py).
        """
        return self.alone > 0 and self.alone + self.rise >= MIN_LOG_ODDS

    def scores(self, prompt: str = "") -> dict[str, float]:
        """`voice_heard` and its two log-odds; where the prompt names a gender and a voice is heard, whether the tags
        (`gender_heard`) and the pitch (`pyin_register`) agree with it."""
        found = {"voice_heard": float(self.heard), "voice_rise": self.rise, "voice_alone": self.alone}
        gender = register_of_prompt(prompt)
        if gender and self.heard:
            found["gender_heard"] = float((self.female >= 0) == (gender == "female"))
            found["pyin_register"] = float(bool(register_obeyed(prompt, self.note)))
        return found


def hear_voice(mix: np.ndarray, accompaniment: np.ndarray, sample_rate: int) -> VoiceHeard:
    """What is heard of the vocal in a mix whose accompaniment is known to the sample.

    Args:
        mix, accompaniment: float32, shape (channels, samples), of 3 s at least; their difference is the vocal.

    Raises:
        DataError: of different shapes. AudioError: shorter than 3 s. ModelError: no weights, and they cannot be downloaded.
    """
    if mix.shape != accompaniment.shape:
        raise DataError(
            f"a mix of shape {mix.shape} has no accompaniment of shape {accompaniment.shape}; cut them to the same length"
        )
    vocal = mix - accompaniment
    rise = _singing(mix, sample_rate) - _singing(accompaniment, sample_rate)
    if not np.any(vocal):
        return VoiceHeard(rise, SILENT_SINGING, float("nan"), float("nan"))
    alone = tag(vocal, sample_rate, hop=CLIP_HOP)
    return VoiceHeard(rise, alone.singing, alone.female, median_note(vocal, sample_rate))


def _singing(waveform: np.ndarray, sample_rate: int) -> float:
    return tag(waveform, sample_rate, hop=CLIP_HOP).singing if np.any(waveform) else SILENT_SINGING


def can_hear(say: Callable[[str], object]) -> bool:
    """Whether the tagger's weights are there or can be downloaded; if not, a line to `say` gives reason and remedy."""
    try:
        find_weights()
    except ModelError as error:
        say(f"what a tagger hears of the voice is left out: {error}")
        return False
    return True
