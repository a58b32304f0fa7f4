"""Whether the prompts of a folder of pairs tell its songs apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

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
