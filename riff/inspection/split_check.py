"""Songs on both sides of the split into training and validation, and songs under two names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from riff.audio.io import plain_name
from riff.data.datasets import split_by_song
from riff.inspection.duplicates import Match, find_matches
from riff.inspection.findings import Item, group_items
from riff.inspection.inspect import Inspection


class _Link(NamedTuple):
    """Two names of one song, and the reason to think so."""

    first: str
    second: str
    reason: str


def check_split(inspection: Inspection, val: Inspection | None, val_share: float) -> Inspection:
    """The inspection, completed by figures and findings of the split of its songs.

    Args:
        val: the validation set in a folder of its own; without one, songs are held out as in training (`split_by_song`).
        val_share: of the songs.
    """
    records = [line.record for line in inspection.folder.readable]
    training, held_out = (records, []) if val is not None else split_by_song(records, val_share)
    clips = dict(inspection.clips)
    if val is not None:
        held_out = [line.record for line in val.folder.readable]
        clips |= {_val_name(val, song): song_clips for song, song_clips in val.clips.items()}
    matches = find_matches(clips)
    items = [(finding.problem, item) for finding in inspection.findings for item in finding.items]
    items += _song_items(inspection, {record.song for record in held_out} if val is None else set(), matches)
    if val is not None:
        items += _val_items(inspection, val, matches)
    findings = group_items(items)
    counts = {finding.problem: len(finding.items) for finding in findings}
    split = {
        "training songs": len({record.song for record in training}),
        "training pairs": len(training),
        "validation songs": len({record.song for record in held_out}),
        "validation pairs": len(held_out),
        "songs on both sides": counts.get("leak", 0),
        "songs under two names": counts.get("copy", 0),
        "songs with clips in common": counts.get("shared", 0),
    }
    return replace(inspection, facts={**inspection.facts, "split": split}, findings=findings)


def _val_name(val: Inspection, song: str) -> str:
    """A name that differs from those of the training set."""
    return f"{val.folder.path}/{song}"


def _song_items(inspection: Inspection, held_out: set[str], matches: list[Match]) -> Iterator[tuple[str, Item]]:
    """Songs of one folder under two names; the name with the most pairs is kept."""
    lines = _lines_by_song(inspection)
    links: dict[str, dict[str, str]] = {}
    for link in _links(lines, lines, matches):
        links.setdefault(link.first, {})[link.second] = link.reason
        links.setdefault(link.second, {})[link.first] = link.reason
    kept: set[str] = set()
    for song in sorted(links, key=lambda song: (-len(lines[song]), song)):
        if not kept & links[song].keys():
            kept.add(song)
            continue
        across_split = sorted(linked for linked in links[song] if (linked in held_out) != (song in held_out))
        original = across_split[0] if across_split else sorted(kept & links[song].keys())[0]
        yield "leak" if across_split else "copy", Item(song, f"is {original}: {links[song][original]}", lines[song])
    for match in matches:
        if not match.same_recording and match.first in lines and match.second in lines:
            count = len(match.first_clips)
            yield "shared", Item(f"{match.first} and {match.second}", f"clips: {count}", severity=count)


def _val_items(inspection: Inspection, val: Inspection, matches: list[Match]) -> Iterator[tuple[str, Item]]:
    """Songs of the training set that the validation set holds too, and errors of the validation set."""
    lines = _lines_by_song(inspection)
    for link in _links(lines, [_val_name(val, song) for song in _lines_by_song(val)], matches):
        song, copy = (link.first, link.second) if link.first in lines else (link.second, link.first)
        yield "leak", Item(song, f"is {copy}: {link.reason}", lines[song])
    for finding in val.findings:
        if finding.error:
            for item in finding.items:
                yield "val", Item(_val_name(val, item.name), finding.label, severity=item.severity)


def _links(songs: Collection[str], candidates: Collection[str], matches: list[Match]) -> Iterator[_Link]:
    """Songs that equal a candidate, by their names or by their sound."""
    by_name: dict[str, list[str]] = {}
    for candidate in candidates:
        by_name.setdefault(_name_key(candidate), []).append(candidate)
    for song in songs:
        for candidate in by_name.get(_name_key(song), ()):
            if song != candidate:
                yield _Link(song, candidate, "the same name")
    for match in matches:
        orders = ((match.first, match.second), (match.second, match.first))
        if match.same_recording and any(first in songs and second in candidates for first, second in orders):
            yield _Link(match.first, match.second, f"the same recording, {match.share:.0%} of the clips")


def _name_key(song: str) -> str:
    """A song's name without folder, suffix, and case."""
    return plain_name(song.rpartition("/")[2]).casefold().strip()


def _lines_by_song(inspection: Inspection) -> Mapping[str, tuple[int, ...]]:
    songs: dict[str, tuple[int, ...]] = {}
    for line in inspection.folder.readable:
        songs[line.record.song] = (*songs.get(line.record.song, ()), line.number)
    return songs
