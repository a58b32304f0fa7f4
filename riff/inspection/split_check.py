"""Songs on both sides of the split into training and validation, and songs that are there twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from riff.audio.io import plain_name
from riff.data.datasets import split_by_song
from riff.inspection.duplicates import Shared, shared_recordings
from riff.inspection.findings import KINDS, Item, findings
from riff.inspection.inspect import Inspection


class _Link(NamedTuple):
    """Two songs that are one, and why."""

    first: str
    second: str
    reason: str


def check_split(inspection: Inspection, val: Inspection | None, val_share: float) -> Inspection:
    """The inspection with what the split of its songs comes to.

    Args:
        val: the validation set, where it is a folder of its own; else songs are held out as training does (`split_by_song`).
        val_share: of the songs.
    """
    records = [line.record for line in inspection.folder.readable]
    training, held_out = (records, []) if val is not None else split_by_song(records, val_share)
    if val is not None:
        held_out = [line.record for line in val.folder.readable]
    shared = shared_recordings({**inspection.heard, **_in_folder(val)})
    items = list(_song_items(inspection, {record.song for record in held_out} if val is None else set(), shared))
    if val is not None:
        items += _val_items(inspection, val, shared)
    found = findings([*_earlier(inspection), *items])
    counts = {finding.kind: len(finding.items) for finding in found}
    split = {
        "training songs": len({record.song for record in training}),
        "training pairs": len(training),
        "validation songs": len({record.song for record in held_out}),
        "validation pairs": len(held_out),
        "songs on both sides": counts.get("leak", 0),
        "songs under two names": counts.get("copy", 0),
        "songs with clips in common": counts.get("shared", 0),
    }
    return replace(inspection, facts={**inspection.facts, "split": split}, findings=found)


def _earlier(inspection: Inspection) -> Iterator[tuple[str, Item]]:
    return ((finding.kind, item) for finding in inspection.findings for item in finding.items)


def _in_folder(val: Inspection | None) -> dict[str, Any]:
    """The songs of the validation set, under names that tell them from those of the training set."""
    return {} if val is None else {_val_name(val, song): clips for song, clips in val.heard.items()}


def _val_name(val: Inspection, song: str) -> str:
    return f"{val.folder.path}/{song}"


def _song_items(inspection: Inspection, held_out: set[str], shared: list[Shared]) -> Iterator[tuple[str, Item]]:
    """Songs of one folder that are there under two names; of each, the name with the most clips is taken to be the song."""
    lines = _lines_by_song(inspection)
    links: dict[str, dict[str, str]] = {}
    for link in _links(lines, lines, shared):
        links.setdefault(link.first, {})[link.second] = link.reason
        links.setdefault(link.second, {})[link.first] = link.reason
    kept: set[str] = set()
    for song in sorted(links, key=lambda song: (-len(lines[song]), song)):
        if not kept & links[song].keys():
            kept.add(song)
            continue
        apart = sorted(other for other in links[song] if (other in held_out) != (song in held_out))
        other = apart[0] if apart else sorted(kept & links[song].keys())[0]
        yield "leak" if apart else "copy", Item(song, f"is {other}: {links[song][other]}", lines[song])
    for one in shared:
        if not one.same_recording and one.first in lines and one.second in lines:
            yield "shared", Item(f"{one.first} and {one.second}", f"clips: {len(one.clips)}", bad=len(one.clips))


def _val_items(inspection: Inspection, val: Inspection, shared: list[Shared]) -> Iterator[tuple[str, Item]]:
    """Songs of the training set that are in the validation set too, and what makes that set unfit itself."""
    lines = _lines_by_song(inspection)
    others = {_val_name(val, song): () for song in _lines_by_song(val)}
    for link in _links(lines, others, shared):
        song, other = (link.first, link.second) if link.first in lines else (link.second, link.first)
        yield "leak", Item(song, f"is {other}: {link.reason}", lines[song])
    for finding in val.findings:
        if finding.error:
            for item in finding.items:
                yield "val", Item(_val_name(val, item.name), KINDS[finding.kind].says, bad=item.bad)


def _links(songs: Mapping[str, Any], others: Mapping[str, Any], shared: list[Shared]) -> Iterator[_Link]:
    """Songs of the one and of the other that are one, by their names or by their sound."""
    names: dict[str, list[str]] = {}
    for other in others:
        names.setdefault(_name_key(other), []).append(other)
    for song in songs:
        for other in names.get(_name_key(song), ()):
            if song != other:
                yield _Link(song, other, "the same name")
    for one in shared:
        if one.same_recording and any(a in songs and b in others for a, b in ((one.first, one.second), (one.second, one.first))):
            yield _Link(one.first, one.second, f"the same recording, {one.share:.0%} of the clips")


def _name_key(song: str) -> str:
    """What is left of a song's name without folder, suffix, and case."""
    return plain_name(song.rpartition("/")[2]).casefold().strip()


def _lines_by_song(inspection: Inspection) -> dict[str, tuple[int, ...]]:
    songs: dict[str, tuple[int, ...]] = {}
    for line in inspection.folder.readable:
        songs[line.record.song] = (*songs.get(line.record.song, ()), line.number)
    return songs
