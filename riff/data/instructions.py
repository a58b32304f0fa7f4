"""What the edit model is told to do: instructions from a prompt file, and wordings for taking away and for doing nothing."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

from riff.data.lines import read_json_objects
from riff.errors import DataError

# What a song without a line in the prompt file is given.
DEFAULT_INSTRUCTIONS = {
    "vocals": "add a vocal melody",
    "drums": "add drums",
    "bass": "add a bass line",
    "other": "add the other instruments",
}
STEM_WORDS = {
    "vocals": ("the vocals", "the singing", "the voice", "the singer"),
    "drums": ("the drums", "the percussion", "the beat"),
    "bass": ("the bass", "the bass line"),
    "other": ("the other instruments", "everything but drums, bass and voice"),
}
REMOVALS = (
    "remove {stem}",
    "take {stem} out",
    "take away {stem}",
    "get rid of {stem}",
    "mute {stem}",
    "cut {stem} from the mix",
    "leave {stem} out",
    "play it without {stem}",
    "drop {stem}",
    "erase {stem}",
    "strip {stem} from the song",
    "silence {stem}",
)
NOTHING = (
    "leave it as it is",
    "change nothing",
    "do nothing",
    "keep everything as it is",
    "keep it the same",
    "make no changes",
    "leave the music alone",
    "do not change anything",
    "keep the song untouched",
    "add nothing",
    "leave every part where it is",
    "no edit",
)
REMOVING = (
    r"\b(remove|delete|mute|silence|erase|strip|drop|cut|get rid of|without|no vocals?|instrumental)\b"
    r"|\b(take|leave)\b.*\b(out|away)\b"
)


def removals(stem: str) -> list[str]:
    """Every way in which the removal of a stem is worded."""
    return [wording.format(stem=words) for wording in REMOVALS for words in STEM_WORDS[stem]]


def draw(*key: object) -> random.Random:
    """Random numbers that depend on the key alone: not on the order of calls, nor on the machine."""
    return random.Random("|".join(map(str, key)))


def choose(wordings: Sequence[str], *key: object) -> str:
    """One of the wordings, the same for the same key."""
    return draw(*key).choice(wordings)


def kind_of_prompt(prompt: str) -> str:
    """What an instruction asks for, by its words: `remove`, `noop`, or else `add`."""
    words = " ".join(prompt.lower().split())
    if words in NOTHING or words in ("", "nothing"):
        return "noop"
    return "remove" if re.search(REMOVING, words) else "add"


def read_edit_prompts(path: str | Path) -> dict[str, list[str]]:
    """song -> its instructions, from lines such as `{"file": "Artist - Title", "edit_prompt": "add a male vocal melody"}`.

    A song may have several lines. `prompt` is read where there is no `edit_prompt`.

    Raises:
        DataError: a broken line, or one without `file` and `edit_prompt`.
    """
    prompts: dict[str, list[str]] = {}
    for number, item in read_json_objects(path):
        file, text = item.get("file"), item.get("edit_prompt", item.get("prompt"))
        if not isinstance(file, str) or not isinstance(text, str) or not text.strip():
            raise DataError(f'{path}: line {number} needs "file" and "edit_prompt", both text')
        prompts.setdefault(file, []).append(text)
    return prompts
