"""HTML pages from the templates beside this file, with style and script inlined, so that they open from disk.

Images and audio are linked by relative paths: a folder can be moved or zipped as a whole.
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
    """Render a template and write the page atomically; returns its path.

    Args:
        place: final path of the page's folder, if the folder is to be moved as a whole.
        values: variables of the template, which may also call `link(file)` and `image_size(file)`.

    Raises:
        DataError: a linked file is missing, or is not an image.
    """
    path = Path(path)
    page = render(template, link=partial(_link, folder=path.parent, place=place), image_size=image_size, **values)
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))  # lone surrogates in a prompt become question marks
    return path


def render(template: str, **values: Any) -> Markup:
    """Render a template; values are escaped unless they are `Markup`."""
    return Markup(_ENVIRONMENT.get_template(template).render(**values))


def macros(template: str) -> Any:
    """A template's macros, as functions that escape their arguments."""
    return _ENVIRONMENT.get_template(template).module


def _link(file: str | Path, folder: Path, place: Path | None) -> str:
    """A quoted URL relative to the page's folder, for a file outside it to the folder's final path."""
    if not Path(file).is_file():
        raise DataError(f"{file}: the page links to this file, which does not exist; write it first")
    start = folder if place is None or Path(file).is_relative_to(folder) else place
    return quote(os.fsencode(Path(os.path.relpath(file, start)).as_posix()))


def _figure(value: Cell) -> str:
    """A table cell as text: three decimals, and a dash for None or NaN."""
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
