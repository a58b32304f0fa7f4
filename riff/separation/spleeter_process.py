"""A process of Spleeter's own environment, from its start to its end, and the songs that go through it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from riff.errors import OptionError, RiffError

SETUP = "envs/make_processing_env.sh"

_WORKER_FILE = Path(__file__).with_name("spleeter_worker.py")
_STDERR_LINES = 3  # shown of a process that failed
_STDERR_BYTES = 8192
_FAREWELL_S = 5.0  # for a process that was told to end


class SpleeterProcess:
    """A process of the other environment; it ends with stop(), or when its stdin closes."""

    def __init__(self, python: str, configuration: str, model_dir: Path) -> None:
        self.songs = 0
        self._python = python
        self._expired = False
        self._last_lines: list[str] = []
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (stop closes it; a pipe that nobody empties would fill up)
        try:
            self._process = subprocess.Popen(
                [python, str(_WORKER_FILE), f"spleeter:{configuration}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={**os.environ, "MODEL_PATH": str(model_dir)},
                start_new_session=True,  # so that a wrapper around Python is killed together with it
            )
        except OSError as error:
            self._stderr.close()
            raise OptionError(f"{python}: cannot be run ({error.strerror}); make the environment with {SETUP}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Let the process end, and kill it if it does not."""
        with suppress(OSError):  # what was not yet written to a dead process
            self._stdin.close()
        try:
            self._process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
        self._stdout.close()
        if not self._stderr.closed:
            self._last_lines = _read_last_lines(self._stderr)
            self._stderr.close()

    def separate(self, song: np.ndarray, time_limit_s: float) -> dict[str, np.ndarray]:
        """float32 (2, samples) at 44.1 kHz -> its stems by name.

        Raises:
            RiffError: the process ended, or had to be ended; it cannot be used again.
        """
        timer = threading.Timer(time_limit_s, self._expire)
        timer.daemon = True
        timer.start()
        try:
            return self._exchange(song)
        except BaseException as error:
            self.stop()  # an exchange that broke off cannot be taken up again
            if isinstance(error, (OSError, EOFError, ValueError)):
                raise RiffError(f"spleeter-tf: {self._failure(time_limit_s)}") from error
            raise
        finally:
            timer.cancel()
            timer.join()  # or it could still kill the process during the next song

    def _exchange(self, song: np.ndarray) -> dict[str, np.ndarray]:
        samples = song.shape[1]
        self._stdin.write(json.dumps({"samples": samples}).encode() + b"\n")
        self._stdin.write(np.ascontiguousarray(song.T, np.float32).tobytes())
        self._stdin.flush()
        names = json.loads(self._stdout.readline())["stems"]
        return {name: self._read_stem(samples) for name in names}

    def _read_stem(self, samples: int) -> np.ndarray:
        size = samples * 2 * 4
        body = self._stdout.read(size)
        if len(body) < size:
            raise EOFError
        return np.frombuffer(body, np.float32).reshape(samples, 2).T

    def _expire(self) -> None:
        if self.is_alive():
            self._expired = True
            self._kill()

    def _kill(self) -> None:
        if not hasattr(os, "killpg"):  # Windows
            self._process.kill()
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _failure(self, time_limit_s: float) -> str:
        """What happened to the process, which has ended, in one line."""
        if self._expired:
            return f"no result within the {time_limit_s:g} s that a song may take; give a shorter song or allow more time"
        status = self._process.returncode
        how = f"status {status}" if status >= 0 else signal.Signals(-status).name
        said = " | ".join(self._last_lines) or "it said nothing, which points to memory; give a shorter song"
        return f"the process in {self._python} ended with {how}: {said}"


def _read_last_lines(file: IO[bytes]) -> list[str]:
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - _STDERR_BYTES))
    lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return [line for line in lines if line][-_STDERR_LINES:]
