"""The experiment `prompts`: does the vocal, and the whole, become what the prompt says?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import librosa
import numpy as np

from riff.experiments.bench import Bench, Experiment, Result, Shown, mean_scores
from riff.experiments.control import ClipPictures, Scored, TrueClip
from riff.experiments.styles import StyleClassifier, style_of_prompt, with_style
from riff.metrics.edit import excess_image, judge
from riff.metrics.images import edge_scores
from riff.metrics.melody import register_obeyed, register_of_prompt
from riff.models.model_types import CONTROL
from riff.sampling.levels import match_level
from riff.sampling.options import options_for, without_control
from riff.spectrogram.edges import canny_edges
from riff.spectrogram.image import SpectrogramImage

METRICS = {
    "register_obeyed": "register obeyed",
    "register_shift": "pitch, female less male prompt, semitones",
    "style_obeyed": "whole: prompt's style",
    "style_of_song": "whole: song's style",
    "added_style_obeyed": "vocal: prompt's style",
    "performed": "vocal added, backing kept",
    "edge_f1": "edge F1",
}
JUDGED_AGAIN = "true mix, other prompts"
ROWS = {
    "own prompt": "the song's own prompt",
    "other register": "the other register",
    "other style": "another style",
    "no control, own prompt": "no control, the song's own prompt",
    "no control, other style": "no control, another style",
    "true mix": "true mix",
    JUDGED_AGAIN: "true mix, judged by the other prompts",
}
VOICES = (  # every word of REGISTER_WORDS with one for the other register; of two the first is said
    *(("female", "male"), ("woman", "man"), ("women", "men"), ("lady", "guy"), ("girl", "boy"), ("girls", "boys")),
    *(("soprano", "baritone"), ("soprano", "tenor")),
)


@dataclass(frozen=True)
class Styles:
    """What tells styles apart: by the whole picture, and by what was added to the accompaniment. names: of the styles."""

    names: Sequence[str]
    whole: StyleClassifier
    added: StyleClassifier

    @classmethod
    def learn(cls, clips: Sequence[TrueClip], styles: Sequence[str]) -> Styles:
        pictures = [ClipPictures(clip) for clip in clips]
        added = [excess_image(one.backing.pixels, one.mix.pixels) for one in pictures]
        wholes = [one.mix.pixels for one in pictures]
        return cls(sorted(set(styles)), StyleClassifier(wholes, styles), StyleClassifier(added, styles))

    def after(self, style: str) -> str:
        """The next style in alphabetical order, after the last one the first."""
        return self.names[(self.names.index(style) + 1) % len(self.names)]


def run_prompts(bench: Bench, steps: int, scale: float | None, strength: float | None, style_songs: str) -> Result:
    options = options_for(bench.model, scale, strength, steps=steps)
    styles, remarks = _learn_styles(bench, style_songs)
    if not any(register_of_prompt(clip.prompt) for clip in bench.clips):
        remarks.append("No prompt says whether a man or a woman sings, so the register's columns are empty.")
    scored, shown = [], []
    for pictures, seed in bench.pictures():
        prompts = _prompts(pictures.clip.prompt, styles)

        def draw(prompt: str, strength: float, pictures: ClipPictures = pictures, seed: int = seed) -> SpectrogramImage:
            chosen = options if strength else without_control(options)
            return match_level(bench.samples.control(pictures.edges, prompt, seed, chosen).pixels, pictures.backing)

        found = _score_song(pictures, prompts, styles, draw)
        scored += found
        shown += [Shown(one.clip, one.kind, _caption(one, prompts), one.image) for one in found if one.kind != JUDGED_AGAIN]
    return Result(asdict(options), scored, mean_scores(scored, tuple(METRICS)), shown, remarks)


def other_register(prompt: str) -> str | None:
    """The prompt with a man for the woman or the other way round; None where it names neither or both."""
    register = register_of_prompt(prompt)
    if register is None:
        return None
    swaps = {words[register == "male"]: words[register == "female"] for words in reversed(VOICES)}
    return re.sub(rf"\b({'|'.join(swaps)})\b", lambda match: swaps[match[0].lower()], prompt, flags=re.IGNORECASE)


def _prompts(own: str, styles: Styles | None) -> dict[str, str]:
    """The prompts that a song is asked with, by row."""
    prompts = {"own prompt": own}
    register, style = other_register(own), style_of_prompt(own)
    if register is not None:
        prompts["other register"] = register
    if styles is not None and style is not None and style in styles.names:
        prompts["other style"] = with_style(own, styles.after(style))
    return prompts


def _score_song(
    pictures: ClipPictures, prompts: dict[str, str], styles: Styles | None, draw: Callable[[str, float], SpectrogramImage]
) -> list[Scored]:
    drawn = {row: (draw(prompt, 1), prompt) for row, prompt in prompts.items()}
    drawn |= {f"no control, {row}": (draw(prompt, 0), prompt) for row, prompt in prompts.items() if row != "other register"}
    drawn["true mix"] = (pictures.mix, prompts["own prompt"])
    rows = {row: _score(pictures, picture, prompt, styles, "no control" in row) for row, (picture, prompt) in drawn.items()}
    rows[JUDGED_AGAIN] = _by_other_prompts(pictures, prompts, styles)
    if "other register" in rows:
        own, other = (rows[row].get("median_note", np.nan) for row in ("own prompt", "other register"))
        shift = own - other if register_of_prompt(prompts["own prompt"]) == "female" else other - own
        rows["other register"] |= {"register_shift": shift} if np.isfinite(shift) else {}
    images = {row: picture for row, (picture, _) in drawn.items()} | {JUDGED_AGAIN: pictures.mix}
    return [Scored(pictures.clip.name, row, images[row], scores) for row, scores in rows.items() if scores]


def _score(
    pictures: ClipPictures, picture: SpectrogramImage, prompt: str, styles: Styles | None, uncontrolled: bool
) -> dict[str, float]:
    """Whether a picture is what a prompt says; of what the base draws alone nothing was added to this accompaniment."""
    edges = canny_edges(picture.pixels, *pictures.canny)
    scores = {"edge_f1": edge_scores(edges, pictures.edges, tolerance=1, mask=pictures.outside).f1}
    style, true_style = style_of_prompt(prompt), style_of_prompt(pictures.clip.prompt)
    known = styles is not None and style in styles.names
    if styles is not None and known:
        heard = styles.whole(picture.pixels)
        scores |= {"style_obeyed": float(heard == style), "style_of_song": float(heard == true_style)}
    if uncontrolled:
        return scores
    verdict = judge("add", pictures.backing.pixels, picture.pixels)
    scores |= {"performed": float(verdict.performed)}
    if np.isfinite(verdict.scores.median_note):
        scores["median_note"] = verdict.scores.median_note
    obeyed = register_obeyed(prompt, verdict.scores.median_note)
    if obeyed is not None:
        scores["register_obeyed"] = float(obeyed)
    if styles is not None and known:
        added = excess_image(pictures.backing.pixels, picture.pixels)
        scores["added_style_obeyed"] = float(styles.added(added) == style)
    return scores


def _by_other_prompts(pictures: ClipPictures, prompts: dict[str, str], styles: Styles | None) -> dict[str, float]:
    """How often the truth passes for what was not asked for: the floor of every share."""
    wanted = {"other register": ("register_obeyed",), "other style": ("style_obeyed", "added_style_obeyed")}
    scores: dict[str, float] = {}
    for row, names in wanted.items():
        if row in prompts:
            found = _score(pictures, pictures.mix, prompts[row], styles, uncontrolled=False)
            scores |= {name: found[name] for name in names}
    return scores


def _learn_styles(bench: Bench, style_songs: str) -> tuple[Styles | None, list[str]]:
    """What tells the styles apart that are asked for, with a line that says how it was learnt or why it was not."""
    if not any(style_of_prompt(clip.prompt) for clip in bench.clips):
        return None, ["No prompt names one style, so the style's columns are empty."]
    measured = [clip.mix for clip in bench.clips]
    clips = [clip for clip in bench.load_clips(style_songs) if not any(np.array_equal(clip.mix, mix) for mix in measured)]
    styled = [(clip, style) for clip in clips if (style := style_of_prompt(clip.prompt))]
    names = sorted({style for _, style in styled})
    if len(names) < 2:
        return None, [f"The songs of --style_songs {style_songs} name fewer than two styles, so the style's columns are empty."]
    learnt = Styles.learn([clip for clip, _ in styled], [style for _, style in styled])
    said = f"Styles were learnt from {len(styled)} other clips ({', '.join(names)}); chance is {1 / len(names):.2f}."
    return learnt, [said]


def _caption(one: Scored, prompts: dict[str, str]) -> str:
    note, prompt = one.scores.get("median_note"), prompts.get(one.kind.removeprefix("no control, "))
    said = f': "{prompt}"' if prompt else ""
    sung = f", median pitch {librosa.midi_to_hz(note):.0f} Hz" if note is not None else ""
    return f"{ROWS[one.kind]}{said}{sung}"


EXPERIMENT = Experiment(
    name="prompts",
    question="Does the prompt count?",
    intro="The same songs and seeds with their own prompts, and with prompts that ask for another singer or another style.",
    kind=CONTROL,
    metrics=METRICS,
    rows=ROWS,
    note=(
        "Shares of songs that no model saw. The register is obeyed if the median pitch of what was added lies on the side of 233 "
        "Hz that the prompt asks for; singers' registers overlap, so the true mixes stay below 1. Styles are told by a logistic "
        "regression on the loudness of 32 bands, of the whole picture and of what was added to the accompaniment; the true mixes' "
        "row is its accuracy. Most of a style sits in the accompaniment, which the control keeps."
    ),
    flags=("steps", "scale", "strength", "style_songs"),
    run=run_prompts,
)
