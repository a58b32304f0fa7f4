"""Measurements of the images of one pair, and what is wrong with them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from riff.errors import DataError
from riff.inspection.duplicates import band_image
from riff.spectrogram.edges import canny_edges
from riff.spectrogram.image import SILENCE, waveform_to_image
from riff.spectrogram.mel import band_of
from riff.spectrogram.params import STANDARD, SpectrogramParams, unit_maximum

MODES = ("L", "RGB")
SINE_FRAMES = 101  # one second
COLOUR_TOLERANCE = 8  # grey levels between the channels, which JPEG compression of a grey image reaches
MAXIMUM_TOLERANCE = 1e-3  # relative, between the record and the image's EXIF


class Flaw(NamedTuple):
    """What is wrong with an image file; problem: a key of `riff.inspection.findings.PROBLEMS`; severity as in `Item`."""

    problem: str
    file: str
    reason: str
    severity: float = 0.0


@dataclass(frozen=True)
class PairTask:
    """A pair to inspect.

    Attributes:
        images: paths in the folder, by their keys. maxima: those that the record holds, by the same keys.
        backing, result, edges: keys of images, or "" for none. thresholds: of the edges, None where unknown.
        alone: whether the result is the vocal alone (False: backing and vocal; None: neither, or unknown).
        fingerprinted: whether to compute `bands`. silent: whether the result may be silent.
    """

    number: int
    folder: Path
    images: Mapping[str, str]
    maxima: Mapping[str, float]
    backing: str
    result: str
    edges: str
    thresholds: tuple[int, int] | None
    alone: bool | None
    fingerprinted: bool
    silent: bool


@dataclass
class PairInspection:
    """Measurements of a pair; None is unknown.

    Attributes:
        sizes: (height, width) of each image that can be read.
        level_db: of the result, relative to a full-scale sine. vocal_db: vocal over backing.
        edge_share: of pixels that are edges. edges_checked: whether they were compared with those of the backing.
        black_share: of the result's pixels that are black, the largest value of an image.
        silent: whether the result is silent and should not be. without_maximum: files without a maximum in EXIF.
        bands: of the backing, or of the result where there is none (`band_image`). seconds: of the result.
    """

    number: int
    flaws: list[Flaw] = field(default_factory=list)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    level_db: float | None = None
    vocal_db: float | None = None
    edge_share: float | None = None
    edges_checked: bool = False
    black_share: float | None = None
    silent: bool = False
    without_maximum: list[str] = field(default_factory=list)
    bands: np.ndarray | None = None
    seconds: float | None = None


class StoredImage(NamedTuple):
    """pixels: uint8, shape (height, width). max_value: None where EXIF does not hold it."""

    pixels: np.ndarray
    params: SpectrogramParams
    max_value: float | None


def inspect_pair(task: PairTask) -> PairInspection:
    """Read a pair's images and measure them."""
    pair = PairInspection(task.number)
    images: dict[str, StoredImage] = {}
    for key, file in task.images.items():
        try:
            images[key] = read_image(task.folder / file)
            pair.sizes[key] = images[key].pixels.shape
        except FileNotFoundError:
            pair.flaws.append(Flaw("missing", file, ""))
        except DataError as error:
            pair.flaws.append(Flaw("unreadable", file, str(error)))
    spectrograms = {key: images[key] for key in (task.backing, task.result) if key in images}
    energies = {key: _energy(task, key, image, pair) for key, image in spectrograms.items()}
    if task.result in images:
        _inspect_result(task, images[task.result], energies[task.result], pair)
    if task.backing in energies and task.result in energies:
        pair.vocal_db = vocal_level(energies[task.backing], energies[task.result], task.alone)
    if task.edges in images:
        _inspect_edges(task, images, pair)
    if task.fingerprinted and spectrograms:
        pair.bands = band_image(next(iter(spectrograms.values())).pixels)
    return pair


def read_image(path: Path) -> StoredImage:
    """Decode an image completely.

    Raises:
        FileNotFoundError: there is none.
        DataError: it is broken, or not grey; the message does not name the file.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            if opened.mode not in MODES:
                raise DataError(f"has the mode {opened.mode}, not {' or '.join(MODES)}")
            values = np.asarray(opened)
            params, max_value = SpectrogramParams.from_exif(opened.getexif())
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, TypeError, ArithmeticError, struct.error, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).replace(str(path), "it").split())[:120]
        raise DataError(reason or type(error).__name__) from error
    if values.ndim == 3:
        if int(np.ptp(values[::8, ::8].astype(np.int16), axis=2).max()) > COLOUR_TOLERANCE:
            raise DataError("holds colours; a spectrogram has three equal channels")
        values = values[:, :, 0]
    return StoredImage(values, params, max_value)


def vocal_level(backing: float | None, result: float | None, alone: bool | None) -> float | None:
    """The vocal over the backing in dB, from the energies of both images; -inf for no vocal, None where it is unknown.

    The energy of a mix is taken as the sum of its parts' energies. Their random phases cause an error of 0.2 dB (standard
    deviation) at levels about 0 dB, and of a few dB at -20.

    Args:
        alone: whether the result is the vocal alone, or the mix of both; None is neither.
    """
    if backing is None or result is None or alone is None or backing == 0:
        return None
    vocal = result if alone else result - backing
    return float(10 * np.log10(vocal / backing)) if vocal > 0 else float("-inf")


def image_energy(pixels: np.ndarray, max_value: float) -> float:
    """Energy per frame of an image's sound, relative to a full-scale sine: squared mel values, each over its band's width.

    A band sums the magnitudes of as many bins as it is wide, so the division makes the energy of a noise independent of it.

    Args:
        pixels: uint8, shape (512, frames), of the standard parameters.

    Returns:
        1 for a sine at full scale.
    """
    return _weighted(pixels, max_value) / _sine_energy()


@cache
def _energy_table() -> tuple[np.ndarray, np.ndarray]:
    """The squared mel value of each grey level, float32 (256,), and the weight of each row of an image, (512,)."""
    table = ((255.0 - np.arange(256)) / 255.0) ** (2.0 / STANDARD.power_for_image)
    frequencies = np.linspace(STANDARD.min_frequency, STANDARD.max_frequency, 4 * STANDARD.n_mels)
    bands = band_of(frequencies)
    widths = np.interp(np.arange(STANDARD.n_mels), bands, np.gradient(frequencies, bands))  # Hz
    return table.astype(np.float32), 1.0 / widths[::-1]


@cache
def _sine_energy() -> float:
    """Of the image of a 1 kHz sine at full scale, with the weights of `_energy_table`."""
    time = torch.arange(STANDARD.clip_samples(SINE_FRAMES)) / STANDARD.sample_rate
    image = waveform_to_image(torch.sin(2 * torch.pi * 1_000.0 * time))
    return _weighted(image.pixels, image.max_value)


def _weighted(pixels: np.ndarray, max_value: float) -> float:
    table, weights = _energy_table()
    rows = table[pixels].sum(axis=1, dtype=np.float64)
    return float(rows @ weights) * max_value**2 / pixels.shape[1]


def _energy(task: PairTask, key: str, image: StoredImage, pair: PairInspection) -> float | None:
    """The energy of a spectrogram by its maximum in EXIF, or else in the record; None without either."""
    recorded, file = task.maxima.get(key), task.images[key]
    recorded = None if recorded is None else unit_maximum(recorded)
    if image.max_value is None:
        pair.without_maximum.append(file)
    elif recorded is not None and abs(image.max_value - recorded) > MAXIMUM_TOLERANCE * max(recorded, image.max_value):
        pair.flaws.append(Flaw("maximum", file, f"its maximum is {image.max_value:.6g}, and {recorded:.6g} in its record"))
    max_value = recorded if image.max_value is None else image.max_value
    if image.params != STANDARD:
        pair.flaws.append(Flaw("params", file, _first_difference(image.params)))
        return None
    if max_value is None or image.pixels.shape[0] != STANDARD.n_mels:
        return None
    return image_energy(image.pixels, max_value)


def _first_difference(params: SpectrogramParams) -> str:
    name, value, standard = next(
        (name, value, standard) for name, value in asdict(params).items() if value != (standard := getattr(STANDARD, name))
    )
    return f"{name.replace('_', ' ')} {value}, not {standard}"


def _inspect_result(task: PairTask, image: StoredImage, energy: float | None, pair: PairInspection) -> None:
    pair.black_share = float((image.pixels == 0).mean())
    if image.params == STANDARD:
        pair.seconds = STANDARD.clip_samples(image.pixels.shape[1]) / STANDARD.sample_rate
    pair.silent = not task.silent and (energy == 0 or int(image.pixels.min()) >= SILENCE - 1)
    if energy:
        pair.level_db = float(10 * np.log10(energy))


def _inspect_edges(task: PairTask, images: Mapping[str, StoredImage], pair: PairInspection) -> None:
    edges, file = images[task.edges].pixels, task.images[task.edges]
    levels = np.flatnonzero(np.bincount(edges.ravel(), minlength=256))
    pair.edge_share = float((edges >= 128).mean())
    if not np.isin(levels, (0, 255)).all():
        reason = f"holds {len(levels)} grey levels; an edge map is black and white, a JPEG is not"
        pair.flaws.append(Flaw("grey_edges", file, reason))
        return
    backing = images.get(task.backing)
    if backing is None or task.thresholds is None or backing.pixels.shape != edges.shape:
        return
    pair.edges_checked = True
    differing = int((canny_edges(backing.pixels, *task.thresholds) != edges).sum())
    if differing:
        reason = f"{differing:,} pixels are not those of {task.images[task.backing]}"
        pair.flaws.append(Flaw("other_edges", file, reason, differing))
