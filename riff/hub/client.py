"""The Hugging Face hub: repository ids, the access token, and errors, which are retried or translated into one line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from huggingface_hub import get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from riff import cli
from riff.downloads import one_line
from riff.errors import OptionError, RiffError

WAITS = (1.0, 4.0)  # seconds before each further attempt; for each large file the library has retries of its own
RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)
MINI = ("mini", "riffusion-mini", "riff-cnet-mini", "riff-pix2pix-mini", "riff-pix2pix-mini-4-steps")
Response = TypeVar("Response")


def check_repo_id(repo_id: str) -> None:
    """Raise an OptionError if this is no valid repository id."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise OptionError(f"{repo_id}: not a repository name, write it as USER/NAME ({one_line(error)})") from error


def is_on_hub(base: str) -> bool:
    """Whether this is the id of a model on the hub, and no local path."""
    try:
        check_repo_id(base)
    except OptionError:
        return False
    return "/" in base and not Path(base).exists() and Path(base).name not in MINI


def find_token(token: str | None = None) -> str:
    """The given token, else that of `HF_TOKEN` or `hf auth login`.

    Raises:
        OptionError: there is none.
    """
    token = token or get_token()
    if not token:
        raise OptionError("no token for the hub; set HF_TOKEN, or run `hf auth login`")
    return token.strip()


def retry(attempt: Callable[[], Response]) -> Response:
    """Call a function that sends requests to the hub, and again after each of `WAITS` while it fails for a passing reason."""
    for number, wait in enumerate(WAITS, start=1):
        try:
            return attempt()
        except HTTPError as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code not in RETRIED_STATUS:
                raise
            what = _status_text(error) if isinstance(error, HfHubHTTPError) else f"the connection failed ({one_line(error)})"
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
            way_out = "make a new one, then `hf auth login` or set HF_TOKEN, and the same command continues"
            return OptionError(f"{endpoint} does not accept the token (401); {way_out}")
        if status == 403:
            return OptionError(f"{repo_id}: the token may not write there (403); use one with write access, or a name of your own")
        return RiffError(f"{repo_id}: {endpoint} {_status_text(error)}; run the same command again to continue")
    if isinstance(error, OfflineModeIsEnabled):
        return RiffError("HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it")
    if isinstance(error, HTTPError):
        return RiffError(f"{endpoint} cannot be reached ({one_line(error)}); when it can, the same command continues")
    if isinstance(error, OSError) and error.errno in cli.OUT_OF_SPACE:
        return RiffError(f"{error.filename or 'the disk'}: {error.strerror}; make room, or set HF_HOME to a folder on another disk")
    return RiffError(f"{repo_id}: the upload stopped ({one_line(error)}); run the same command again to continue")


def _status_text(error: HfHubHTTPError) -> str:
    return f"answered {error.response.status_code} ({one_line(error.server_message or error)})"
