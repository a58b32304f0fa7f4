"""How a command ends: a status, and one line for what a person can cause."""

from __future__ import annotations

import errno
import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from riff.cli.numbers import shown
from riff.errors import RiffError

EXIT_FAILURE = 2
EXIT_INTERRUPTED = 130
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run(main: Callable[[Sequence[str] | None], int | None]) -> NoReturn:
    """Run a script's `main` and end the process: 0, or 2 with one line on stderr for what a person can cause."""
    quieten_libraries()
    try:
        status = main(None) or 0
    except (RiffError, KeyboardInterrupt, OSError) as error:
        status = report(error, aloud=_is_first_on_machine())
    sys.exit(status)


def command(main: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int | None]:
    """Make a script's `main(argv)` a command: without flags it takes the process's own and ends the process as `run` does.

    With a list of flags it stays a function, which returns or raises.
    """

    @functools.wraps(main)
    def called(argv: Sequence[str] | None = None) -> int | None:
        return run(main) if argv is None else main(argv)

    return called


def report(error: BaseException, aloud: bool = True) -> int:
    """Say what ended a command in one line on stderr, and return the exit status; what is nobody's fault but the code's is raised.

    Args:
        aloud: False says nothing, because another process does.
    """
    line, status = f"error: {_own_text(error)}", EXIT_FAILURE
    if isinstance(error, KeyboardInterrupt):
        line, status = "interrupted", EXIT_INTERRUPTED
    elif isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    elif isinstance(error, OSError) and error.errno in OUT_OF_SPACE:
        line = f"error: {error.filename or 'the disk'}: {error.strerror}; make room and run the same command again"
    elif isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        line = f"error: {shown(str(error.filename))} is too long for the name of a file"
    elif not isinstance(error, RiffError):
        raise error
    if aloud:
        print(line, file=sys.stderr)
    return status


def _own_text(error: BaseException) -> str:
    """What an error says, in one line, without the traceback that torch puts before it where a worker process raised it."""
    text = str(error).rpartition(f"{type(error).__module__}.{type(error).__qualname__}: ")[2]
    return " ".join(text.split())


def _is_first_on_machine() -> bool:
    """Whether this is the first, or only, process that a launcher started on this machine for one run."""
    return os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0"


def quieten_libraries() -> None:
    """Keep the libraries' notices about themselves (missing torchvision, deprecations) off the user's terminal."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm, in a notebook without widgets
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
