"""The original Spleeter, which needs TensorFlow: one process in an environment of its own separates many songs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from riff.cli import ROOT
from riff.errors import ModelError, OptionError, RiffError
from riff.separation.spleeter_weights import find_weights
from riff.separation.stems import Stems
from riff.separation.stereo import StereoSeparator

SETUP = "envs/make_processing_env.sh"

_WORKER_FILE = Path(__file__).with_name("spleeter_worker.py")
_STDERR_LINES = 3  # shown of a process that failed
_STDERR_BYTES = 8192
_SHUTDOWN_S = 5.0  # from the end of stdin until the process is killed


class SpleeterTensorFlow(StereoSeparator):
    """Spleeter 2.4.2 on TensorFlow, as the reference for every other way of running it.

    Spleeter processes a song as a whole, so its memory grows with the song's length, by about 1.5 GB a minute. Above 11 kHz all
    stems are silent, and below it they sum to the song. Close it after the last song, or use it in a `with` block; a worker
    process ends by itself when its parent dies.
    """

    name, model_rate = "spleeter-tf", 44_100

    def __init__(
        self,
        num_stems: int = 2,
        model_dir: Path | None = None,
        python: str | Path | None = None,
        *,
        time_limit_s: float = 600.0,
        songs_per_worker: int = 50,
    ) -> None:
        """Find the environment and the model; the worker is started with the first song.

        Args:
            model_dir: the folder of 2stems/, 4stems/ or 5stems/ (see `riff.separation.spleeter_weights.find_weights`).
            python: the Python of Spleeter's environment. Default: $SPLEETER_PYTHON or `.venv-spleeter/bin/python`.
            time_limit_s: for a song, the start of a worker included.
            songs_per_worker: after so many songs the worker is replaced, because TensorFlow's memory grows.

        Raises:
            OptionError: there is no such Python.
            ModelError: there are no weights, or an incomplete checkpoint.
        """
        self._python = find_python(python)
        self._configuration = f"{num_stems}stems"
        folder = find_weights(num_stems, model_dir).absolute()
        if folder.name != self._configuration:
            raise ModelError(f"{folder}: Spleeter wants this folder to be called {self._configuration}; rename it")
        require_checkpoint(folder)
        self._model_dir = folder.parent
        self._time_limit_s = time_limit_s
        self._songs_per_worker = songs_per_worker
        self._process: SpleeterProcess | None = None

    def __enter__(self) -> SpleeterTensorFlow:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the worker; the next song starts another."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def separate(self, waveform: np.ndarray, sample_rate: int) -> Stems:
        """Separate float32 (channels, samples); see `riff.separation.separator.Separator`.

        Raises:
            RiffError: the worker failed or exceeded the time limit; the next song gets a new one.
        """
        if self._process is not None and (self._process.songs >= self._songs_per_worker or not self._process.is_alive()):
            self.close()
        if self._process is None:
            self._process = SpleeterProcess(self._python, self._configuration, self._model_dir)
        stems = super().separate(waveform, sample_rate)
        self._process.songs += 1
        return stems

    def separate_stereo(self, song: np.ndarray) -> dict[str, np.ndarray]:
        assert self._process is not None
        return self._process.separate(song, self._time_limit_s)


class SpleeterProcess:
    """A worker process in Spleeter's environment; it ends with stop(), or when its stdin closes.

    Attributes:
        songs: how many it has separated, counted by the caller.
    """

    def __init__(self, python: str, configuration: str, model_dir: Path) -> None:
        self.songs = 0
        self._python = python
        self._timed_out = False
        self._last_lines: list[str] = []
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (stop closes it; a pipe that nobody reads would fill up)
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
        with suppress(OSError):  # unwritten data of a dead process
            self._stdin.close()
        try:
            self._process.wait(_SHUTDOWN_S)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
        self._stdout.close()
        if not self._stderr.closed:
            self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - _STDERR_BYTES))
            lines = [line.strip() for line in self._stderr.read().decode(errors="replace").splitlines()]
            self._last_lines = [line for line in lines if line][-_STDERR_LINES:]
            self._stderr.close()

    def separate(self, song: np.ndarray, time_limit_s: float) -> dict[str, np.ndarray]:
        """float32 (2, samples) at 44.1 kHz -> its stems by name.

        Raises:
            RiffError: the process ended, or had to be ended; it cannot be used again.
        """
        timer = threading.Timer(time_limit_s, self._time_out)
        timer.daemon = True
        timer.start()
        try:
            return self._exchange(song)
        except BaseException as error:
            self.stop()  # an interrupted exchange cannot be resumed
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

    def _time_out(self) -> None:
        if self.is_alive():
            self._timed_out = True
            self._kill()

    def _kill(self) -> None:
        if not hasattr(os, "killpg"):  # Windows
            self._process.kill()
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _failure(self, time_limit_s: float) -> str:
        """Why the process ended, in one line."""
        if self._timed_out:
            return f"no result within the limit of {time_limit_s:g} s for a song; give a shorter song or allow more time"
        status = self._process.returncode
        how = f"status {status}" if status >= 0 else signal.Signals(-status).name
        reason = " | ".join(self._last_lines) or "it gave no reason, which points to memory; give a shorter song"
        return f"the process in {self._python} ended with {how}: {reason}"


def find_python(python: str | Path | None = None) -> str:
    """The Python of Spleeter's environment: the argument, $SPLEETER_PYTHON, or `.venv-spleeter/bin/python` of this project.

    Raises:
        OptionError: there is none, or it cannot be run.
    """
    chosen = str(python or os.environ.get("SPLEETER_PYTHON") or ROOT / ".venv-spleeter" / "bin" / "python")
    found = shutil.which(chosen)
    if found is None:
        raise OptionError(f"{chosen}: no Python with Spleeter; make its environment with {SETUP}, or name one in SPLEETER_PYTHON")
    return found


def require_checkpoint(folder: Path) -> None:
    """Refuse an incomplete checkpoint, for which Spleeter silently returns half the mix as every stem.

    Raises:
        ModelError: a file of the checkpoint is missing or empty.
    """
    files = [folder / "checkpoint"]
    with suppress(OSError, ValueError):
        named = re.search(r'^model_checkpoint_path: *"(.+)"', files[0].read_text(encoding="utf-8"), re.MULTILINE)
        prefix = folder / (named[1] if named else "model")
        files += [prefix.with_name(f"{prefix.name}{suffix}") for suffix in (".index", ".data-00000-of-00001")]
    for file in files:
        if not file.is_file() or file.stat().st_size == 0:
            raise ModelError(f"{folder}: {file.name} of Spleeter's model is missing or empty; remove the folder to get it anew")
