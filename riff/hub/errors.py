"""What goes wrong on the way to the hub: tried again where that may help, and else said in one line with the way out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from riff import cli
from riff.errors import OptionError, RiffError
from riff.hub.names import first_line

WAITS = (1.0, 4.0)  # seconds before a further attempt; the library itself is more patient with each large file
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that may be others a moment later
Answer = TypeVar("Answer")


def retry(attempt: Callable[[], Answer]) -> Answer:
    """Do something with the hub, and again after a while where it failed in passing."""
    for number, wait in enumerate(WAITS, start=1):
        try:
            return attempt()
        except HTTPError as error:
            if not _may_pass(error):
                raise
            cli.warn(f"{_what_happened(error)}; trying again in {wait:g} s ({number} of {len(WAITS)})")
            time.sleep(wait)
    return attempt()


@contextmanager
def translate_errors(repo_id: str, endpoint: str) -> Iterator[None]:
    """Turn what the library raises inside the block into one line.

    Raises:
        OptionError: the token is refused. RiffError: anything else.
    """
    try:
        yield
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise _explain(error, repo_id, endpoint) from error


def _explain(error: Exception, repo_id: str, endpoint: str) -> RiffError:
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the library wraps what went wrong with a large file
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 401:
            way_out = "make a new one, then `hf auth login` or set HF_TOKEN, and the same command goes on"
            return OptionError(f"{endpoint} does not accept the token (401); {way_out}")
        if status == 403:
            return OptionError(f"{repo_id}: the token may not write there (403); use one with write access, or a name of your own")
        return RiffError(f"{repo_id}: {endpoint} {_what_happened(error)}; run the same command again to go on")
    if isinstance(error, OfflineModeIsEnabled):
        return RiffError("HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it")
    if isinstance(error, HTTPError):
        return RiffError(f"{endpoint} cannot be reached ({first_line(error)}); when it can, the same command goes on")
    if isinstance(error, OSError) and error.errno in cli.OUT_OF_SPACE:
        return RiffError(f"{error.filename or 'the disk'}: {error.strerror}; make room, or set HF_HOME to a place that has some")
    return RiffError(f"{repo_id}: the upload stopped ({first_line(error)}); run the same command again to go on")


def _may_pass(error: HTTPError) -> bool:
    return not isinstance(error, HfHubHTTPError) or error.response.status_code in PASSING


def _what_happened(error: HTTPError) -> str:
    if isinstance(error, HfHubHTTPError):
        return f"answered {error.response.status_code} ({error.server_message or first_line(error)})"
    return f"the connection failed ({first_line(error)})"
