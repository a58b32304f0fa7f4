"""Edges that a visitor painted in the browser, sent as a PNG in a data URL."""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from riff.errors import DataError

PREFIX = "data:image/png;base64,"
MOST_CHARACTERS = 4_000_000
INCOMPLETE = "the painted edges did not arrive whole; start them anew"


def check_painted_edges(url: object) -> str:
    """Check what the page sent for painted edges, without decoding it.

    Raises:
        DataError: not a PNG in a data URL, or too large.
    """
    if not isinstance(url, str) or not url.startswith(PREFIX) or len(url) > MOST_CHARACTERS:
        raise DataError(INCOMPLETE)
    return url


def read_painted_edges(url: str, shape: tuple[int, int]) -> np.ndarray:
    """The edges, uint8, 0 or 255.

    Args:
        url: a PNG as a data URL; pixels lighter than middle grey are edges. shape: required (height, width).

    Raises:
        DataError: not such an image.
    """
    check_painted_edges(url)
    try:
        with Image.open(io.BytesIO(base64.b64decode(url.removeprefix(PREFIX), validate=True)), formats=["PNG"]) as image:
            if (image.height, image.width) != shape:
                raise DataError(INCOMPLETE)
            grey = np.array(image.convert("RGB").convert("L"))
    except (binascii.Error, UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(INCOMPLETE) from error
    return np.where(grey > 127, 255, 0).astype(np.uint8)
