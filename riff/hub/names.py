"""Repository ids of the Hugging Face hub, and its access token."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from riff.downloads import one_line
from riff.errors import OptionError

MINI = ("mini", "riffusion-mini")


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
        raise OptionError("no token for the hub; set HF_TOKEN, run `hf auth login`, or give --token")
    return token.strip()
