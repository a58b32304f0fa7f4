"""Prompts that are longer than a text encoder reads: the words that are left out are said, not dropped silently."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from riff.cli import warn

SHOWN = 80  # characters of what is left out


def words_left_out(tokenizer: Any, texts: Iterable[str]) -> dict[str, str]:
    """The texts of more tokens than `tokenizer.model_max_length`, each with the words that truncation drops, as it spells them."""
    limit, unique = tokenizer.model_max_length, list(dict.fromkeys(texts))
    tokens = dict(zip(unique, tokenizer(unique, verbose=False).input_ids if unique else [], strict=True))
    # The last token that is kept is the mark of the text's end.
    return {text: tokenizer.decode(own[limit - 1 : -1]).strip() for text, own in tokens.items() if len(own) > limit}


def warn_of_long(tokenizer: Any, texts: Iterable[str]) -> None:
    """Say once for each set of texts which of their words are left out; nothing where all are read."""
    if tails := words_left_out(tokenizer, texts):
        first = next(iter(tails.values()))
        shown = first if len(first) <= SHOWN else f"{first[:SHOWN]}..."
        many = f"{len(tails)} prompts are" if len(tails) > 1 else "the prompt is"
        which = "of the first, this is left out" if len(tails) > 1 else "this is left out"
        _warn_once(f'{many} longer than the {tokenizer.model_max_length} tokens that the model reads; {which}: "{shown}"')


@cache
def _warn_once(message: str) -> None:
    """A prompt is embedded for every take, and said once."""
    warn(message)
