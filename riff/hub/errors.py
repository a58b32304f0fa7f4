"""Errors of the Hugging Face hub: retried if they may pass, and otherwise translated into one line with the way out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from riff import cli
from riff.downloads import one_line
from riff.errors import OptionError, RiffError

WAITS = (1.0, 4.0)  # seconds before each further attempt; for each large file the library has retries of its own
RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)
Answer = TypeVar("Answer")


def retry(attempt: Callable[[], Answer]) -> Answer:
    """Call a function that sends requests to the hub, and again after each of `WAITS` while it fails for a passing reason."""
    for number, wait in enumerate(WAITS, start=1):
        try:
            return attempt()
        except HTTPError as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code not in RETRIED_STATUS:
                raise
            what = _answer(error) if isinstance(error, HfHubHTTPError) else f"the connection failed ({one_line(error)})"
            cli.warn(f"{what}; trying again in {wait:g} s ({number} of {len(WAITS)})")
            time.sleep(wait)
    return attempt()


@contextmanager
def translate_errors(repo_id: str, endpoint: str) -> Iterator[None]:
    """Translate the library's errors inside the block.

    Raises:
        OptionError: the token is refused. RiffError: anything else.
    """
    try:
        yield
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise _translate(error, repo_id, endpoint) from error


def _translate(error: Exception, repo_id: str, endpoint: str) -> RiffError:
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the library wraps the errors of large files
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 401:
            way_out = "make a new one, then `hf auth login` or set HF_TOKEN, and the same command goes on"
            return OptionError(f"{endpoint} does not accept the token (401); {way_out}")
        if status == 403:
            return OptionError(f"{repo_id}: the token may not write there (403); use one with write access, or a name of your own")
        return RiffError(f"{repo_id}: {endpoint} {_answer(error)}; run the same command again to go on")
    if isinstance(error, OfflineModeIsEnabled):
        return RiffError("HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it")
    if isinstance(error, HTTPError):
        return RiffError(f"{endpoint} cannot be reached ({one_line(error)}); when it can, the same command goes on")
    if isinstance(error, OSError) and error.errno in cli.OUT_OF_SPACE:
        return RiffError(f"{error.filename or 'the disk'}: {error.strerror}; make room, or set HF_HOME to a place that has some")
    return RiffError(f"{repo_id}: the upload stopped ({one_line(error)}); run the same command again to go on")


def _answer(error: HfHubHTTPError) -> str:
    return f"answered {error.response.status_code} ({one_line(error.server_message or error)})"
