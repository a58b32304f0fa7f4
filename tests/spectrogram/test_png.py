"""PNG files are read identically by other libraries."""

from __future__ import annotations

import io
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from riff.spectrogram.png import SIGNATURE, encode_png

IMAGES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(IMAGES, st.sampled_from([1, 3]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_two_other_libraries_read_what_was_given(pixels: np.ndarray, channels: int, lines: bool) -> None:
    content = encode_png(pixels, channels, lines=lines)
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == ("L" if channels == 1 else "RGB")
        image.verify()  # the checksums
    with Image.open(io.BytesIO(content)) as image:
        read = np.array(image)
    np.testing.assert_array_equal(read, pixels if channels == 1 else np.repeat(pixels[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE), pixels)


@pytest.mark.parametrize("strided", [lambda a: a[::-1], lambda a: a.T, lambda a: a[:, ::2]])
def test_the_layout_in_memory_does_not_matter(strided) -> None:  # type: ignore[no-untyped-def]
    pixels = strided(np.random.default_rng(0).integers(0, 256, (16, 24), np.uint8))
    assert encode_png(pixels) == encode_png(np.ascontiguousarray(pixels))


def test_tags_come_through_with_and_without_their_prefix() -> None:
    exif = Image.Exif()
    exif[11080] = 12.5
    assert exif.tobytes().startswith(b"Exif\0\0")
    contents = [encode_png(np.zeros((4, 4), np.uint8), 3, tags) for tags in (exif.tobytes(), exif.tobytes()[6:])]
    assert contents[0] == contents[1]
    with Image.open(io.BytesIO(contents[0])) as image:
        assert image.getexif()[11080] == 12.5


def test_a_flat_image_is_small_and_noise_is_not_much_larger_than_its_pixels() -> None:
    assert len(encode_png(np.full((512, 512), 255, np.uint8), 3)) < 5_000
    noise = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)
    assert len(encode_png(noise)) < noise.nbytes * 1.02
    assert encode_png(noise).startswith(SIGNATURE)
    assert len(zlib.compress(noise.tobytes())) > noise.nbytes * 0.98  # there is nothing to compress
