"""Flags in error messages: library functions do not know them, the scripts do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from riff.errors import RiffError


@contextmanager
def named_flag(flag: str) -> Iterator[None]:
    """Begin the message of an error that the block raises with a flag.

    Args:
        flag: with the separator, `--audio_dir ` for a message that begins with the flag's value, `--` for one that begins with
            the name of an option.
    """
    try:
        yield
    except RiffError as error:
        error.args = (f"{flag}{error}", *error.args[1:])
        raise
