"""Statistics of the prompts of a folder of pairs: how many, how varied, and whether they fit into the text encoder."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from riff.data.records import DEFAULT_PROMPT
from riff.inspection.findings import Item
from riff.inspection.folder import InspectedFolder
from riff.pairs.instructions import DEFAULT_INSTRUCTIONS

MAX_TOKENS = 75  # that CLIP reads, besides the start and end tokens
COMMONEST = 10
PIECE = re.compile(r"[^\W\d_]+|\d|[^\s\w]+|_")  # CLIP's tokenizer makes at least one token of each match


def effective_number(counts: Sequence[int]) -> float:
    """exp of the entropy: the number of equally frequent things with the same entropy. At least 1; 0 of nothing."""
    shares = np.array([count for count in counts if count], dtype=float)
    if not len(shares):
        return 0.0
    shares /= shares.sum()
    return float(math.exp(-(shares * np.log(shares)).sum()))


def fewest_tokens(prompt: str) -> int:
    """A lower bound of CLIP's number of tokens: one for each word, digit, and run of punctuation marks."""
    return len(PIECE.findall(prompt))


def prompt_facts(folder: InspectedFolder) -> dict[str, Any]:
    """Figures of the prompts, and the commonest prompts and words with their numbers of pairs."""
    prompts = [folder.prompt(line) for line in folder.readable]
    counts = Counter(prompts)
    words = Counter(word for prompt in prompts for word in set(re.findall(r"[^\W\d_]+", prompt.lower())))
    return {
        "different": len(counts),
        "effective number": round(effective_number(list(counts.values())), 1),
        "on the commonest": round(max(counts.values(), default=0) / max(1, len(prompts)), 4),
        "different words": len(words),
        "most tokens, at least": max(map(fewest_tokens, counts), default=0),
        "songs with the default prompt": sum(1 for _ in _default_songs(folder)),
        "commonest": _commonest(counts, COMMONEST),
        "words that not all have": _commonest({word: count for word, count in words.items() if count < len(prompts)}, COMMONEST),
    }


def _commonest(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """The commonest first; of equal counts, in alphabetical order."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most])


def prompt_items(folder: InspectedFolder) -> Iterator[tuple[str, Item]]:
    """What is wrong with the prompts."""
    lines = folder.readable
    prompts = [folder.prompt(line) for line in lines]
    if lines and (reason := low_variety(prompts, [line.record.song for line in lines])):
        yield "variety", Item("prompts", reason)
    for song in _default_songs(folder):
        yield "default", Item(song, "")
    for line, prompt in zip(lines, prompts, strict=True):
        tokens = fewest_tokens(prompt)
        if not prompt.strip():
            yield "blank", Item(f"line {line.number}", "", (line.number,))
        elif tokens > MAX_TOKENS:
            yield "long", Item(prompt[:40] + "…", f"at least {tokens} tokens, {MAX_TOKENS} are read", (line.number,), tokens)


def _default_songs(folder: InspectedFolder) -> Iterator[str]:
    """Songs whose prompts are all default ones."""
    default = {DEFAULT_PROMPT, *DEFAULT_INSTRUCTIONS.values()}
    by_song: dict[str, set[str]] = {}
    for line in folder.readable:
        if getattr(line.record, "kind", "add") == "add":
            by_song.setdefault(line.record.song, set()).add(folder.prompt(line))
    yield from sorted(song for song, prompts in by_song.items() if prompts <= default)


LARGEST_SHARE = 0.5  # of the pairs on one prompt: half of them train without a prompt anyway, so beyond it other words are rare
MAX_SONGS_PER_PROMPT = 10  # voice, mood and style alone make more different prompts than that


def low_variety(prompts: Sequence[str], songs: Sequence[str]) -> str:
    """Why a model cannot learn to follow the prompts: too few for the songs, or one that most pairs share; "" for none.

    One or two songs give no reason, since no wording could help them.

    Args:
        prompts, songs: of every pair.
    """
    counts, different_songs = Counter(prompts), len(set(songs))
    if different_songs <= 2:
        return ""
    share = max(counts.values()) / len(prompts)
    if share <= LARGEST_SHARE and len(counts) * MAX_SONGS_PER_PROMPT >= different_songs:
        return ""
    return (
        f"{len(prompts)} pairs of {different_songs} songs have {len(counts)} different prompt{'s' * (len(counts) > 1)}, "
        f"the commonest is on {share:.0%}: the model will hardly learn to follow words"
    )
