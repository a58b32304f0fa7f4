"""The experiment `prompts`: prompts changed by a word, classifiers of styles, and what follows the prompt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from demo.evaluation import demo_clips
from demo.instructions import HELD_OUT_TEMPLATES, SINGERS, TRAINING_TEMPLATES
from demo.world.compose import prompt_for
from demo.world.styles import REGISTERS, STYLES
from riff.errors import DataError
from riff.experiments.clips import ReferenceClip
from riff.experiments.experiment import Evaluation, Result, load_evaluation
from riff.experiments.prompts import EXPERIMENT, METRICS, OTHER_PROMPTS, ROWS, Styles, other_register
from riff.experiments.styles import STYLE_WORDS, StyleClassifier, features, style_of_prompt, with_style
from riff.metrics.melody import register_of_prompt

MODEL = ROOT / "models" / "riff-cnet-mini"
FLAGS = {"style_songs": "demo:11"}
sentences = st.builds(
    lambda template, mood, style, gender, singer: template.format(mood=mood, style=style, gender=gender, singer=singer),
    st.sampled_from([*TRAINING_TEMPLATES, *HELD_OUT_TEMPLATES]),
    st.sampled_from(["sad", "uplifting"]),
    st.sampled_from(STYLE_WORDS),
    *[st.just(word) for word in ("female", "a woman")],
)


@pytest.fixture(scope="module")
def style_clips() -> list[ReferenceClip]:
    return demo_clips(7, 11)


@pytest.fixture(scope="module")
def evaluation(style_clips: list[ReferenceClip]) -> Evaluation:
    """Its songs to fit the styles to include the evaluated one, which must be left out."""
    clips = demo_clips(4, 2)[1:]
    ready = load_evaluation(str(MODEL), clips, steps=1)
    return replace(ready, load_clips=lambda songs: style_clips[: int(songs[5:])] + clips)


@pytest.fixture(scope="module")
def result(evaluation: Evaluation) -> Result:
    return EXPERIMENT.measure(evaluation, FLAGS)


@given(sentences)
def test_the_other_register_is_another_one_and_nothing_else_changes(sentence: str) -> None:
    other = other_register(sentence)
    if register_of_prompt(sentence) is None:
        assert other is None
        return
    assert other is not None
    assert {register_of_prompt(sentence), register_of_prompt(other)} == {"male", "female"}
    assert other_register(other) == sentence
    assert sum(a != b for a, b in zip(sentence.split(), other.split(), strict=True)) <= 2


@pytest.mark.parametrize("singer", [word for words in SINGERS.values() for word in words] + ["a soprano", "A TENOR", "girls"])
def test_every_word_for_a_singer_has_an_opposite(singer: str) -> None:
    assert register_of_prompt(other_register(f"let {singer} sing") or "") not in (None, register_of_prompt(singer))


def test_no_register_or_both_have_no_other() -> None:
    assert other_register("a sad song") is None
    assert other_register("a man and a woman") is None


@given(sentences, st.sampled_from(STYLE_WORDS))
def test_another_style_is_said_with_its_article(sentence: str, style: str) -> None:
    if style_of_prompt(sentence) is None:
        with pytest.raises(DataError, match="names no style"):
            with_style(sentence, style)
        return
    changed = with_style(sentence, style)
    assert style_of_prompt(changed) == style
    assert f"a {style}" not in changed or style[0] not in "aeiou"
    assert f"an {style}" not in changed or style[0] in "aeiou"


def test_the_demo_prompts_name_their_style_and_register() -> None:
    for style in STYLES:
        for gender in REGISTERS:
            prompt = prompt_for("sad", gender, style)
            assert (style_of_prompt(prompt), register_of_prompt(prompt)) == (style, gender)
    assert with_style("a pop song", "electronic") == "an electronic song"
    assert with_style("An electronic song", "rock") == "A rock song"
    assert style_of_prompt("a rocking pop-rock song") is None


def test_styles_differ_in_the_level_of_their_bands() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(150, 256, (20, 64, 40)).astype(np.uint8)
    images[::2, :20] -= 100
    styles = ["bright", "dull"] * 10
    classify = StyleClassifier(list(images[:10]), styles[:10])
    assert [classify(pixels) for pixels in images[10:]] == styles[10:]
    assert features(images[0]).shape == (96,)
    assert not features(np.full((512, 512), 255, np.uint8)).any()  # silence


def test_rows_and_columns(result: Result, evaluation: Evaluation) -> None:
    assert list(result.means) == list(ROWS)
    assert {name for row in result.means.values() for name in row} == {*METRICS, "clips"}
    assert "register_obeyed" not in result.means["no control, own prompt"]  # what it adds is no vocal over this backing
    captions = {one.row: one.caption for one in result.shown}
    assert set(captions) == set(ROWS) - {OTHER_PROMPTS}  # the true mix again
    assert f'"{other_register(evaluation.clips[0].prompt)}"' in captions["other register"]
    assert result.remarks == [f"Styles were learnt from 11 other clips ({', '.join(sorted(STYLES))}); chance is 0.09."]


def test_the_truth_obeys_its_own_prompt_and_not_the_others(result: Result) -> None:
    own, others = result.means["true mix"], result.means["true mix, other prompts"]
    assert own["register_obeyed"] == own["performed"] == own["style_obeyed"] == 1
    assert others["register_obeyed"] == others["style_obeyed"] == 0


def test_words_that_are_missing_leave_columns_empty_and_a_line_says_why(evaluation: Evaluation) -> None:
    (clip,) = evaluation.clips
    silent = EXPERIMENT.measure(replace(evaluation, clips=[replace(clip, prompt="a song")]), FLAGS)
    assert len(silent.remarks) == 2
    assert all("empty" in remark for remark in silent.remarks)
    assert set(silent.means) == {"own prompt", "no control, own prompt", "true mix"}
    assert not {"register_obeyed", "style_obeyed"} & {name for row in silent.means.values() for name in row}
    alike = EXPERIMENT.measure(evaluation, FLAGS | {"style_songs": "demo:1"})
    assert "fewer than two styles" in alike.remarks[0]
    assert "other register" in alike.means
    assert "other style" not in alike.means


def test_styles_are_classified_in_other_songs(style_clips: list[ReferenceClip]) -> None:
    styles = Styles.fit(style_clips, [style_of_prompt(clip.prompt) or "" for clip in style_clips])
    assert styles.names == sorted(STYLES)
    assert styles.after("rock") == "ballad"
    right = [styles.whole(clip.mix_image.pixels) == style_of_prompt(clip.prompt) for clip in demo_clips(4, 8)]
    assert sum(right) >= 3  # of 8, learnt from one song a style; chance is 0.7
