"""Instructions for the edit model: from a prompt file, and built-in wordings for removals and no-ops."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

from riff.data.lines import read_json_objects
from riff.errors import DataError

# Of songs without a line in the prompt file.
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
# A verb is an imperative where a clause begins: "add a vocal after the drop" removes nothing.
_CLAUSE = r"(?:^|[,;.:!?]\s*|\b(?:and|then|but|or|to|please|just|now|also|you|we|let's|let us)\s+)(?:\w+ly\s+)?"
_ADDING_VERBS = (
    "add|sing|put|insert|introduce|include|layer|overlay|bring|replace|swap|exchange|generate|create|compose|write|record|invent"
    "|mix in|drop in|cut in|fade in|drop an?"
)
_PARTED = (
    "take|leave|turn|fade|filter|pull|edit|separate"  # they remove only with a later particle; "take it slow and fade out" does not
)
_REMOVING_VERBS = (
    "remove|delete|mute|silence|erase|strip|drop(?! an? )|cut|get rid of|eliminate|exclude|omit|suppress|kill|lose|isolate"
    rf"|(?:keep|leave|play) (?:only|just)|(?:{_PARTED})\b(?:(?!(?:,|\band|\bthen)\s+(?:{_ADDING_VERBS}|{_PARTED}|keep)\b)[^;.])*?"
    r"\b(?:out|away|off|from)"
)
_IMPERATIVE = re.compile(rf"{_CLAUSE}(?:(?P<add>{_ADDING_VERBS})|(?P<remove>{_REMOVING_VERBS}))\b(?P<nothing> (?:nothing|no)\b)?")
_UNCHANGED = re.compile(
    r"\b(?:nothing|unchanged|untouched|unedited|don't|do not|never|no (?:changes?|edits?|modifications?)|keep|leave)\b"
    r"|\bas (?:it|they|everything) (?:is|are|was|were)\b"
)
_STEMS = (
    r"(?:vocals?|vocalists?|singing|singers?|voices?|lyrics|drums?|percussion|beat|bass|(?:other )?instruments?|everything but)"
)
_DOING_WITHOUT = re.compile(
    rf"\b(?:without|no|minus)\s+(?:(?:the|any|a|its|lead|backing|male|female)\s+)*{_STEMS}\b|\binstrumental\b|\ba cappella\b"
    r"|\bkaraoke\b|\b(?:only|just) the (?:backing|accompaniment|instruments|music|band|drums|bass)\b"
    r"|\bdisappear\b|\bdown to (?:zero|nothing)\b"
    rf"|\b{_STEMS}\s+(?:(?:is|are|be|to|should|must|shall)\s+)*(?:removed|muted|deleted|silenced|erased|cut|dropped|out|off|gone|away)\b"
)


def removals(stem: str) -> list[str]:
    """All wordings for the removal of a stem."""
    return [wording.format(stem=words) for wording in REMOVALS for words in STEM_WORDS[stem]]


def seeded_random(*key: object) -> random.Random:
    """A random generator whose numbers depend on the key alone, not on the order of calls or the machine."""
    return random.Random("|".join(map(str, key)))


def choose(wordings: Sequence[str], *key: object) -> str:
    """One of the wordings, determined by the key."""
    return seeded_random(*key).choice(wordings)


def kind_of_prompt(prompt: str) -> str:
    """What an instruction asks for: `remove`, `noop`, or else `add`.

    Its first imperative decides: "add a vocal without vibrato" adds, "cut the vocals and add nothing" removes. Without such
    a verb, "as it is" and the like change nothing, and "without vocals" and the like remove.
    """
    words = " ".join(prompt.lower().replace("’", "'").split())
    verbs = list(_IMPERATIVE.finditer(words))
    verb = next((found for found in verbs if not found["nothing"]), None)
    if not words or words in NOTHING or (verbs and verb is None):
        return "noop"
    if verb:
        return "add" if verb["add"] else "remove"
    if _UNCHANGED.search(words):
        return "noop"
    is_wish = re.match(r"(?:an?|some) (?:(?!without|no\b)[\w-]+ )*?(?:vocals?|voice|singer)\b", words)  # "a vocal, no drums"
    return "remove" if _DOING_WITHOUT.search(words) and not is_wish else "add"


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
