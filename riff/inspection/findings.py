"""What can be wrong with a folder of pairs, and how it is reported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

NAMES_SHOWN = 3


class Kind(NamedTuple):
    """label: names the things. error: whether they forbid training. fix: the group of `--fix` that moves them, or ""."""

    label: str
    error: bool
    fix: str = ""


KINDS = {
    "line": Kind("records that cannot be read", True, "broken"),
    "repeated": Kind("repeated records", True, "broken"),
    "missing": Kind("missing images", True, "broken"),
    "unreadable": Kind("images that cannot be read", True, "broken"),
    "size": Kind("images of another size than most", True, "broken"),
    "maximum": Kind("images that are not those of their records", True, "broken"),
    "grey_edges": Kind("edge maps with grey levels", True, "broken"),
    "other_edges": Kind("edge maps of another image", True, "broken"),
    "leak": Kind("songs on both sides of the split", True, "duplicates"),
    "val": Kind("errors in the validation set; inspect it by itself", True),
    "copy": Kind("songs under two names", False, "duplicates"),
    "shared": Kind("songs that have clips in common", False),
    "silent": Kind("pairs whose image is silent", False, "silent"),
    "weak": Kind("clips with hardly any vocal", False, "silent"),
    "black": Kind("images clipped at black", False),
    "no_edges": Kind("empty edge maps", False),
    "full_edges": Kind("nearly full edge maps", False),
    "params": Kind("images with other spectrogram parameters than Riffusion's", False),
    "no_maximum": Kind("images without their maximum in EXIF", False),
    "orphan": Kind("files that no record names", False, "broken"),
    "variety": Kind("prompts that are too alike", False),
    "default": Kind("songs with the default prompt", False),
    "blank": Kind("empty prompts", False),
    "long": Kind("prompts longer than the text encoder reads", False),
}


class Item(NamedTuple):
    """One thing that is wrong.

    Attributes:
        name: of the file, song or record. reason: what is wrong with it. lines: numbers of the records concerned.
        severity: sorts items of one kind, the worst first.
    """

    name: str
    reason: str
    lines: tuple[int, ...] = ()
    severity: float = 0.0

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name


@dataclass(frozen=True)
class Finding:
    """All items of one kind, the worst first; kind: a key of KINDS."""

    kind: str
    items: tuple[Item, ...]

    @property
    def error(self) -> bool:
        return KINDS[self.kind].error

    @property
    def label(self) -> str:
        return KINDS[self.kind].label

    def __str__(self) -> str:
        remaining = len(self.items) - NAMES_SHOWN
        names = ", ".join(map(str, self.items[:NAMES_SHOWN])) + (f" and {remaining:,} more" if remaining > 0 else "")
        return f"{self.label}: {len(self.items):,}: {names}"

    def to_json(self) -> dict[str, Any]:
        items = [{"name": item.name, "reason": item.reason, "lines": list(item.lines)} for item in self.items]
        return {"kind": self.kind, "says": self.label, "error": self.error, "count": len(items), "items": items}


def group_by_kind(items: Iterable[tuple[str, Item]]) -> list[Finding]:
    """Findings in the order of KINDS, from items with their kinds; items of one kind and name are merged with their lines."""
    by_kind: dict[str, dict[str, Item]] = {}
    for kind, item in items:
        by_name = by_kind.setdefault(kind, {})
        earlier = by_name.get(item.name)
        by_name[item.name] = item if earlier is None else earlier._replace(lines=tuple(sorted({*earlier.lines, *item.lines})))
    return [
        Finding(kind, tuple(sorted(by_kind[kind].values(), key=lambda item: (-item.severity, item.name))))
        for kind in KINDS
        if kind in by_kind
    ]
