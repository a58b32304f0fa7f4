"""The style of a song: named in its prompt, and classified from its spectrogram."""

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
    named = [style for style in STYLE_WORDS if re.search(rf"\b{style}\b", prompt.lower())]
    return named[0] if len(named) == 1 else None


def with_style(prompt: str, style: str) -> str:
    """Replace the style that a prompt names, and the article before it.

    Raises:
        DataError: the prompt names no style, or several.
    """
    named = style_of_prompt(prompt)
    if named is None:
        raise DataError(f"{prompt!r} names no style, or several, so it cannot be replaced")

    def replacement(match: re.Match[str]) -> str:
        article = match[1] and f"{match[1][0]}{'n' if style[0] in 'aeiou' else ''} "
        return f"{article or ''}{style}"

    return re.sub(rf"\b(?:(an?) )?{named}\b", replacement, prompt, flags=re.IGNORECASE)


class StyleClassifier:
    """Logistic regression on the `features` of spectrogram images.

    Args:
        images: uint8, shape (n_mels, frames), to fit to. styles: of each image, at least two different ones.
    """

    def __init__(self, images: Sequence[np.ndarray], styles: Sequence[str]) -> None:
        self._model: Any = make_pipeline(StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=2000))
        self._model.fit(np.stack([features(pixels) for pixels in images]), list(styles))

    def __call__(self, pixels: np.ndarray) -> str:
        return str(self._model.predict(features(pixels)[None])[0])


def features(pixels: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and mean rise from frame to frame of the level in 32 bands: float64, shape (96,)."""
    levels = (SILENCE - pixels.astype(np.float64)) / SILENCE
    bands = np.stack([rows.mean(axis=0) for rows in np.array_split(levels, FEATURE_BANDS)])
    rises = np.maximum(0.0, np.diff(bands, axis=1))
    return np.concatenate([bands.mean(axis=1), bands.std(axis=1), rises.mean(axis=1)])
