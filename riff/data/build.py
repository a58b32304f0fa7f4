"""From a folder of songs to a folder of pairs, one song in memory at a time, going on where an earlier run stopped."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from riff.audio.clips import rms
from riff.audio.io import AUDIO_SUFFIXES, is_audio, plain_name
from riff.audio.separation import SongOpener
from riff.data.lines import SongLedger
from riff.data.pairs import PairSettings, make_pairs, save_pair, to_standard_rate, usable_clips
from riff.data.records import DEFAULT_PROMPT, pairs_file, prompt_of
from riff.errors import AudioError, OptionError, RiffError
from riff.files import make_folder
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

IMAGE_FOLDERS = ("source", "target", "accompaniment")
SETTINGS_KEY = "settings"


@dataclass(frozen=True)
class SongFile:
    """name: as prompts and stems know it. path: of the mixture."""

    name: str
    path: Path

    @property
    def plain_name(self) -> str:
        """The name without the file's suffix, as folders of stems know it."""
        return plain_name(self.name)


@dataclass
class BuildReport:
    """What a run did, song by song."""

    made: int = 0
    pairs: int = 0
    dropped_clips: int = 0
    skipped: int = 0
    failed: int = 0


def list_songs(folder: str | Path) -> list[SongFile]:
    """Audio files of a folder (`SONG.stem.mp4` among them), and its folders in MUSDB's layout (`SONG/mixture.wav`), by name.

    Raises:
        AudioError: no such folder, or no song in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AudioError(f"--audio_dir {folder}: no such folder")
    files = [SongFile(path.name, path) for path in folder.iterdir() if is_audio(path)]
    files += [SongFile(path.parent.name, path) for path in folder.glob("*/mixture.*") if is_audio(path)]
    if not files:
        suffixes = ", ".join(sorted(AUDIO_SUFFIXES))
        raise AudioError(f"--audio_dir {folder}: holds no songs; put audio files there ({suffixes})")
    return sorted(files, key=lambda song: song.name)


def unique_slugs(songs: Sequence[SongFile]) -> dict[str, str]:
    """song name -> a file name without odd characters or suffix, different for every song."""
    slugs: dict[str, str] = {}
    for song in songs:
        plain = re.sub(r"[^\w.-]+", "_", song.plain_name).strip("._") or "song"
        slug, count = plain, 1
        while slug in slugs.values():
            count += 1
            slug = f"{plain}~{count}"
        slugs[song.name] = slug
    return slugs


def prepare_folder(folder: Path, settings: dict, overwrite: bool, control_method: str = "") -> None:
    """Make the folder ready, or refuse one that was made with other settings.

    Raises:
        OptionError: it holds pairs of other settings; names the first that differs.
    """
    make_folder(folder)
    manifest = folder / "manifest.json"
    if overwrite:
        for name in IMAGE_FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (pairs_file(control_method), "songs.jsonl", "manifest.json"):
            (folder / name).unlink(missing_ok=True)
    elif manifest.exists():
        earlier = read_json_objects_as_one(manifest).get(SETTINGS_KEY, {})
        for key, value in settings.items():
            if earlier.get(key) != value:
                raise OptionError(
                    f"--{key} {value}: the pairs in {folder} were made with {earlier.get(key)}; "
                    "use the same setting, another --train_data_dir, or --overwrite"
                )
    elif (folder / pairs_file(control_method)).exists():
        raise OptionError(f"{folder}: holds pairs of another origin (no manifest.json); use another folder, or --overwrite")


def read_json_objects_as_one(path: Path) -> dict:
    """A manifest, which is one object over many lines."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise OptionError(f"{path}: cannot be read ({error}); use --overwrite to make the folder again") from error


def build_pairs(
    songs: Sequence[SongFile],
    slugs: dict[str, str],
    prompts: dict[str, str],
    folder: Path,
    settings: PairSettings,
    opener: SongOpener,
    device: str = "cpu",
    warn: Callable[[str], None] = print,
) -> BuildReport:
    """Make the pairs of every song that is not done yet; a song that fails is named and the others go on."""
    ledger, report = SongLedger(folder / pairs_file()), BuildReport()
    progress = tqdm(songs, desc="songs", unit="song")
    for song in progress:
        prompt = prompt_of(song.name, prompts)
        if song.name in ledger.done:
            report.skipped += 1
            if prompt is not None and prompt != ledger.done[song.name]["prompt"]:
                warn(f"{song.name}: its prompt has changed since its pairs were made; use --overwrite to make them again")
            continue
        if prompt is None:
            warn(f"{song.name}: no prompt for this song; using {DEFAULT_PROMPT!r}")
        progress.set_postfix_str(song.name)
        try:
            stems, rate = opener.open(song.path, song.plain_name)
            accompaniment, vocals = to_standard_rate(stems.accompaniment, rate), to_standard_rate(stems.vocals, rate)
            mix = accompaniment + vocals
            _check_usable(song, mix)
            starts, count = usable_clips(vocals, mix, settings)
        except RiffError as error:
            warn(f"error: {error}")
            report.failed += 1
            continue
        records = [
            save_pair(folder, song.name, slugs[song.name], prompt or DEFAULT_PROMPT, pair)
            for pair in make_pairs(accompaniment, mix, starts, settings, device)
        ]
        ledger.add(song.name, records, prompt=prompt or DEFAULT_PROMPT, **asdict(count))
        report.made += 1
        report.dropped_clips += count.dropped
        if not records:
            warn(f"{song.name}: every clip has next to no vocal; no pairs (lower --min_vocal_ratio to keep them)")
    report.pairs = ledger.num_pairs
    return report


def _check_usable(song: SongFile, mix: np.ndarray) -> None:
    if mix.shape[1] < CLIP_SAMPLES:
        seconds, need = mix.shape[1] / STANDARD.sample_rate, CLIP_SAMPLES / STANDARD.sample_rate
        raise AudioError(f"{song.path}: {seconds:.2f} s is shorter than a clip ({need:.2f} s); use a longer song")
    if rms(mix) == 0:
        raise AudioError(f"{song.path}: holds only silence; take it out")
