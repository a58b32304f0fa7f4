"""Types of training pairs: their names in records, folders and shards, and the parsing of a record."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from riff.data.lines import json_lines
from riff.errors import DataError, RiffError
from riff.files import inside, read_mapping

Record = TypeVar("Record")
MANIFEST = "manifest.json"
SETTINGS_KEY = "settings"  # of the manifest that lies beside pairs
LARGEST_NUMBER = 1e9  # in a record: 30 years in seconds, or a maximum of 16-bit samples many times over


@dataclass(frozen=True)
class ImageField:
    """An image of a pair.

    Attributes:
        folder: that holds it; also its name in tars. column: in Parquet files.
        maximum: key of the mel value of black, or "". required: whether every pair has it.
    """

    folder: str
    column: str
    maximum: str = ""
    required: bool = True


@dataclass(frozen=True)
class PairType(Generic[Record]):
    """A type of pairs.

    Attributes:
        record: dataclass of a line; fields without default are text that every line holds. records_file: name of the file of lines.
        name: of such pairs. made_by: script with the flag of its output folder. trained_by: script. All three are for messages.
        images: by the keys of their paths in the record; the first names the song if the record does not. prompt: key of the text.
        backing, result: keys of the spectrograms without and with what the model learns. edges: key of the edge map, or "".
        sounds: folder of the clips' sounds, or "". shared: paths of images that pairs of different songs share.
    """

    record: type[Record]
    records_file: str
    name: str
    made_by: str
    trained_by: str
    images: Mapping[str, ImageField]
    prompt: str
    backing: str
    result: str
    edges: str = ""
    sounds: str = ""
    shared: tuple[str, ...] = ()

    @property
    def maxima(self) -> dict[str, str]:
        """Keys of the maxima by the keys of their images."""
        return {key: image.maximum for key, image in self.images.items() if image.maximum}

    @property
    def image_folders(self) -> list[str]:
        return [image.folder for image in self.images.values()]

    @property
    def file_folders(self) -> list[str]:
        """The folders of images, and that of sounds."""
        return self.image_folders + [self.sounds] * bool(self.sounds)

    @property
    def values(self) -> dict[str, type]:
        """The keys of the values that are not images, each with `str` or `float`."""
        return {key: value_type for key, value_type in _value_types(self.record).items() if key not in self.images}

    def image_paths(self, record: Record) -> dict[str, str]:
        """The paths of the images that a record has, by their keys."""
        return {key: path for key in self.images if (path := getattr(record, key))}

    def missing(self, attribute: str, names: Collection[str]) -> list[str]:
        """The `attribute` (`folder` or `column`) of each required image that is not among the names."""
        wanted = [getattr(image, attribute) for image in self.images.values() if image.required]
        return [name for name in wanted if name not in names]

    def parse(self, item: dict[str, Any], folder: Path) -> Record:
        """A line's object as a record; every path must lie inside the folder.

        Older files may hold paths relative to the working folder (`train-data/source/x.png`) and no song; both are
        completed. Keys that the record does not have are ignored.

        Raises:
            DataError: a key is missing, a value has another type, or a path leaves the folder.
        """
        for field in fields(self.record):  # type: ignore[arg-type]
            if field.default is MISSING and not (isinstance(item.get(field.name), str) and item[field.name]):
                raise DataError(f'has no "{field.name}"')
        values = {
            key: _checked(key, item[key], value_type)
            for key, value_type in _value_types(self.record).items()
            if item.get(key) is not None
        }
        for key in self.images:
            if values.get(key):
                values[key] = _relative(folder, values[key])
        values["song"] = values.get("song") or _song_from_name(values[next(iter(self.images))])
        return self.record(**values)


def read_pairs(folder: str | Path, pair_type: PairType[Record]) -> list[Record]:
    """The records of a folder of pairs; their paths are relative to it, and inside it.

    Raises:
        DataError: no records there, or a line that `PairType.parse` rejects; names the line.
    """
    folder = Path(folder)
    path = folder / pair_type.records_file
    if not path.exists():
        raise DataError(f"{path}: no {pair_type.name} there; make them with {pair_type.made_by} {folder}")
    records = []
    for line in json_lines(path):
        try:
            records.append(pair_type.parse(line.value, folder))
        except RiffError as error:
            raise DataError(f"{path}: line {line.number}: {line.problem or error}") from error
    if not records:
        raise DataError(f"{path}: {no_records(pair_type)}")
    return records


def no_records(pair_type: PairType) -> str:
    """The message for an empty file of records."""
    return f"holds no {pair_type.name}; every clip was dropped, or none was made"


def _value_types(record: type) -> dict[str, type]:
    """The keys of a record, each with the type of its default, `str` or `float`; without default, `str`."""
    return {field.name: str if field.default is MISSING else type(field.default) for field in fields(record)}


def _checked(key: str, value: Any, value_type: type) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (isinstance(value, str) if value_type is str else number):
        raise DataError(f'"{key}" must be {"text" if value_type is str else "a number"}, not {value!r}')
    if number and not abs(value) <= LARGEST_NUMBER:
        raise DataError(f'"{key}" is out of range')
    return value


def _relative(folder: Path, path: str) -> str:
    """A path in a record as one relative to `folder`."""
    try:
        inside(folder, path)
    except RiffError:
        raise DataError(f"the path {path} leaves the folder; use paths inside it") from None
    if not (folder / path).exists():
        old = Path(path)
        if old.parts[0] == folder.resolve().name and (folder / Path(*old.parts[1:])).exists():
            return str(Path(*old.parts[1:]))
    return path


def _song_from_name(image: str) -> str:
    """The song in a clip's file name in older files: SONG_NUMBER, SONG-NUMBER, or s12_f3_e0 for song 12."""
    name = Path(image).stem
    numbered = re.fullmatch(r"(s\d+)_f\d+_e\d+", name)
    return numbered[1] if numbered else name.rstrip("0123456789+-_.") or name


def settings_of(folder: Path) -> dict[str, Any]:
    """The settings in the manifest of a folder of pairs; empty without a manifest.

    Raises:
        DataError: the manifest cannot be read.
    """
    manifest = folder / MANIFEST
    settings = read_mapping(manifest).get(SETTINGS_KEY) if manifest.exists() else None
    return settings if isinstance(settings, dict) else {}
