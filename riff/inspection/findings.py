"""What can be wrong with a folder of pairs, and how it is said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

FIX_GROUPS = ("broken", "duplicates", "silent")
NAMES_SAID = 3


class Kind(NamedTuple):
    """says: what the things are. error: whether nobody should train on them. fix: the group of `--fix` that moves them, or ""."""

    says: str
    error: bool
    fix: str = ""


KINDS = {
    "line": Kind("records that cannot be read", True, "broken"),
    "repeated": Kind("records that are there twice", True, "broken"),
    "missing": Kind("pictures that are not there", True, "broken"),
    "unreadable": Kind("pictures that cannot be read", True, "broken"),
    "size": Kind("pictures of another size than most", True, "broken"),
    "maximum": Kind("pictures that are not those of their records", True, "broken"),
    "grey_edges": Kind("edge maps with grey levels", True, "broken"),
    "other_edges": Kind("edge maps of another picture", True, "broken"),
    "leak": Kind("songs on both sides of the split", True, "duplicates"),
    "val": Kind("flaws of the validation set; inspect it by itself", True),
    "copy": Kind("songs that are there under two names", False, "duplicates"),
    "shared": Kind("songs that have clips in common", False),
    "silent": Kind("pairs whose picture is silent", False, "silent"),
    "weak": Kind("clips with hardly any vocal", False, "silent"),
    "black": Kind("pictures that are cut off at black", False),
    "no_edges": Kind("edge maps that are empty", False),
    "full_edges": Kind("edge maps that are nearly full", False),
    "params": Kind("pictures with other spectrogram parameters than Riffusion's", False),
    "no_maximum": Kind("pictures that do not say how loud they are", False),
    "orphan": Kind("files that no record names", False, "broken"),
    "variety": Kind("prompts that are too alike", False),
    "default": Kind("songs with the default prompt", False),
    "blank": Kind("prompts without a word", False),
    "long": Kind("prompts longer than a model reads", False),
}


class Item(NamedTuple):
    """One thing that is wrong.

    Attributes:
        name: of the file, song or record. reason: what is wrong with it. lines: the records that it spoils. bad: how much,
            to put the worst first.
    """

    name: str
    reason: str
    lines: tuple[int, ...] = ()
    bad: float = 0.0


@dataclass(frozen=True)
class Finding:
    """Everything of one kind that is wrong, the worst first; kind: a key of KINDS."""

    kind: str
    items: tuple[Item, ...]

    @property
    def error(self) -> bool:
        return KINDS[self.kind].error

    def __str__(self) -> str:
        said = [f"{item.name} ({item.reason})" if item.reason else item.name for item in self.items[:NAMES_SAID]]
        more = len(self.items) - len(said)
        return f"{KINDS[self.kind].says}: {len(self.items):,}: {', '.join(said)}" + (f" and {more:,} more" if more else "")

    def to_json(self) -> dict[str, Any]:
        items = [{"name": item.name, "reason": item.reason, "lines": list(item.lines)} for item in self.items]
        return {"kind": self.kind, "says": KINDS[self.kind].says, "error": self.error, "count": len(items), "items": items}


def findings(kinds: Iterable[tuple[str, Item]]) -> list[Finding]:
    """Items gathered by kind, in the order of KINDS. Items of one kind and name are one, which spoils the records of all."""
    gathered: dict[str, dict[str, Item]] = {}
    for kind, item in kinds:
        same = gathered.setdefault(kind, {})
        earlier = same.get(item.name)
        same[item.name] = item if earlier is None else earlier._replace(lines=tuple(sorted({*earlier.lines, *item.lines})))
    return [
        Finding(kind, tuple(sorted(gathered[kind].values(), key=lambda item: (-item.bad, item.name))))
        for kind in KINDS
        if kind in gathered
    ]
