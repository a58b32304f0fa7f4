"""mel <-> image: Riffusion's 8-bit picture of a mel spectrogram, with its parameters inside."""

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
from riff.files import atomic_path
from riff.spectrogram.mel import waveform_to_mel
from riff.spectrogram.params import STANDARD, ExifTag, SpectrogramParams, unit_maximum
from riff.spectrogram.phase import mel_to_waveform
from riff.spectrogram.png import encode_png

SILENCE = 255  # white
BANDS_AT_ONCE = 32
UNKNOWN_MAXIMUM = unit_maximum(30e6)  # what Riffusion takes for an image that holds none


@dataclass(frozen=True)
class SpectrogramImage:
    """Grey levels with what is needed to hear them again.

    Attributes:
        pixels: uint8, shape (n_mels, frames), low frequencies in the last row, 255 is silence.
        max_value: the mel value that is painted black; 0 for a silent clip.
    """

    pixels: np.ndarray
    max_value: float
    params: SpectrogramParams = STANDARD

    def to_rgb(self) -> np.ndarray:
        """uint8, shape (n_mels, frames, 3), three equal channels."""
        return np.repeat(self.pixels[:, :, None], 3, axis=2)


def mel_to_image(mel: torch.Tensor, params: SpectrogramParams = STANDARD, max_value: float | None = None) -> SpectrogramImage:
    """255 - 255 * (mel / max)**power, cut to whole grey levels, low frequencies at the bottom.

    Args:
        mel: float32, shape (n_mels, frames), >= 0.
        max_value: what is painted black (default: the clip's own maximum). A silent clip is white.
    """
    mel = mel.detach().float()
    black = max(0.0, mel.max().item() if mel.numel() else 0.0) if max_value is None else float(max_value)
    grey = torch.full(mel.shape, SILENCE, dtype=torch.uint8, device=mel.device)
    if black > 0:
        # By bands: an hour's picture leaves no room for copies of it.
        for band, levels in zip(mel.split(BANDS_AT_ONCE), grey.split(BANDS_AT_ONCE), strict=True):
            levels.copy_(_grey_levels(band / black, params.power_for_image))
    return SpectrogramImage(np.ascontiguousarray(grey.cpu().numpy()[::-1]), black, params)


def _grey_levels(ratio: torch.Tensor, power: float) -> torch.Tensor:
    """255 - 255 * ratio**power, not rounded, computed in place; ratio: float32, cut to [0, 1]."""
    ratio.clamp_(0.0, 1.0)
    powered = ratio.sqrt_().sqrt_() if power == 0.25 else ratio.pow_(power)  # two roots are four times as fast
    return powered.mul_(-255.0).add_(255.0)


def image_to_mel(image: SpectrogramImage) -> torch.Tensor:
    """The inverse of `mel_to_image` up to its quantisation: float32, shape (n_mels, frames)."""
    ratio = (255.0 - np.arange(256, dtype=np.float32)) / 255.0
    values = ratio ** (1.0 / image.params.power_for_image) * np.float32(image.max_value)
    return torch.from_numpy(values[image.pixels[::-1]])


def combine_images(backing: SpectrogramImage, vocal: SpectrogramImage) -> SpectrogramImage:
    """The picture of two sounds together, from their pictures and levels.

    Their phases are not known and have nothing to do with each other, so their energies add:
    the magnitude is sqrt(backing**2 + vocal**2), the expected one.

    Raises:
        DataError: pictures of different sizes or spectrogram parameters.
    """
    if backing.params != vocal.params or backing.pixels.shape != vocal.pixels.shape:
        raise DataError("combine_images: the two pictures differ in size or parameters; make both the same way")
    together = image_to_mel(vocal)
    torch.hypot(image_to_mel(backing), together, out=together)  # in place, because an hour's mel spectrogram is 0.7 GB
    return mel_to_image(together, backing.params)


def waveform_to_image(waveform: torch.Tensor, params: SpectrogramParams = STANDARD) -> SpectrogramImage:
    """float (channels, samples) or (samples,) -> image of the mono mix, 1 + samples // hop_length frames wide."""
    mono = waveform.mean(dim=0) if waveform.dim() == 2 else waveform
    return mel_to_image(waveform_to_mel(mono, params), params)


def image_to_waveform(
    image: SpectrogramImage,
    iterations: int = 16,
    seed: int = 0,
    start: torch.Tensor | None = None,
    propagate: bool = True,
) -> torch.Tensor:
    """image -> float32 (samples,) at the image's sample rate, at the loudness that its maximum says; see `mel_to_waveform`."""
    return mel_to_waveform(image_to_mel(image), image.params, iterations, seed, start, propagate)


def save_image(path: str | Path, image: SpectrogramImage) -> None:
    """Write a PNG of three equal channels with the parameters in its EXIF tags, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(image_to_png(image))


def image_to_png(image: SpectrogramImage) -> bytes:
    """What `save_image` writes."""
    return encode_png(image.pixels, channels=3, exif=image.params.to_exif(image.max_value).tobytes())


def load_image(path: str | Path | BinaryIO) -> SpectrogramImage:
    """Read a spectrogram image of any origin, its maximum for sound in [-1, 1]; one that holds none gets Riffusion's constant.

    Raises:
        DataError: the file is missing, no picture, or of a stereo sound.
    """
    grey, exif = _open_grey(path)
    params, max_value = _read_params(path, exif, stereo=False)
    return SpectrogramImage(grey, UNKNOWN_MAXIMUM if max_value is None else max_value, params)


def load_channels(path: str | Path, stereo: bool | None = None) -> tuple[list[SpectrogramImage], bool]:
    """Read the spectrogram image of each channel of a sound: one, or the left's and the right's.

    Args:
        stereo: whether green and blue are two channels, as Riffusion writes them, or all colours one (default: as EXIF says).

    Returns:
        The images, and whether the file says their maximum; otherwise it is Riffusion's constant.

    Raises:
        DataError: the file is missing, no picture, not as high as its parameters say, or its tags make no sense.
    """
    with _opened(path) as picture:
        exif = picture.getexif()
        is_stereo = bool(exif.get(ExifTag.STEREO, False)) if stereo is None else stereo
        channels = list(np.array(picture.convert("RGB")).transpose(2, 0, 1)[1:] if is_stereo else [np.array(picture.convert("L"))])
    params, max_value = _read_params(path, exif, stereo=True)
    if channels[0].shape[0] != params.n_mels:
        raise DataError(
            f"{path}: {channels[0].shape[0]} pixels high, and a spectrogram of {params.n_mels} bands is {params.n_mels}"
        )
    known = UNKNOWN_MAXIMUM if max_value is None else max_value
    return [SpectrogramImage(np.ascontiguousarray(pixels), known, params) for pixels in channels], max_value is not None


def _read_params(path: str | Path | BinaryIO, exif: Image.Exif, stereo: bool) -> tuple[SpectrogramParams, float | None]:
    try:
        return SpectrogramParams.from_exif(exif, stereo)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def load_grey(path: str | Path | BinaryIO, background: int = SILENCE) -> np.ndarray:
    """Read any image as uint8, shape (height, width): edge maps, for example.

    Args:
        background: grey level behind transparent pixels. For edge maps it is 0: where nothing was drawn is no edge, whatever
            colour, often white, a program gives to its transparent pixels.

    Raises:
        DataError: the file is missing, no image, or of 32 bits, whose range nothing tells.
    """
    return _open_grey(path, background)[0]


def image_size(path: str | Path | BinaryIO) -> tuple[int, int]:
    """(height, width) of a picture, without reading it all."""
    with _opened(path) as picture:
        return picture.height, picture.width


def _open_grey(path: str | Path | BinaryIO, background: int = SILENCE) -> tuple[np.ndarray, Image.Exif]:
    with _opened(path) as picture:
        exif = picture.getexif()
        if picture.mode in ("I", "F"):
            raise DataError(f"{path}: an image of 32 bits; save it with 8")
        if picture.mode.startswith("I;16"):
            return np.round(np.array(picture) / 257).astype(np.uint8), exif  # Pillow's own conversion cuts off at 255
        if picture.has_transparency_data:
            behind = Image.new("RGBA", picture.size, (background, background, background, 255))
            return np.array(Image.alpha_composite(behind, picture.convert("RGBA")).convert("L")), exif
        return np.array(picture.convert("L")), exif


@contextmanager
def _opened(path: str | Path | BinaryIO) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as picture:
            yield picture
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such image") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be read as an image; make it again") from error
