"""What can be wrong with a folder of pairs, and how it is reported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

NAMES_SHOWN = 3


class ProblemType(NamedTuple):
    """label: names what is affected. error: whether it forbids training. fix: group of problems set aside together, or ""."""

    label: str
    error: bool
    fix: str = ""


PROBLEMS = {
    "line": ProblemType("records that cannot be read", True, "broken"),
    "repeated": ProblemType("repeated records", True, "broken"),
    "missing": ProblemType("missing images", True, "broken"),
    "unreadable": ProblemType("images that cannot be read", True, "broken"),
    "size": ProblemType("images of another size than most", True, "broken"),
    "maximum": ProblemType("images that are not those of their records", True, "broken"),
    "grey_edges": ProblemType("edge maps with grey levels", True, "broken"),
    "other_edges": ProblemType("edge maps of another image", True, "broken"),
    "leak": ProblemType("songs on both sides of the split", True, "duplicates"),
    "val": ProblemType("errors in the validation set; inspect it by itself", True),
    "copy": ProblemType("songs under two names", False, "duplicates"),
    "shared": ProblemType("songs that have clips in common", False),
    "silent": ProblemType("pairs whose image is silent", False, "silent"),
    "weak": ProblemType("clips with hardly any vocal", False, "silent"),
    "black": ProblemType("images clipped at black", False),
    "no_edges": ProblemType("empty edge maps", False),
    "full_edges": ProblemType("nearly full edge maps", False),
    "params": ProblemType("images with other spectrogram parameters than Riffusion's", False),
    "no_maximum": ProblemType("images without their maximum in EXIF", False),
    "orphan": ProblemType("files that no record names", False, "broken"),
    "variety": ProblemType("prompts that are too alike", False),
    "default": ProblemType("songs with the default prompt", False),
    "blank": ProblemType("empty prompts", False),
    "long": ProblemType("prompts longer than the text encoder reads", False),
}


class Item(NamedTuple):
    """A file, song or record with a problem.

    Attributes:
        reason: what is wrong with it. lines: numbers of the records concerned.
        severity: sorts items with the same problem, the worst first.
    """

    name: str
    reason: str
    lines: tuple[int, ...] = ()
    severity: float = 0.0

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name


@dataclass(frozen=True)
class Finding:
    """All items with one problem, the worst first; problem: a key of PROBLEMS."""

    problem: str
    items: tuple[Item, ...]

    @property
    def error(self) -> bool:
        return PROBLEMS[self.problem].error

    @property
    def label(self) -> str:
        return PROBLEMS[self.problem].label

    @property
    def fix(self) -> str:
        return PROBLEMS[self.problem].fix

    def __str__(self) -> str:
        remaining = len(self.items) - NAMES_SHOWN
        names = ", ".join(map(str, self.items[:NAMES_SHOWN])) + (f" and {remaining:,} more" if remaining > 0 else "")
        return f"{self.label}: {len(self.items):,}: {names}"

    def to_json(self) -> dict[str, Any]:
        items = [{"name": item.name, "reason": item.reason, "lines": list(item.lines)} for item in self.items]
        return {"kind": self.problem, "says": self.label, "error": self.error, "count": len(items), "items": items}


def group_items(items: Iterable[tuple[str, Item]]) -> list[Finding]:
    """Findings in the order of PROBLEMS, from items with their problems; items of one problem and name are merged."""
    grouped: dict[str, dict[str, Item]] = {}
    for problem, item in items:
        by_name = grouped.setdefault(problem, {})
        earlier = by_name.get(item.name)
        by_name[item.name] = item if earlier is None else earlier._replace(lines=tuple(sorted({*earlier.lines, *item.lines})))
    return [
        Finding(problem, tuple(sorted(grouped[problem].values(), key=lambda item: (-item.severity, item.name))))
        for problem in PROBLEMS
        if problem in grouped
    ]
