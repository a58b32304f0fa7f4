"""The instructions of the demo's songs: many, grammatical, true, and the held-out ones apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Formatter

import pytest
from conftest import run_script
from hypothesis import given
from hypothesis import strategies as st

from demo.instructions import HELD_OUT_TEMPLATES, SINGERS, TRAINING_TEMPLATES, instructions, moods_like
from demo.world.styles import MOODS, STYLES
from riff.pairs.instructions import read_edit_prompts

OTHER_REGISTER = {"female": r"\b(male|man|guy)\b", "male": r"\b(female|woman|lady)\b"}
WORDS = {word for words in MOODS.values() for word in words}
FACTS = st.fixed_dictionaries(
    {"gender": st.sampled_from(sorted(SINGERS)), "mood": st.sampled_from(sorted(WORDS)), "style": st.sampled_from(sorted(STYLES))}
)


def test_templates_are_many_and_the_held_out_ones_are_others() -> None:
    assert len(set(TRAINING_TEMPLATES)) >= 12
    assert len(set(HELD_OUT_TEMPLATES)) >= 4
    assert not set(TRAINING_TEMPLATES) & set(HELD_OUT_TEMPLATES)
    for template in TRAINING_TEMPLATES + HELD_OUT_TEMPLATES:
        fields = {name for _, name, *_ in Formatter().parse(template) if name}
        assert fields & {"gender", "singer"}, template  # without the register the edit is anybody's guess
        assert "mood" in fields or "style" in fields, template


@given(FACTS, st.text(max_size=9), st.integers(1, 12), st.sampled_from([TRAINING_TEMPLATES, HELD_OUT_TEMPLATES]))
def test_instructions_are_true_different_and_in_good_grammar(
    facts: dict[str, str], name: str, count: int, templates: tuple[str, ...]
) -> None:
    lines = instructions(facts, name, count, templates)
    assert len(set(lines)) == len(lines) == count
    for line in lines:
        assert not re.search(OTHER_REGISTER[facts["gender"]], line), line
        false = set(STYLES) - {facts["style"]} | WORDS - set(moods_like(facts["mood"]))
        assert not false & set(re.findall(r"\w+", line)), line
        assert not re.search(r"\b[aA] [aeiou]|\b[aA]n [^aeiou]|[{}]|  ", line), line


def test_a_song_has_its_own_instructions_whatever_else_is_made() -> None:
    facts = {"gender": "male", "mood": "sad", "style": "reggae"}
    assert instructions(facts, "a") == instructions(facts, "a")
    assert instructions(facts, "a", 3) == instructions(facts, "a", 6)[:3]
    assert instructions(facts, "a") != instructions(facts, "b")
    assert instructions(facts, "a") != instructions(facts, "a", seed=1)
    many = {line for number in range(300) for line in instructions(facts, f"song {number}")}
    assert len(many) > 100


def test_moods_that_are_true_together() -> None:
    assert set(moods_like("sad")) == {"melancholic", "sad", "wistful"}
    with pytest.raises(KeyError):
        moods_like("bored")


def test_songs_come_with_instructions(tmp_path: Path) -> None:
    flags = ("--num_songs", 2, "--seconds", 1, "--output", tmp_path, "--num_workers", 1)
    run_script("demo/make_songs.py", *flags)
    assert not (tmp_path / "edit_prompts.json").exists()
    run_script("demo/make_songs.py", *flags, "--edit_prompts", 5)
    prompts = read_edit_prompts(tmp_path / "edit_prompts.json")
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert {song: instructions(facts[song], song, 5) for song in facts} == prompts
