"""The end of a command: its exit status, and one line for an error that a user can cause."""

from __future__ import annotations

import errno
import functools
import io
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from riff.cli.numbers import shown
from riff.cli.progress import warn
from riff.errors import AudioWarning, Interrupted, RiffError
from riff.files import OUT_OF_SPACE

EXIT_FAILURE = 2
EXIT_INTERRUPTED = 130


def run(main: Callable[[Sequence[str] | None], int | None]) -> NoReturn:
    """Run a script's `main` and end the process: status 0, or 2 with one line on stderr for an error that a user can cause."""
    quieten_libraries()
    print_warnings_in_one_line()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # like stderr, since file names may not be valid text
    with _interrupts() as interrupts:
        try:
            status = main(None) or 0
        except (Exception, KeyboardInterrupt) as error:
            interrupted = interrupts and not isinstance(error, Interrupted)
            status = report(KeyboardInterrupt() if interrupted else error, output=_is_first_on_machine())
    sys.exit(status)


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Yield a list that records the interrupts (Ctrl-C) inside the block; each raises KeyboardInterrupt as usual.

    A library that is being imported turns KeyboardInterrupt into ImportError or RuntimeError, which would look like a broken model.
    """
    interrupts: list[int] = []

    def record(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # another handler, or ignored
        yield interrupts
        return
    signal.signal(signal.SIGINT, record)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def command(main: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int | None]:
    """Make a script's `main(argv)` a command: without arguments it parses the process's own and ends the process (`run`).

    With a list of arguments it stays a function that returns or raises.
    """

    @functools.wraps(main)
    def called(argv: Sequence[str] | None = None) -> int | None:
        return run(main) if argv is None else main(argv)

    return called


def report(error: BaseException, output: bool = True) -> int:
    """Print the error that ended a command as one line on stderr; errors of the code are raised again.

    Args:
        output: False where another process prints the same.

    Returns:
        The exit status.
    """
    line, status = f"error: {_one_line(error)}", status_of(error)
    if isinstance(error, KeyboardInterrupt):
        line = "interrupted"
    elif isinstance(error, Interrupted):
        line = str(error)
    elif isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    elif isinstance(error, OSError) and error.errno in OUT_OF_SPACE:
        line = f"error: {error.filename or 'the disk'}: {error.strerror}; make room and run the same command again"
    elif isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        line = f"error: {shown(str(error.filename))} is too long for the name of a file"
    elif not isinstance(error, RiffError):
        raise error
    if output:
        print(line, file=sys.stderr)
    return status


def item_error(item: object, error: Exception) -> str:
    """One line about an item of a batch that failed, while the batch goes on; an unexpected error with its place in the code.

    Raises:
        OSError: the disk is full, which ends the batch.
    """
    if isinstance(error, RiffError):
        return str(error)
    if isinstance(error, OSError) and error.errno in OUT_OF_SPACE:
        raise error
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if f"{os.sep}riff{os.sep}" in frame.filename]
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    return f"{item}: unexpected {type(error).__name__}{place}: {' '.join(str(error).split())}; take it out, and please report this"


def status_of(error: BaseException) -> int:
    """The exit status of a command that ended with this error."""
    if isinstance(error, Interrupted):
        return 128 + error.signal
    return EXIT_INTERRUPTED if isinstance(error, KeyboardInterrupt) else EXIT_FAILURE


def _one_line(error: BaseException) -> str:
    """An error's message in one line, without the traceback that torch puts before it where a worker process raised it."""
    text = str(error).rpartition(f"{type(error).__module__}.{type(error).__qualname__}: ")[2]
    return " ".join(text.split())


def _is_first_on_machine() -> bool:
    """Whether this is the first, or only, process that a launcher started on this machine for one run."""
    return os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0"


def print_warnings_in_one_line() -> None:
    """Print each `AudioWarning` as one line, and leave all other warnings as they are."""
    show_other = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *more: Any, **named: Any) -> None:
        if issubclass(category, AudioWarning):
            warn(f"warning: {message}")
        else:
            show_other(message, category, *more, **named)

    warnings.showwarning = show
    warnings.filterwarnings("default", category=AudioWarning)


def quieten_libraries() -> None:
    """Silence the libraries' notices (missing torchvision, deprecations)."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm, in a notebook without widgets
    warnings.filterwarnings("ignore", message="The `local_dir_use_symlinks` argument")  # passed by diffusers to huggingface_hub
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
