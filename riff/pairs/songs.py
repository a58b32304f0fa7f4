"""The songs of a folder, and their names in prompt files and image files."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from riff.audio.io import AUDIO_SUFFIXES, is_audio, is_stem_file, plain_name
from riff.data.shard_files import shard_folder
from riff.errors import AudioError, SettingError
from riff.files import readable
from riff.separation.stems import holds_stems

MAX_SLUG = 100  # bytes: some encrypted file systems allow names of 143, and names of clips and temporary files are longer


@dataclass(frozen=True)
class SongFile:
    """name: in prompts and stems, `readable`. path: of the mixture, or of the folder or file with the stems."""

    name: str
    path: Path

    @property
    def plain_name(self) -> str:
        """The name without the file's suffix, as folders of stems are named."""
        return plain_name(self.name)


def list_songs(folder: str | Path) -> list[SongFile]:
    """Audio files of a folder (`SONG.stem.mp4` among them), and its folders in MUSDB's layout (`SONG/mixture.wav`), by name.

    Raises:
        AudioError: no such folder, no song in it, or two songs of one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AudioError(f"{folder}: no such folder")
    files = [SongFile(readable(path.name), path) for path in folder.iterdir() if is_audio(path)]
    files += [SongFile(readable(path.parent.name), path) for path in folder.glob("*/mixture.*") if is_audio(path)]
    if not files:
        suffixes = ", ".join(sorted(AUDIO_SUFFIXES))
        raise AudioError(f"{folder}: holds no songs; put audio files there ({suffixes})")
    return _in_order(files)


def list_stem_songs(root: str | Path) -> list[SongFile]:
    """The songs of MUSDB18 in either form, SONG.stem.mp4 or SONG/{mixture,drums,bass,other,vocals}.wav, by name.

    They may lie in the folder itself and in its `train` and `test`.

    Raises:
        AudioError: no such folder, no song in it, or two songs of one name.
    """
    root = Path(root)
    if not root.is_dir():
        raise AudioError(f"{root}: no such folder")
    paths = [path for part in (root, root / "train", root / "test") if part.is_dir() for path in part.iterdir()]
    songs = [SongFile(readable(path.name), path) for path in paths if holds_stems(path)]
    songs += [SongFile(plain_name(readable(path.name)), path) for path in paths if is_stem_file(path) and is_audio(path)]
    if not songs:
        forms = "SONG/{drums,bass,other,vocals}.wav or SONG.stem.mp4"
        raise AudioError(f"{root}: holds no songs; put {forms} there")
    return _in_order(songs)


def _in_order(songs: Sequence[SongFile]) -> list[SongFile]:
    """Songs sorted by name, which must be unique."""
    first: dict[str, SongFile] = {}
    for song in songs:
        if first.setdefault(song.name, song) is not song:
            raise AudioError(f"{song.path}: {first[song.name].path} has the same song name; take one of them out")
    return sorted(songs, key=lambda song: song.name)


def shard_of_songs(songs: Sequence[SongFile], shard_index: int | None, num_shards: int | None) -> tuple[list[SongFile], str]:
    """The songs of one shard, and the name of its folder; all songs, and "", where neither number is given.

    A song's shard depends on its name alone, so songs that are added later move no other.

    Raises:
        SettingError: only one of the numbers, or no such shard.
    """
    if shard_index is None and num_shards is None:
        return list(songs), ""
    if shard_index is None or num_shards is None:
        raise SettingError("shard_index: goes with num_shards; give both, or neither")
    if not 0 <= shard_index < num_shards:
        raise SettingError(f"shard_index {shard_index}: of {num_shards} shards the first is 0 and the last {num_shards - 1}")

    def shard(song: SongFile) -> int:
        return int.from_bytes(hashlib.blake2b(song.name.encode(), digest_size=8).digest()) % num_shards

    return [song for song in songs if shard(song) == shard_index], shard_folder(shard_index, num_shards)


def unique_slugs(songs: Iterable[SongFile], taken: Mapping[str, str] = {}) -> dict[str, str]:
    """song name -> a unique file name without suffix or special characters, at most about 100 bytes long.

    Args:
        taken: slugs of songs that keep theirs.
    """
    slugs = dict(taken)
    used = {_folded(slug) for slug in slugs.values()}
    for song in songs:
        if song.name in slugs:
            continue
        plain = re.sub(r"[^\w.-]+", "_", song.plain_name).strip("._")
        plain = plain.encode()[:MAX_SLUG].decode(errors="ignore") or "song"
        slug, count = plain, 1
        while _folded(slug) in used:
            count += 1
            slug = f"{plain}~{count}"
        slugs[song.name] = slug
        used.add(_folded(slug))
    return slugs


def _folded(slug: str) -> str:
    """Equal for names that are one file on a case-insensitive or Unicode-normalising disk."""
    return unicodedata.normalize("NFC", slug).casefold()


def names_without_song(prompt_file: Path, names: Iterable[str], songs: Sequence[SongFile]) -> str:
    """A warning of the names in a prompt file that belong to no song; "" for none."""
    known = {song.plain_name for song in songs}
    unknown = sorted(name for name in names if name not in known and plain_name(name) not in known)
    return f"{prompt_file}: {len(unknown)} names belong to no song: {', '.join(unknown[:3])}" if unknown else ""
