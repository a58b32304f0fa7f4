"""The style of a song, as its prompt says it and as a simple classifier hears it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from riff.errors import DataError
from riff.spectrogram.image import SILENCE

STYLE_WORDS = (
    *("pop", "rock", "reggae", "electronic", "ballad", "jazz", "blues", "metal", "country", "folk", "punk", "soul", "funk"),
    *("disco", "house", "techno", "rap", "hip hop", "gospel", "classical", "latin"),
)
FEATURE_BANDS = 32
REGULARISATION = 0.1  # scikit-learn's C: few songs, many features


def style_of_prompt(prompt: str) -> str | None:
    """The one word of `STYLE_WORDS` in a prompt; None where it has none or several."""
    said = [style for style in STYLE_WORDS if re.search(rf"\b{style}\b", prompt.lower())]
    return said[0] if len(said) == 1 else None


def with_style(prompt: str, style: str) -> str:
    """A prompt that names a style, with another one instead, and the article that this one needs."""
    said = style_of_prompt(prompt)
    if said is None:
        raise DataError(f"{prompt!r} names no style, or several, so it cannot be given another")

    def say(match: re.Match[str]) -> str:
        article = match[1] and f"{match[1][0]}{'n' if style[0] in 'aeiou' else ''} "
        return f"{article or ''}{style}"

    return re.sub(rf"\b(?:(an?) )?{said}\b", say, prompt, flags=re.IGNORECASE)


class StyleClassifier:
    """Logistic regression on how loud, how varied and how restless 32 bands of a spectrogram picture are.

    Args:
        pictures: uint8, shape (n_mels, frames), to learn from. styles: of each, two different ones at least.
    """

    def __init__(self, pictures: Sequence[np.ndarray], styles: Sequence[str]) -> None:
        self._model: Any = make_pipeline(StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=2000))
        self._model.fit(np.stack([features(pixels) for pixels in pictures]), list(styles))

    def __call__(self, pixels: np.ndarray) -> str:
        return str(self._model.predict(features(pixels)[None])[0])


def features(pixels: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and mean rise from frame to frame of the ink in 32 bands: float64, shape (96,)."""
    ink = (SILENCE - pixels.astype(np.float64)) / SILENCE
    bands = np.stack([rows.mean(axis=0) for rows in np.array_split(ink, FEATURE_BANDS)])
    rises = np.maximum(0.0, np.diff(bands, axis=1))
    return np.concatenate([bands.mean(axis=1), bands.std(axis=1), rises.mean(axis=1)])
