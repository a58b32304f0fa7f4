"""mel <-> image: Riffusion's 8-bit image of a mel spectrogram, with its parameters in EXIF tags."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from riff.errors import DataError
from riff.files import write_bytes
from riff.spectrogram.mel import waveform_to_mel
from riff.spectrogram.params import STANDARD, ExifTag, SpectrogramParams, unit_maximum
from riff.spectrogram.phase import mel_to_waveform
from riff.spectrogram.png import encode_png

SILENCE = 255  # white
BANDS_AT_ONCE = 32
UNKNOWN_MAXIMUM = unit_maximum(30e6)  # Riffusion's default for images without a maximum


@dataclass(frozen=True)
class SpectrogramImage:
    """Grey levels with the parameters to invert them to audio.

    Attributes:
        pixels: uint8, shape (n_mels, frames), low frequencies in the last row, 255 is silence.
        max_value: the mel value of black; 0 for a silent clip.
    """

    pixels: np.ndarray
    max_value: float
    params: SpectrogramParams = STANDARD

    def to_rgb(self) -> np.ndarray:
        """uint8, shape (n_mels, frames, 3), three equal channels."""
        return np.repeat(self.pixels[:, :, None], 3, axis=2)


def mel_to_image(mel: torch.Tensor, params: SpectrogramParams = STANDARD, max_value: float | None = None) -> SpectrogramImage:
    """255 - 255 * (mel / max)**power, truncated to integers, low frequencies at the bottom.

    Args:
        mel: float32, shape (n_mels, frames), >= 0.
        max_value: the mel value of black (default: the maximum of `mel`). Silence is white.
    """
    mel = mel.detach().float()
    black = max(0.0, mel.max().item() if mel.numel() else 0.0) if max_value is None else float(max_value)
    grey = torch.full(mel.shape, SILENCE, dtype=torch.uint8, device=mel.device)
    if black > 0:
        # In blocks of bands, so that the image of an hour is not copied.
        for band, levels in zip(mel.split(BANDS_AT_ONCE), grey.split(BANDS_AT_ONCE), strict=True):
            levels.copy_(_grey_levels(band / black, params.power_for_image))
    return SpectrogramImage(np.ascontiguousarray(grey.cpu().numpy()[::-1]), black, params)


def _grey_levels(ratio: torch.Tensor, power: float) -> torch.Tensor:
    """255 - 255 * ratio**power, not rounded, computed in place; ratio: float32, clipped to [0, 1]."""
    ratio.clamp_(0.0, 1.0)
    powered = ratio.sqrt_().sqrt_() if power == 0.25 else ratio.pow_(power)  # two roots are four times as fast
    return powered.mul_(-255.0).add_(255.0)


def image_to_mel(image: SpectrogramImage) -> torch.Tensor:
    """The inverse of `mel_to_image` up to its quantisation: float32, shape (n_mels, frames)."""
    ratio = (255.0 - np.arange(256, dtype=np.float32)) / 255.0
    values = ratio ** (1.0 / image.params.power_for_image) * np.float32(image.max_value)
    return torch.from_numpy(values[image.pixels[::-1]])


def combine_images(backing: SpectrogramImage, vocal: SpectrogramImage, max_value: float | None = None) -> SpectrogramImage:
    """The image of a mix, from the images of its parts and their levels; `max_value` as in `mel_to_image`.

    Phases are taken as independent, so energies add: the expected magnitude is sqrt(backing**2 + vocal**2).

    Raises:
        DataError: images of different sizes or spectrogram parameters.
    """
    if backing.params != vocal.params or backing.pixels.shape != vocal.pixels.shape:
        raise DataError("combine_images: the two images differ in size or parameters; make both the same way")
    mix = image_to_mel(vocal)
    torch.hypot(image_to_mel(backing), mix, out=mix)  # in place: the mel spectrogram of an hour is 0.7 GB
    return mel_to_image(mix, backing.params, max_value)


def waveform_to_image(waveform: torch.Tensor, params: SpectrogramParams = STANDARD) -> SpectrogramImage:
    """float (channels, samples) or (samples,) -> image of the mono downmix, 1 + samples // hop_length frames wide."""
    mono = waveform.mean(dim=0) if waveform.dim() == 2 else waveform
    return mel_to_image(waveform_to_mel(mono, params), params)


def image_to_waveform(
    image: SpectrogramImage,
    iterations: int = 16,
    seed: int = 0,
    start: torch.Tensor | None = None,
    propagate: bool = True,
) -> torch.Tensor:
    """image -> float32 (samples,) at the image's sample rate and the level of its maximum; see `mel_to_waveform`."""
    return mel_to_waveform(image_to_mel(image), image.params, iterations, seed, start, propagate)


def save_image(path: str | Path, image: SpectrogramImage) -> None:
    """Write a PNG of three equal channels with the parameters in its EXIF tags, atomically."""
    write_bytes(path, image_to_png(image))


def image_to_png(image: SpectrogramImage) -> bytes:
    """The bytes that `save_image` writes."""
    return encode_png(image.pixels, channels=3, exif=image.params.to_exif(image.max_value).tobytes())


def load_image(path: str | Path | BinaryIO) -> SpectrogramImage:
    """Read a spectrogram image, its maximum scaled to waveforms in [-1, 1] (default: Riffusion's constant).

    Raises:
        DataError: the file is missing, not an image, or a stereo image.
    """
    with _opened(path) as image:
        params, max_value = SpectrogramParams.from_exif(image.getexif())
        return SpectrogramImage(_to_grey(image, SILENCE), UNKNOWN_MAXIMUM if max_value is None else max_value, params)


def load_channels(path: str | Path, stereo: bool | None = None) -> tuple[list[SpectrogramImage], bool]:
    """Read a spectrogram image by channel: mono, or left and right.

    Args:
        stereo: whether green and blue are left and right, as in Riffusion's stereo images (default: from the EXIF tags).

    Returns:
        The images, and whether the file has a maximum; otherwise it is Riffusion's constant.

    Raises:
        DataError: the file is missing, not an image, of another height than its parameters require, or has invalid tags.
    """
    with _opened(path) as image:
        exif = image.getexif()
        is_stereo = bool(exif.get(ExifTag.STEREO, False)) if stereo is None else stereo
        channels = list(np.array(image.convert("RGB")).transpose(2, 0, 1)[1:]) if is_stereo else [_to_grey(image, SILENCE)]
        params, max_value = SpectrogramParams.from_exif(exif, stereo=True)
        if image.height != params.n_mels:
            raise DataError(f"{image.height} pixels high; a spectrogram image has {params.n_mels} mel bands")
    maximum = UNKNOWN_MAXIMUM if max_value is None else max_value
    return [SpectrogramImage(np.ascontiguousarray(pixels), maximum, params) for pixels in channels], max_value is not None


def load_grey(path: str | Path | BinaryIO, background: int = SILENCE) -> np.ndarray:
    """Read any image as uint8, shape (height, width): edge maps, for example.

    Args:
        background: grey level behind transparent pixels. For edge maps it is 0, since programs may give transparent pixels any
            colour, often white.

    Raises:
        DataError: the file is missing, not an image, or of 32 bits, whose range is unknown.
    """
    with _opened(path) as image:
        return _to_grey(image, background)


def image_size(path: str | Path | BinaryIO) -> tuple[int, int]:
    """(height, width) of an image, from its header."""
    with _opened(path) as image:
        return image.height, image.width


def _to_grey(image: Image.Image, background: int) -> np.ndarray:
    if image.mode in ("I", "F"):
        raise DataError("an image of 32 bits; save it with 8")
    if image.mode.startswith("I;16"):
        return np.round(np.array(image) / 257).astype(np.uint8)  # Pillow clips at 255 instead
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, (background, background, background, 255))
        return np.array(Image.alpha_composite(canvas, image.convert("RGBA")).convert("L"))
    return np.array(image.convert("L"))


@contextmanager
def _opened(path: str | Path | BinaryIO) -> Iterator[Image.Image]:
    """The image, closed after the block; errors of reading it, and a DataError of the block, name the path."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such image") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be read as an image; make it again") from error
