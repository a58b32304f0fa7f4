"""Flags in error messages: library functions do not know them, the scripts do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from riff.errors import DataError, ExistsError, ModelError, OptionError, RiffError

REPLACE = "; use --overwrite to replace it, or choose another folder"


@contextmanager
def named_flag(flag: str, error_type: type[RiffError] = RiffError, remedy: str = "") -> Iterator[None]:
    """Begin the message of an error that the block, or the decorated function, raises with a flag.

    Args:
        flag: with the separator: `--audio_dir ` for a message that begins with the flag's value, `--` for a `SettingError`.
        remedy: ends the message, where it takes a flag.
    """
    try:
        yield
    except error_type as error:
        error.args = (f"{flag}{error}{remedy}", *error.args[1:])
        raise


@contextmanager
def named_output(flag: str = "--output ") -> Iterator[None]:
    """`named_flag` of a folder for results, and the way out where it holds earlier ones."""
    with named_flag(flag), named_flag("", ExistsError, REPLACE):
        yield


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
