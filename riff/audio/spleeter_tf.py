"""The original Spleeter, which needs TensorFlow and an environment of its own: one process there for many songs."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from riff.audio.io import resample, to_channels
from riff.audio.spleeter_process import SETUP, SpleeterProcess
from riff.cli import ROOT
from riff.errors import ModelError, OptionError

SAMPLE_RATE = 44_100
CONFIGURATIONS = ("2stems", "4stems", "5stems", "2stems-16kHz", "4stems-16kHz", "5stems-16kHz")
RELEASE = "https://github.com/deezer/spleeter/releases/download/v1.4.0"


class SpleeterTensorFlow:
    """Spleeter 2.4.2 on TensorFlow, as the reference for every other way of running it.

    Spleeter takes a song whole, so its memory grows with the song's length. Close it after the last song, or use it in
    a `with` block; a worker whose parent has died ends by itself.
    """

    name = "spleeter-tf"

    def __init__(
        self,
        configuration: str = "2stems",
        model_dir: str | Path | None = None,
        python: str | Path | None = None,
        *,
        time_limit_s: float = 600.0,
        songs_per_worker: int = 50,
    ) -> None:
        """Find the environment and the model; nothing is started before the first song.

        Args:
            configuration: one of CONFIGURATIONS. Those with 16kHz separate up to 16.5 kHz instead of 11 kHz.
            model_dir: the folder of 2stems/, 4stems/ or 5stems/. Default: $MODEL_PATH or `pretrained_models`, as in Spleeter.
            python: the Python of Spleeter's environment. Default: $SPLEETER_PYTHON or `.venv-spleeter/bin/python`.
            time_limit_s: for a song, the start of a worker included.
            songs_per_worker: a new worker follows after so many, because TensorFlow's memory grows.

        Raises:
            OptionError: there is no such configuration, or no such Python.
            ModelError: the model's folder does not hold a whole checkpoint.
        """
        if configuration not in CONFIGURATIONS:
            raise OptionError(f"{configuration}: Spleeter has no such configuration; choose from {', '.join(CONFIGURATIONS)}")
        self._configuration = configuration
        self._python = find_python(python)
        self._model_dir = Path(model_dir or os.environ.get("MODEL_PATH") or "pretrained_models").absolute()
        require_checkpoint(self._model_dir / configuration.removesuffix("-16kHz"))
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

    def separate(self, waveform: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        """Split a song of any length, rate and number of channels.

        Spleeter knows stereo at 44.1 kHz: other rates are resampled there and back, channels go in by pairs, and a lone
        one goes in twice and comes out as the mean of both.

        Args:
            waveform: float32, shape (channels, samples), finite.
            sample_rate: Hz.

        Returns:
            The stems by Spleeter's names (vocals, accompaniment; with four or five vocals, piano, drums, bass, other),
            float32, each of the song's shape. Above 11 kHz all are silent, and below it they sum to the song.

        Raises:
            RiffError: the worker failed or ran into the time limit; the next song gets a new one.
        """
        song = resample(waveform, sample_rate, SAMPLE_RATE)
        if song.shape[1] == 0:  # Spleeter wants a sample at least
            song = np.zeros((len(waveform), 1), np.float32)
        stems = self._separate_channels(song)
        return {name: _set_length(resample(stem, SAMPLE_RATE, sample_rate), waveform.shape[1]) for name, stem in stems.items()}

    def _separate_channels(self, song: np.ndarray) -> dict[str, np.ndarray]:
        """float32 (channels, samples) at 44.1 kHz -> the stems, of the same shape."""
        pairs = [song[first : first + 2] for first in range(0, len(song), 2)]
        answers = self._ready_process().separate([to_channels(pair, 2) for pair in pairs], self._time_limit_s)
        return {
            name: np.concatenate([to_channels(stems[name], len(pair)) for pair, stems in zip(pairs, answers, strict=True)])
            for name in answers[0]
        }

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
            archive = f"{RELEASE}/{folder.name}.tar.gz"
            raise ModelError(f"{folder}: {file.name} of Spleeter's model is missing or empty; unpack {archive} there")


def _set_length(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Cut or fill up with zeros by the sample that resampling there and back may be off."""
    fitted = np.zeros((len(waveform), samples), np.float32)
    part = waveform[:, :samples]
    fitted[:, : part.shape[1]] = part
    return fitted
