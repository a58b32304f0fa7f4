"""Names of flags for errors of library functions, which know their parameters alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from riff.errors import DataError, ModelError, OptionError


@contextmanager
def naming(**flags: str) -> Iterator[None]:
    """Put a flag in place of the parameter that an error of the block begins with: `devices 4: ...` becomes `--devices 4: ...`.

    Args:
        flags: by the names of the parameters.
    """
    try:
        yield
    except (DataError, ModelError, OptionError) as error:
        parameter, separator, text = str(error).partition(" ")
        if parameter.rstrip(":") not in flags:
            raise
        colon = ":" if parameter.endswith(":") else ""
        raise type(error)(f"{flags[parameter.rstrip(':')]}{colon}{separator}{text}") from error
