"""What the prompts of a folder of pairs are: how many, how different, and whether a text encoder reads them to their ends."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from riff.data.pair_folders import PairFolder
from riff.data.records import DEFAULT_PROMPT
from riff.inspection.findings import Item
from riff.pairs.instructions import DEFAULT_INSTRUCTIONS

MOST_TOKENS = 75  # that CLIP reads, besides the two at the ends
COMMONEST = 10
PIECE = re.compile(r"[^\W\d_]+|\d|[^\s\w]+|_")  # what CLIP's tokenizer makes at least one token of each


def effective_number(counts: Sequence[int]) -> float:
    """exp of the entropy: as many equally frequent things would be as varied. At least 1; 0 of nothing."""
    shares = np.array([count for count in counts if count], dtype=float)
    if not len(shares):
        return 0.0
    shares /= shares.sum()
    return float(math.exp(-(shares * np.log(shares)).sum()))


def fewest_tokens(prompt: str) -> int:
    """The fewest tokens that CLIP's tokenizer can make of a prompt: one for each word, digit, and run of marks."""
    return len(PIECE.findall(prompt))


def prompt_facts(folder: PairFolder) -> dict[str, Any]:
    """Figures of the prompts; the commonest with their shares of the pairs, and the words with theirs."""
    prompts = [getattr(line.record, folder.kind.prompt) for line in folder.readable]
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
    """The commonest first, equally common ones by the alphabet."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most])


def prompt_items(folder: PairFolder) -> Iterator[tuple[str, Item]]:
    """What is wrong with the prompts."""
    lines = folder.readable
    prompts = [getattr(line.record, folder.kind.prompt) for line in lines]
    if lines and (said := low_variety(prompts, [line.record.song for line in lines])):
        yield "variety", Item("prompts", said)
    for song in _default_songs(folder):
        yield "default", Item(song, "")
    for line, prompt in zip(lines, prompts, strict=True):
        tokens = fewest_tokens(prompt)
        if not prompt.strip():
            yield "blank", Item(f"line {line.number}", "", (line.number,))
        elif tokens > MOST_TOKENS:
            yield "long", Item(prompt[:40] + "…", f"{tokens} tokens or more, {MOST_TOKENS} are read", (line.number,), tokens)


def _default_songs(folder: PairFolder) -> Iterator[str]:
    """Songs for which nobody wrote a prompt, as far as their words tell."""
    default = {DEFAULT_PROMPT, *DEFAULT_INSTRUCTIONS.values()}
    said: dict[str, set[str]] = {}
    for line in folder.readable:
        if getattr(line.record, "kind", "add") == "add":
            said.setdefault(line.record.song, set()).add(getattr(line.record, folder.kind.prompt))
    yield from sorted(song for song, prompts in said.items() if prompts <= default)


LARGEST_SHARE = 0.5  # of the pairs on one prompt: half of them train without a prompt anyway, so other words are rare beyond it
SONGS_TO_A_PROMPT = 10  # at the most: the voice, the mood and the style alone make more prompts than that


def low_variety(prompts: Sequence[str], songs: Sequence[str]) -> str:
    """What is wrong with the prompts of pairs, "" if nothing is: too few for the songs, or one that most pairs share.

    Of one or two songs nothing is said, since no wording could help them.

    Args:
        prompts, songs: of every pair.
    """
    counts, different_songs = Counter(prompts), len(set(songs))
    if different_songs <= 2:
        return ""
    share = max(counts.values()) / len(prompts)
    if share <= LARGEST_SHARE and len(counts) * SONGS_TO_A_PROMPT >= different_songs:
        return ""
    return (
        f"{len(prompts)} pairs of {different_songs} songs have {len(counts)} different prompt{'s' * (len(counts) > 1)}, "
        f"the commonest is on {share:.0%}: the model will hardly learn to follow words"
    )
