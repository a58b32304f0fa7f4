"""What is to be known of the pictures of one pair: whether they can be read, and what they hold."""

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
COLOUR = 8  # grey levels between the channels: more is no spectrogram, less is what a JPEG makes of grey
MAXIMUM_TOLERANCE = 1e-3  # between the record and the picture's EXIF


class Flaw(NamedTuple):
    """What is wrong with a file: its kind (a key of `riff.inspection.findings.KINDS`), the file, the reason, and how bad it is."""

    kind: str
    file: str
    reason: str
    bad: float = 0.0


@dataclass(frozen=True)
class PairTask:
    """What to look at in a pair.

    Attributes:
        pictures: paths in the folder, by their keys. maxima: of the records, by the same keys, where they say any.
        backing, result, edges: keys of pictures, or "" for none. thresholds: of the edges, None where they are not known.
        alone: whether the result is the vocal alone (False: backing and vocal; None: neither, or not known).
        heard: whether the clip's sound is to be compared with others'. silent: whether the result may be silent.
    """

    number: int
    folder: Path
    pictures: Mapping[str, str]
    maxima: Mapping[str, float]
    backing: str
    result: str
    edges: str
    thresholds: tuple[int, int] | None
    alone: bool | None
    heard: bool
    silent: bool


@dataclass
class PairLook:
    """What a pair's pictures hold; None is not known.

    Attributes:
        sizes: (height, width) of each picture that can be read.
        level_db: of the result, against a sine at full scale. vocal_db: vocal over backing.
        edge_share: of pixels that are edges. edges_checked: whether they were compared with those of the backing.
        black_share: of the result's pixels that are black, the most that a picture holds.
        silent: whether there is nothing in the result. without_maximum: files that do not say how loud they are.
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


class Picture(NamedTuple):
    """pixels: uint8, shape (height, width). max_value: None where the picture does not say it."""

    pixels: np.ndarray
    params: SpectrogramParams
    max_value: float | None


def look_at_pair(task: PairTask) -> PairLook:
    """Read a pair's pictures and measure them; whatever is wrong with them is among its flaws."""
    look = PairLook(task.number)
    pictures: dict[str, Picture] = {}
    for key, file in task.pictures.items():
        try:
            pictures[key] = read_picture(task.folder / file)
            look.sizes[key] = pictures[key].pixels.shape
        except FileNotFoundError:
            look.flaws.append(Flaw("missing", file, ""))
        except DataError as error:
            look.flaws.append(Flaw("unreadable", file, str(error)))
    spectrograms = {key: pictures[key] for key in (task.backing, task.result) if key in pictures}
    energies = {key: _energy(task, key, picture, look) for key, picture in spectrograms.items()}
    if task.result in pictures:
        _look_at_result(task, pictures[task.result], energies[task.result], look)
    if task.backing in energies and task.result in energies:
        look.vocal_db = vocal_level(energies[task.backing], energies[task.result], task.alone)
    if task.edges in pictures:
        _look_at_edges(task, pictures, look)
    if task.heard and spectrograms:
        look.bands = band_image(next(iter(spectrograms.values())).pixels)
    return look


def read_picture(path: Path) -> Picture:
    """Read a picture to its last pixel.

    Raises:
        FileNotFoundError: there is none.
        DataError: it is broken, or no grey picture; says why, without the file's name.
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
        if int(np.ptp(values[::8, ::8].astype(np.int16), axis=2).max()) > COLOUR:
            raise DataError("holds colours; a spectrogram has three equal channels")
        values = values[:, :, 0]
    return Picture(values, params, max_value)


def vocal_level(backing: float | None, result: float | None, alone: bool | None) -> float | None:
    """dB of the vocal over the backing, from the energies of both pictures; -inf for no vocal, None where it cannot be said.

    The energy of a mix is that of its parts together, but for what chance makes of their phases: that leaves 0.2 dB of error
    (standard deviation) at levels about 0 dB, and a few dB at -20.

    Args:
        alone: whether the result is the vocal alone, or the mix of both; None is neither.
    """
    if backing is None or result is None or alone is None or backing == 0:
        return None
    vocal = result if alone else result - backing
    return float(10 * np.log10(vocal / backing)) if vocal > 0 else float("-inf")


def image_energy(pixels: np.ndarray, max_value: float) -> float:
    """What a picture's sound has of energy in a frame: its mel values squared, each band by its width, against a sine's.

    A band sums the magnitudes of as many bins as it is wide, so dividing its square by its width leaves the energy of a
    noise as it is.

    Args:
        pixels: uint8, shape (512, frames), of the standard parameters.

    Returns:
        1 for a sine at full scale.
    """
    return _weighted(pixels, max_value) / _sine_energy()


@cache
def _energy_table() -> tuple[np.ndarray, np.ndarray]:
    """Squared mel value of each grey level, float32 (256,), and what the square in each row of a picture counts, (512,)."""
    table = ((255.0 - np.arange(256)) / 255.0) ** (2.0 / STANDARD.power_for_image)
    frequencies = np.linspace(STANDARD.min_frequency, STANDARD.max_frequency, 4 * STANDARD.n_mels)
    bands = band_of(frequencies)
    widths = np.interp(np.arange(STANDARD.n_mels), bands, np.gradient(frequencies, bands))  # Hz
    return table.astype(np.float32), 1.0 / widths[::-1]


@cache
def _sine_energy() -> float:
    """Of the picture of a sine at full scale, 1 kHz, against the weights of `_energy_table`."""
    time = torch.arange(STANDARD.clip_samples(SINE_FRAMES)) / STANDARD.sample_rate
    picture = waveform_to_image(torch.sin(2 * torch.pi * 1_000.0 * time))
    return _weighted(picture.pixels, picture.max_value)


def _weighted(pixels: np.ndarray, max_value: float) -> float:
    table, weights = _energy_table()
    rows = table[pixels].sum(axis=1, dtype=np.float64)
    return float(rows @ weights) * max_value**2 / pixels.shape[1]


def _energy(task: PairTask, key: str, picture: Picture, look: PairLook) -> float | None:
    """The energy of a spectrogram by its maximum, which the picture says, or else the record; None where neither does."""
    said, file = task.maxima.get(key), task.pictures[key]
    said = None if said is None else unit_maximum(said)
    if picture.max_value is None:
        look.without_maximum.append(file)
    elif said is not None and abs(picture.max_value - said) > MAXIMUM_TOLERANCE * max(said, picture.max_value):
        look.flaws.append(Flaw("maximum", file, f"holds the maximum {picture.max_value:.6g}, and its record says {said:.6g}"))
    max_value = said if picture.max_value is None else picture.max_value
    if picture.params != STANDARD:
        look.flaws.append(Flaw("params", file, _first_difference(picture.params)))
        return None
    if max_value is None or picture.pixels.shape[0] != STANDARD.n_mels:
        return None
    return image_energy(picture.pixels, max_value)


def _first_difference(params: SpectrogramParams) -> str:
    name, value, standard = next(
        (name, value, standard) for name, value in asdict(params).items() if value != (standard := getattr(STANDARD, name))
    )
    return f"{name.replace('_', ' ')} {value}, not {standard}"


def _look_at_result(task: PairTask, picture: Picture, energy: float | None, look: PairLook) -> None:
    look.black_share = float((picture.pixels == 0).mean())
    if picture.params == STANDARD:
        look.seconds = STANDARD.clip_samples(picture.pixels.shape[1]) / STANDARD.sample_rate
    look.silent = not task.silent and (energy == 0 or int(picture.pixels.min()) >= SILENCE - 1)
    if energy:
        look.level_db = float(10 * np.log10(energy))


def _look_at_edges(task: PairTask, pictures: Mapping[str, Picture], look: PairLook) -> None:
    edges, file = pictures[task.edges].pixels, task.pictures[task.edges]
    levels = np.flatnonzero(np.bincount(edges.ravel(), minlength=256))
    look.edge_share = float((edges >= 128).mean())
    if not np.isin(levels, (0, 255)).all():
        look.flaws.append(
            Flaw("grey_edges", file, f"holds {len(levels)} grey levels; an edge map is black and white, a JPEG is not")
        )
        return
    backing = pictures.get(task.backing)
    if backing is None or task.thresholds is None or backing.pixels.shape != edges.shape:
        return
    look.edges_checked = True
    differing = int((canny_edges(backing.pixels, *task.thresholds) != edges).sum())
    if differing:
        look.flaws.append(
            Flaw("other_edges", file, f"{differing:,} pixels are not those of {task.pictures[task.backing]}", differing)
        )
