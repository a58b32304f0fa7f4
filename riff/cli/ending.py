"""How a command ends: a status, and one line for what a person can cause."""

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
    """Run a script's `main` and end the process: 0, or 2 with one line on stderr for what a person can cause."""
    quieten_libraries()
    say_warnings_in_one_line()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is: names of files may hold what is no text
    with _interrupts() as seen:
        try:
            status = main(None) or 0
        except (Exception, KeyboardInterrupt) as error:
            interrupted = seen and not isinstance(error, Interrupted)
            status = report(KeyboardInterrupt() if interrupted else error, aloud=_is_first_on_machine())
    sys.exit(status)


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Yield a list of the interrupts (Ctrl-C) that come inside the block, each of which raises KeyboardInterrupt as ever.

    What is interrupted may raise something else: a library that is being imported turns it into ImportError or RuntimeError, which
    would then be read as a broken model.
    """
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # somebody else's, or ignored
        yield seen
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
    line, status = f"error: {_own_text(error)}", status_of(error)
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
    if aloud:
        print(line, file=sys.stderr)
    return status


def item_error(item: object, error: Exception) -> str:
    """What to say in one line of an item that fails in a batch, so that the others go on.

    An error that nobody foresaw is named with its place in the code.

    Raises:
        OSError: the disk is full, which ends the batch.
    """
    if isinstance(error, RiffError):
        return str(error)
    if isinstance(error, OSError) and error.errno in OUT_OF_SPACE:
        raise error
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if f"{os.sep}riff{os.sep}" in frame.filename]
    place = f" at {os.path.basename(places[-1].filename)}:{places[-1].lineno}" if places else ""
    return f"{item}: unexpected {type(error).__name__}{place}: {' '.join(str(error).split())}; take it out, and please report this"


def status_of(error: BaseException) -> int:
    """The exit status of a command that this error ended."""
    if isinstance(error, Interrupted):
        return 128 + error.signal
    return EXIT_INTERRUPTED if isinstance(error, KeyboardInterrupt) else EXIT_FAILURE


def _own_text(error: BaseException) -> str:
    """What an error says, in one line, without the traceback that torch puts before it where a worker process raised it."""
    text = str(error).rpartition(f"{type(error).__module__}.{type(error).__qualname__}: ")[2]
    return " ".join(text.split())


def _is_first_on_machine() -> bool:
    """Whether this is the first, or only, process that a launcher started on this machine for one run."""
    return os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0"


def say_warnings_in_one_line() -> None:
    """Print an `AudioWarning` as the scripts print theirs, and leave all other warnings as they are."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *more: Any, **named: Any) -> None:
        if issubclass(category, AudioWarning):
            warn(f"warning: {message}")
        else:
            others(message, category, *more, **named)

    warnings.showwarning = show
    warnings.filterwarnings("default", category=AudioWarning)


def quieten_libraries() -> None:
    """Keep the libraries' notices about themselves (missing torchvision, deprecations) off the user's terminal."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm, in a notebook without widgets
    warnings.filterwarnings("ignore", message="The `local_dir_use_symlinks` argument")  # which diffusers gives to the hub's library
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
