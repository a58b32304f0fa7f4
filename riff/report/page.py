"""Pages from the templates beside this file: one HTML file each, its style and script inside, so that it opens from disk.

Images and sounds stay files of their own, linked relative to the page: a folder can be moved or zipped as a whole.
"""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from riff.errors import DataError
from riff.files import write_text
from riff.spectrogram.image import image_size

Cell = str | int | float | np.integer | np.floating | None


def write_page(path: str | Path, template: str, place: Path | None = None, **values: Any) -> Path:
    """Render a template and write the page, whole or not at all; returns its path.

    Args:
        place: the folder that the page's own folder will be moved to as a whole, if it will be.
        values: of the template, which may also call `link(file)` and `image_size(file)`.

    Raises:
        DataError: an image or sound that the page would link to is not there, or is not an image.
    """
    path = Path(path)
    page = render(template, link=partial(_link, folder=path.parent, place=place), image_size=image_size, **values)
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))  # half a character in a prompt becomes a question mark
    return path


def render(template: str, **values: Any) -> Markup:
    """A template with its values, each of which is escaped unless it is markup already."""
    return Markup(_ENVIRONMENT.get_template(template).render(**values))


def macros(template: str) -> Any:
    """A template's macros, as functions that escape what they are given."""
    return _ENVIRONMENT.get_template(template).module


def _link(file: str | Path, folder: Path, place: Path | None) -> str:
    """The file as a quoted URL relative to the page's folder, or, of a file outside, to the place that this is moved to."""
    if not Path(file).is_file():
        raise DataError(f"{file}: the page would link to this file, and it is not there; write it first")
    start = folder if place is None or Path(file).is_relative_to(folder) else place
    return quote(os.fsencode(Path(os.path.relpath(file, start)).as_posix()))


def _figure(value: Cell) -> str:
    """A table's cell as text: three decimals, and a dash for None or NaN."""
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return "–"
    if isinstance(value, (int, np.integer)) or math.isinf(value):
        return f"{value:,}".replace("inf", "∞").replace("-", "−")
    value = float(value)
    return (f"{value:,.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.2e}").replace("-", "−")


_ENVIRONMENT = Environment(
    loader=PackageLoader("riff.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_ENVIRONMENT.filters["figure"] = _figure
