"""The prompt file of songs, and the records of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from riff.audio.io import plain_name
from riff.data.lines import read_json_objects
from riff.data.pair_types import ImageField, PairType, read_pairs
from riff.errors import DataError

Prompt = TypeVar("Prompt")
DEFAULT_PROMPT = "Generate a vocal melody"


def pairs_file(control_method: str = "") -> str:
    """The records' file name: `prompt.json`, or `prompt-METHOD.json` for a named control method."""
    return f"prompt-{control_method}.json" if control_method else "prompt.json"


def read_prompts(path: str | Path) -> dict[str, str]:
    """file name -> prompt, from lines such as `{"file": "song.wav", "prompt": "Generate a sad male vocal pop melody"}`.

    Raises:
        DataError: a broken line, or one without `file` and `prompt`.
    """
    prompts: dict[str, str] = {}
    for number, item in read_json_objects(path):
        if not isinstance(item.get("file"), str) or not isinstance(item.get("prompt"), str):
            raise DataError(f'{path}: line {number} needs "file" and "prompt", both text')
        prompts[item["file"]] = item["prompt"]
    return prompts


def prompt_of(song: str, prompts: Mapping[str, Prompt]) -> Prompt | None:
    """The prompt for a song's file name, or for its name without the suffix."""
    if song in prompts:
        return prompts[song]
    by_plain_name = {plain_name(name): prompt for name, prompt in prompts.items()}
    return by_plain_name.get(plain_name(song))


@dataclass(frozen=True)
class PairRecord:
    """One line of `prompt.json`; the paths are relative to its folder.

    Attributes:
        source: edge map of the accompaniment. target: spectrogram of the mix. prompt: text.
        accompaniment: its spectrogram. song: of the clip. start_s: of the clip in the song. semitones: its pitch shift.
        target_max, accompaniment_max: the mel values of black.
    """

    source: str
    target: str
    prompt: str
    accompaniment: str = ""
    song: str = ""
    start_s: float = 0.0
    semitones: float = 0.0
    target_max: float = 0.0
    accompaniment_max: float = 0.0


CONTROL_PAIRS = PairType(
    PairRecord,
    records_file=pairs_file(),
    name="pairs",
    made_by="make_cnet_dataset.py --output",
    trained_by="cnet_riff_training.py",
    images={
        "source": ImageField("source", column="source"),
        "target": ImageField("target", column="target", maximum="target_max"),
        "accompaniment": ImageField("accompaniment", column="accompaniment", maximum="accompaniment_max", required=False),
    },
    prompt="prompt",
    backing="accompaniment",
    result="target",
    edges="source",
)


def control_pairs(control_method: str = "") -> PairType[PairRecord]:
    """ControlNet pairs, optionally of a named control method."""
    return replace(CONTROL_PAIRS, records_file=pairs_file(control_method))


def read_records(folder: str | Path, control_method: str = "") -> list[PairRecord]:
    """The ControlNet pairs of a folder (see `read_pairs`)."""
    return read_pairs(folder, control_pairs(control_method))


EDIT_RECORDS_FILE = "metadata.jsonl"
EDIT_KINDS = ("add", "remove", "noop")


@dataclass(frozen=True)
class EditRecord:
    """One line of `metadata.jsonl`; the paths are relative to its folder.

    Attributes:
        input_file_path, edited_file_path: spectrograms before and after. edit_prompt: the instruction.
        song: of the clip. start_s: of the clip in the song. semitones: its pitch shift.
        kind: what the edit does: add, remove, or noop (nothing).
        input_max, edited_max: the mel values of black.

    Raises:
        DataError: an unknown kind.
    """

    input_file_path: str
    edited_file_path: str
    edit_prompt: str
    song: str = ""
    start_s: float = 0.0
    semitones: float = 0.0
    kind: str = "add"
    input_max: float = 0.0
    edited_max: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in EDIT_KINDS:
            raise DataError(f'"kind" must be one of {", ".join(EDIT_KINDS)}, not {self.kind!r}')


EDIT_PAIRS = PairType(
    EditRecord,
    records_file=EDIT_RECORDS_FILE,
    name="edit pairs",
    made_by="preprocess_musdb.py --output",
    trained_by="train_instruct_pix2pix.py",
    images={
        "input_file_path": ImageField("input_image", column="original_image", maximum="input_max"),
        "edited_file_path": ImageField("edited_image", column="edited_image", maximum="edited_max"),
    },
    prompt="edit_prompt",
    backing="input_file_path",
    result="edited_file_path",
    sounds="wav",
    shared=("edited_image/silence.png",),
)


def pair_type_of(folder: Path, control_method: str = "") -> PairType:
    """The type of the pairs in a folder.

    Args:
        control_method: of ControlNet pairs, for `prompt-METHOD.json`.

    Raises:
        DataError: no such folder, or it holds none or both of the types.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    types: tuple[PairType, ...] = (control_pairs(control_method), EDIT_PAIRS)
    files = [pair_type.records_file for pair_type in types]
    present = [pair_type for pair_type in types if (folder / pair_type.records_file).exists()]
    if not present:
        raise DataError(
            f"{folder}: holds no pairs ({' or '.join(files)}); make them with make_cnet_dataset.py or preprocess_musdb.py"
        )
    if len(present) > 1:
        raise DataError(f"{folder}: holds {' and '.join(files)}; keep ControlNet pairs and edit pairs in folders of their own")
    return present[0]


def read_edit_records(folder: str | Path) -> list[EditRecord]:
    """The edit pairs of a folder (see `read_pairs`)."""
    return read_pairs(folder, EDIT_PAIRS)
