"""From songs to a folder of pairs, one song in memory at a time, going on where an earlier run stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from riff.audio.clips import rms
from riff.cli import progress_bar
from riff.data.lines import SONGS_FILE, SongLedger
from riff.data.records import Prompt, prompt_of
from riff.data.songs import SongFile
from riff.errors import AudioError, OptionError, RiffError
from riff.files import make_folder, read_mapping, remove_leftovers
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

MANIFEST = "manifest.json"
SETTINGS_KEY = "settings"


@dataclass(frozen=True)
class PairsFolder:
    """A folder of pairs.

    Attributes:
        records_file: name of the file of records. image_folders: what lies beside it.
        flag: of the command line that names the folder, for messages.
    """

    path: Path
    records_file: str
    image_folders: Sequence[str]
    flag: str

    def open_ledger(self) -> SongLedger:
        return SongLedger(self.path / self.records_file)

    def prepare(self, settings: Mapping[str, Any], overwrite: bool) -> None:
        """Make the folder ready, or refuse one that was made with other settings.

        Raises:
            OptionError: it holds pairs of other settings; names the first that differs.
        """
        make_folder(self.path)
        for name in ("", *self.image_folders):
            remove_leftovers(self.path / name)
        manifest = self.path / MANIFEST
        if overwrite:
            for name in self.image_folders:
                shutil.rmtree(self.path / name, ignore_errors=True)
            for name in (self.records_file, SONGS_FILE, MANIFEST):
                (self.path / name).unlink(missing_ok=True)
        elif manifest.exists():
            self._require_same(settings, read_mapping(manifest).get(SETTINGS_KEY) or {})
        elif (self.path / self.records_file).exists():
            raise OptionError(f"{self.path}: holds pairs of another origin (no {MANIFEST}); use another folder, or --overwrite")

    def _require_same(self, settings: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
        for key, value in settings.items():
            if earlier.get(key) != value:
                raise OptionError(
                    f"--{key} {value}: the pairs in {self.path} were made with {earlier.get(key)}; "
                    f"use the same setting, another {self.flag}, or --overwrite"
                )


@dataclass(frozen=True)
class ClipCount:
    """clips: whole clips in the song; dropped: those with next to none of the part that matters."""

    clips: int
    dropped: int


@dataclass(frozen=True)
class SongPairs:
    """A song that was opened: its records, made and written as they are asked for."""

    records: Iterable[Any]
    count: ClipCount


@dataclass
class BuildReport:
    """What a run did, song by song; `left_out` are those that came after enough pairs."""

    made: int = 0
    pairs: int = 0
    dropped_clips: int = 0
    skipped: int = 0
    failed: int = 0
    left_out: int = 0


def build_songs(
    songs: Sequence[SongFile],
    ledger: SongLedger,
    prompts: Mapping[str, Prompt],
    default_prompt: Prompt,
    open_song: Callable[[SongFile, Prompt], SongPairs],
    none_left: str,
    max_pairs: int | None = None,
    warn: Callable[[str], None] = print,
) -> BuildReport:
    """Make the pairs of every song that is not done yet; a song that cannot be opened is named and the others go on.

    Args:
        none_left: what to say of a song without a usable clip.
        max_pairs: in the whole folder; the song that reaches it is cut short.
    """
    report = BuildReport()
    progress = progress_bar(songs, desc="songs", unit="song")
    for song in progress:
        prompt = prompt_of(song.name, prompts)
        if song.name in ledger.done:
            report.skipped += 1
            if prompt is not None and prompt != ledger.done[song.name]["prompt"]:
                warn(f"{song.name}: its prompt has changed since its pairs were made; use --overwrite to make them again")
            continue
        room = None if max_pairs is None else max_pairs - ledger.num_pairs
        if room is not None and room <= 0:
            report.left_out += 1
            continue
        if prompt is None:
            warn(f"{song.name}: no prompt for this song; using {default_prompt!r}")
            prompt = default_prompt
        progress.set_postfix_str(song.name)
        try:
            opened = open_song(song, prompt)
        except RiffError as error:
            warn(f"error: {error}")
            report.failed += 1
            continue
        records = list(islice(opened.records, room))
        ledger.add(song.name, records, prompt=prompt, clips=opened.count.clips, dropped=opened.count.dropped)
        report.made += 1
        report.dropped_clips += opened.count.dropped
        if not records:
            warn(f"{song.name}: {none_left}")
    report.pairs = ledger.num_pairs
    return report


def check_usable(song: SongFile, mix: np.ndarray, clip_samples: int = CLIP_SAMPLES) -> None:
    """Raise AudioError for a mix, float32 (channels, samples) at 44.1 kHz, that is silent or shorter than a clip."""
    if mix.shape[1] < clip_samples:
        seconds, need = mix.shape[1] / STANDARD.sample_rate, clip_samples / STANDARD.sample_rate
        raise AudioError(f"{song.path}: {seconds:.2f} s is shorter than a clip ({need:.2f} s); use a longer song")
    if rms(mix) == 0:
        raise AudioError(f"{song.path}: holds only silence; take it out")
