"""What an instruction asks for is decided by its verb."""

from __future__ import annotations

import pytest

from riff.pairs.instructions import DEFAULT_INSTRUCTIONS, NOTHING, kind_of_prompt, removals

KINDS = {
    "add": [
        "add a female vocal without vibrato",
        "add vocals, take the chorus out front",
        "Add a sad male vocal pop melody.",
        "please add a singer to this instrumental",
        "add an instrumental solo",
        "add a vocal after the drop",
        "add a voice that cuts through the mix, leave the reverb out",
        "gently add a choir, no drums",
        "sing a lullaby over it",
        "sing it without words",
        "put a rap verse on top of the instrumental",
        "insert a vocal hook",
        "Generate an uplifting female vocal rock melody",
        "create a duet",
        "layer a whispered voice over the silence",
        "drop in a vocal sample",
        "replace the singer with a soprano",
        "keep the backing and add a female vocal",
        "can you add some singing?",
        "take it slow and sing softly",
        "a female vocal without vibrato",
        "uplifting vocal after the drop",
        "make her sing",
        "bring the vocals in",
        "drop a female vocal over the beat",
        "a sad male vocal, no drums",
    ],
    "remove": [
        "remove the vocals",
        "make the vocals disappear",
        "turn the vocals down to zero",
        "karaoke version",
        "only the backing track",
        "separate the vocals from the music",
        "leave only the drums and bass",
        "add nothing, remove the voice",
        "a version without vocals",
        "Remove the female vocal and add nothing",
        "please mute the singer",
        "take the vocals out",
        "take out the drums",
        "take the voice away from the mix",
        "leave the singing out",
        "leave out the vocals and keep the rest",
        "get rid of the voice",
        "cut the vocals, add more bass",
        "strip the vocals from the song",
        "completely silence the drums",
        "turn the singer off",
        "turn off the vocals",
        "I want you to delete the lead vocal",
        "keep only the drums",
        "play it without the vocals",
        "make it instrumental",
        "Make it INSTRUMENTAL",
        "turn it into a version without any vocals",
        "no vocals",
        "the same song without singing",
        "an instrumental version",
        "the vocals should be removed",
        "drop the beat",
    ],
    "noop": [
        "",
        "nothing",
        "keep it as it is",
        "change nothing",
        "add nothing",
        "remove nothing",
        "add no vocals",
        "Do not change anything!",
        "don't remove the vocals",
        "don’t add anything",
        "leave it alone",
        "leave the vocals as they are",
        "no changes",
        "keep the song untouched",
        "make no changes to the vocals",
    ],
}


@pytest.mark.parametrize(("kind", "words"), [(kind, words) for kind, several in KINDS.items() for words in several])
def test_the_first_imperative_decides(kind: str, words: str) -> None:
    assert kind_of_prompt(words) == kind


def test_the_instructions_of_training_are_told_apart() -> None:
    assert {kind_of_prompt(words) for stem in DEFAULT_INSTRUCTIONS for words in removals(stem)} == {"remove"}
    assert {kind_of_prompt(words) for words in DEFAULT_INSTRUCTIONS.values()} == {"add"}
    assert {kind_of_prompt(words) for words in NOTHING} == {"noop"}
