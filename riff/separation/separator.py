"""Songs as stems: given stems, or those of a separator chosen by name."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from riff.audio.io import plain_name, read_audio
from riff.cli import SEPARATORS
from riff.devices import signal_device
from riff.errors import AudioError, ModelError, OptionError, RiffError
from riff.separation.stems import ACCOMPANIMENT, VOCALS, Stems, StemsFolder, read_stems, stem_files, stems_beside


@dataclass(frozen=True)
class SeparationOptions:
    """How songs are separated.

    Attributes:
        separator: one of `SEPARATORS`, or `auto` or `stems` (see `open_songs`).
        stems_dir: folder of songs with stems, which are used instead of a separator.
        num_stems: 2 (vocals and accompaniment), or 4 or 5 where the separator can.
        device: torch's name of the device.
        spleeter_model_dir: folder of Spleeter's weights (default: see `riff.separation.spleeter_weights.find_weights`).
    """

    separator: str = "auto"
    stems_dir: Path | None = None
    num_stems: int = 2
    device: str = "cpu"
    spleeter_model_dir: Path | None = None


def separation_options(args: Namespace, device: str = "cpu", num_stems: int = 2) -> SeparationOptions:
    """The options of the flags that `riff.cli.ArgumentParser.add_separation` adds."""
    return SeparationOptions(args.separator, args.stems_dir, num_stems, device, args.spleeter_model_dir)


class Separator(Protocol):
    """Separates a song into stems. It is loaded once and used for any number of songs."""

    name: str

    def separate(self, waveform: np.ndarray, sample_rate: int) -> Stems:
        """Separate a song of any length, rate and number of channels.

        A long song is processed in blocks, so that only the song and its stems grow with its length (the original Spleeter
        processes it as a whole).

        Args:
            waveform: float32, shape (channels, samples), finite.
            sample_rate: Hz.

        Returns:
            Stems of the same shape and rate, aligned to the sample.
        """
        ...


class NoSeparator:
    """For accompaniments: the whole recording is the accompaniment, and its vocals are silence."""

    name = "none"

    def separate(self, waveform: np.ndarray, sample_rate: int) -> Stems:
        return Stems({VOCALS: np.zeros_like(waveform), ACCOMPANIMENT: waveform})


def create_separator(options: SeparationOptions) -> Separator:
    """Create a separator by its name, and import only what it needs.

    Raises:
        OptionError: no separator has this name, or its package is not installed.
        ModelError: its weights cannot be found or downloaded.
    """
    match options.separator:
        case "spleeter":
            from riff.separation.spleeter import SpleeterSeparator

            return SpleeterSeparator(options.num_stems, options.spleeter_model_dir, signal_device(options.device))
        case "spleeter-tf":
            from riff.separation.spleeter_tf import SpleeterTensorFlow

            return SpleeterTensorFlow(options.num_stems, options.spleeter_model_dir)
        case "demucs" | "demucs_ft":
            from riff.separation.demucs import DemucsSeparator

            return DemucsSeparator(options.separator, signal_device(options.device))
        case "repet":
            from riff.separation.repet import RepetSeparator

            return RepetSeparator()
        case "none":
            return NoSeparator()
    raise OptionError(f"no separator {options.separator}; choose from auto, stems, {', '.join(SEPARATORS)}")


class SongOpener:
    """Opens songs as stems: from `stems_dir`, from beside the song, or by separating it.

    Attributes:
        name: of the separator, or `stems`; for manifests.
    """

    def __init__(
        self,
        separator: Separator | None,
        stems_dir: StemsFolder | None = None,
        use_stems_beside: bool = True,
        options: SeparationOptions | None = None,
    ) -> None:
        self.name = separator.name if separator else "stems"
        self._separator, self._stems_dir, self._use_stems_beside = separator, stems_dir, use_stems_beside
        self._options = options

    def __getstate__(self) -> dict[str, Any]:
        """Pickled without the separator, which another process creates from the options."""
        return self.__dict__ | {"_separator": None}

    def sources(self, song: Path, name: str | None = None) -> list[Path]:
        """The existing files that `open` reads.

        Raises:
            AudioError: `stems_dir` has no stems of this song.
        """
        given = self._given_stems(song, name)
        return [song] if given is None else stem_files(given)

    def _given_stems(self, song: Path, name: str | None) -> Path | None:
        if self._stems_dir is not None:
            return self._stems_dir.find(name or plain_name(song.name))
        return stems_beside(song) if self._use_stems_beside else None

    def open(self, song: Path, name: str | None = None, check: Callable[[float], object] | None = None) -> tuple[Stems, int]:
        """The song's stems and their sample rate.

        Args:
            song: file of the mixture.
            name: in `stems_dir` (default: the file's name without suffix).
            check: called with the song's duration in seconds before the song is separated; what it raises is passed on.

        Raises:
            AudioError: the song or its stems are missing or cannot be read.
        """
        given = self._given_stems(song, name)
        if given is not None:
            stems, rate = read_stems(given)
            if check is not None:
                check(stems.vocals.shape[1] / rate)
            return stems, rate
        if self._separator is None and self._options is not None:
            self._separator = create_separator(self._options)
        if self._separator is None:
            raise AudioError(f"{song}: comes without stems; give a folder of stems, or choose a separator")
        audio = read_audio(song)
        if check is not None:
            check(audio.duration_s)
        try:
            return self._separator.separate(audio.waveform, audio.sample_rate), audio.sample_rate
        except RiffError as error:  # a worker process does not know the song's name
            raise AudioError(f"{song}: {error}") from error


def open_songs(options: SeparationOptions, songs: Sequence[Path], warn: Callable[[str], object] = print) -> SongOpener:
    """Choose how songs are separated.

    `stems` uses given stems only. `auto` uses stems where they are given, and separates the other songs with Spleeter
    if its weights can be found or downloaded, else with REPET.

    Args:
        songs: files of the mixtures.
        warn: called with a line where `auto` falls back to REPET.

    Raises:
        OptionError: no such separator, or both stems and a separator.
        ModelError: the weights of the chosen separator cannot be found or downloaded.
    """
    if options.stems_dir is not None:
        if options.separator not in ("auto", "stems"):
            raise OptionError(
                f"{options.stems_dir}: gives the stems already, without the separator {options.separator}; leave one out"
            )
        return SongOpener(None, StemsFolder(options.stems_dir))
    if options.separator == "stems" or (options.separator == "auto" and all(stems_beside(song) for song in songs)):
        return SongOpener(None)
    if options.separator != "auto":
        return SongOpener(create_separator(options), use_stems_beside=False, options=options)
    chosen = replace(options, separator="spleeter")
    try:
        separator = create_separator(chosen)
    except ModelError as error:
        warn(f"separating with repet, which needs no weights and is worse than Spleeter: {error}")
        chosen = replace(options, separator="repet")
        separator = create_separator(chosen)
    return SongOpener(separator, options=chosen)
