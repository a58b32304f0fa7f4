"""Edges that a visitor painted in the browser, which sends them as a picture in a data URL."""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from riff.errors import DataError

PREFIX = "data:image/png;base64,"
MOST_CHARACTERS = 4_000_000
NOT_WHOLE = "the painted edges did not arrive whole; start them anew"


def check_painted_edges(url: object) -> str:
    """What a page sent for painted edges, as far as that can be told without reading it.

    Raises:
        DataError: it is no PNG in a data URL, or too large.
    """
    if not isinstance(url, str) or not url.startswith(PREFIX) or len(url) > MOST_CHARACTERS:
        raise DataError(NOT_WHOLE)
    return url


def read_painted_edges(url: str, shape: tuple[int, int]) -> np.ndarray:
    """The edges, uint8, 0 or 255.

    Args:
        url: a PNG as a data URL; what is lighter than middle grey is an edge. shape: (height, width) that it must have.

    Raises:
        DataError: something else.
    """
    wrong = DataError(NOT_WHOLE)
    check_painted_edges(url)
    try:
        with Image.open(io.BytesIO(base64.b64decode(url.removeprefix(PREFIX), validate=True)), formats=["PNG"]) as picture:
            if (picture.height, picture.width) != shape:
                raise wrong
            grey = np.array(picture.convert("RGB").convert("L"))
    except (binascii.Error, UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise wrong from error
    return np.where(grey > 127, 255, 0).astype(np.uint8)
