"""Contact sheets: images side by side, each under its caption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from riff.errors import DataError
from riff.files import atomic_path

SHEET_GAP, SHEET_CAPTION, SHEET_FONT = 12, 28, 16  # pixels


def contact_sheet(images: Sequence[np.ndarray], captions: Sequence[str], path: str | Path, columns: int | None = None) -> None:
    """Write images side by side, each under its caption, as one PNG.

    Args:
        images: uint8, shape (height, width) or (height, width, 3).
        captions: one per image, truncated with an ellipsis to the image's width.
        path: the PNG. Gaps between images are 12 pixels wide; a row is as high as its tallest image, a caption of 28 pixels and a
            gap. Equal images give equal bytes.
        columns: images per row (default: all in one row).

    Raises:
        DataError: no images, another number of captions, or images of another type.
    """
    if not images or len(images) != len(captions):
        raise DataError(f"{path}: {len(images)} images and {len(captions)} captions make no sheet; give one caption per image")
    for image in images:
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or image.size == 0:
            raise DataError(f"{path}: a sheet takes uint8 images in grey or RGB, not {image.dtype} of shape {image.shape}")
    font = ImageFont.load_default(size=SHEET_FONT)
    captioned = list(zip(images, captions, strict=True))
    rows = [captioned[start : start + (columns or len(captioned))] for start in range(0, len(captioned), columns or len(captioned))]
    width = SHEET_GAP + max(sum(image.shape[1] + SHEET_GAP for image, _ in row) for row in rows)
    heights = [SHEET_CAPTION + max(image.shape[0] for image, _ in row) + SHEET_GAP for row in rows]
    sheet = Image.new("RGB", (width, sum(heights)), "#e9e9e6")  # grey: a spectrogram's silence is white
    draw = ImageDraw.Draw(sheet)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = SHEET_GAP
        for image, caption in row:
            caption = _fit(" ".join(caption.split()), font, image.shape[1])
            draw.text((left, top + SHEET_CAPTION // 2), caption, fill="#222222", font=font, anchor="lm")
            sheet.paste(Image.fromarray(image), (left, top + SHEET_CAPTION))
            left += image.shape[1] + SHEET_GAP
        top += height
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG", compress_level=6)


def _fit(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """The text, truncated to this many pixels."""
    length = min(len(text), width)  # at most one letter per pixel
    while length and font.getlength(_cut(text, length)) > width:
        length -= 1
    return _cut(text, length) if length else ""


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
