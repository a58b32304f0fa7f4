"""The original Spleeter, which needs TensorFlow and an environment of its own: one process there for many songs."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from riff.cli import ROOT
from riff.errors import ModelError, OptionError
from riff.separation.spleeter_process import SETUP, SpleeterProcess
from riff.separation.spleeter_weights import find_weights
from riff.separation.stems import Stems
from riff.separation.stereo import separate_in_stereo

SAMPLE_RATE = 44_100


class SpleeterTensorFlow:
    """Spleeter 2.4.2 on TensorFlow, as the reference for every other way of running it.

    Spleeter takes a song whole, so its memory grows with the song's length, by about 1.5 GB a minute. Close it after the
    last song, or use it in a `with` block; a worker whose parent has died ends by itself.
    """

    name = "spleeter-tf"

    def __init__(
        self,
        num_stems: int = 2,
        model_dir: Path | None = None,
        python: str | Path | None = None,
        *,
        time_limit_s: float = 600.0,
        songs_per_worker: int = 50,
    ) -> None:
        """Find the environment and the model; nothing is started before the first song.

        Args:
            model_dir: the folder of 2stems/, 4stems/ or 5stems/ (see `riff.separation.spleeter_weights.find_weights`).
            python: the Python of Spleeter's environment. Default: $SPLEETER_PYTHON or `.venv-spleeter/bin/python`.
            time_limit_s: for a song, the start of a worker included.
            songs_per_worker: a new worker follows after so many, because TensorFlow's memory grows.

        Raises:
            OptionError: there is no such Python.
            ModelError: there are no weights, or not a whole checkpoint.
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
        """End the worker; the next song would start another."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def separate(self, waveform: np.ndarray, sample_rate: int) -> Stems:
        """Split float32 (channels, samples); see `riff.separation.separator.Separator`.

        Above 11 kHz all parts are silent, and below it they sum to the song.

        Raises:
            RiffError: the worker failed or ran into the time limit; the next song gets a new one.
        """
        process = self._ready_process()
        names: list[str] = []

        def separate_stereo(song: np.ndarray) -> np.ndarray:
            stems = process.separate(song, self._time_limit_s)
            names[:] = stems
            return np.stack(list(stems.values()))

        parts = separate_in_stereo(separate_stereo, waveform, sample_rate, SAMPLE_RATE)
        process.songs += 1
        return Stems(dict(zip(names, parts, strict=True)))

    def _ready_process(self) -> SpleeterProcess:
        if self._process is not None and (self._process.songs >= self._songs_per_worker or not self._process.is_alive()):
            self.close()
        if self._process is None:
            self._process = SpleeterProcess(self._python, self._configuration, self._model_dir)
        return self._process


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
    """Refuse a folder from which Spleeter would load nothing: without a word it gives half the mix as every stem then.

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
