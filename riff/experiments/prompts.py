"""The experiment `prompts`: do the vocal and the mix become what the prompt says?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import librosa
import numpy as np

from riff.experiments.clips import ReferenceClip
from riff.experiments.experiment import Evaluation, Experiment, Result, ScoredImage
from riff.experiments.styles import StyleClassifier, style_of_prompt, with_style
from riff.metrics.edit import excess_image, judge
from riff.metrics.images import edge_scores
from riff.metrics.melody import register_obeyed, register_of_prompt
from riff.models.model_types import CONTROL
from riff.sampling.levels import match_level
from riff.sampling.options import without_control
from riff.spectrogram.edges import canny_edges
from riff.spectrogram.image import SpectrogramImage

METRICS = {
    "register_obeyed": "register obeyed",
    "register_shift": "pitch, female minus male prompt, semitones",
    "style_obeyed": "mix: prompt's style",
    "style_of_song": "mix: song's style",
    "added_style_obeyed": "vocal: prompt's style",
    "performed": "performed",
    "edited": "vocal added, backing kept",
    "edge_f1": "edge F1",
}
OTHER_PROMPTS = "true mix, other prompts"
NO_CONTROL = "no control, "
ROWS = {
    "own prompt": "the song's own prompt",
    "other register": "the other register",
    "other style": "another style",
    "no control, own prompt": "no control, the song's own prompt",
    "no control, other style": "no control, another style",
    "true mix": "true mix",
    OTHER_PROMPTS: "true mix, scored by the other prompts",
}
OPPOSITES = (  # every word of REGISTER_WORDS with one for the other register; of two the first is used
    *(("female", "male"), ("woman", "man"), ("women", "men"), ("lady", "guy"), ("girl", "boy"), ("girls", "boys")),
    *(("soprano", "baritone"), ("soprano", "tenor")),
)


@dataclass(frozen=True)
class Styles:
    """Classifiers of styles: by the whole image, and by what was added to the accompaniment. names: of the styles."""

    names: Sequence[str]
    whole: StyleClassifier
    added: StyleClassifier

    @classmethod
    def fit(cls, clips: Sequence[ReferenceClip], styles: Sequence[str]) -> Styles:
        mixes = [clip.mix_image.pixels for clip in clips]
        added = [excess_image(clip.accompaniment_image.pixels, clip.mix_image.pixels) for clip in clips]
        return cls(sorted(set(styles)), StyleClassifier(mixes, styles), StyleClassifier(added, styles))

    def after(self, style: str) -> str:
        """The next style in alphabetical order, after the last one the first."""
        return self.names[(self.names.index(style) + 1) % len(self.names)]


def run_prompts(evaluation: Evaluation, style_songs: str) -> Result:
    options = evaluation.control_options
    styles, remarks = _fit_styles(evaluation, style_songs)
    if not any(register_of_prompt(clip.prompt) for clip in evaluation.clips):
        remarks.append("No prompt says whether a man or a woman sings, so the register's columns are empty.")
    scored = []
    for clip, seed in evaluation.seeded_clips():
        prompts = _prompts(clip.prompt, styles)
        images = {}
        for prefix, prefix_options in (("", options), (NO_CONTROL, without_control(options))):
            for row, prompt in prompts.items():
                if prefix + row in ROWS:
                    pixels = evaluation.samples.control(clip.edges, prompt, seed, prefix_options).pixels
                    images[prefix + row] = match_level(pixels, clip.accompaniment_image)
        scored += _score_clip(clip, images | {"true mix": clip.mix_image}, prompts, styles)
    return Result(asdict(options), scored, remarks=remarks)


def other_register(prompt: str) -> str | None:
    """The prompt with a man in place of a woman or the reverse; None where it names neither or both."""
    register = register_of_prompt(prompt)
    if register is None:
        return None
    swaps = {words[register == "male"]: words[register == "female"] for words in reversed(OPPOSITES)}
    return re.sub(rf"\b({'|'.join(swaps)})\b", lambda match: swaps[match[0].lower()], prompt, flags=re.IGNORECASE)


def _prompts(own: str, styles: Styles | None) -> dict[str, str]:
    """A song's prompts, by row."""
    prompts = {"own prompt": own}
    register, style = other_register(own), style_of_prompt(own)
    if register is not None:
        prompts["other register"] = register
    if styles is not None and style is not None and style in styles.names:
        prompts["other style"] = with_style(own, styles.after(style))
    return prompts


def _score_clip(
    clip: ReferenceClip, images: dict[str, SpectrogramImage], prompts: dict[str, str], styles: Styles | None
) -> list[ScoredImage]:
    """Score the image of every row by its prompt, and the true mix by the other prompts as well."""
    prompt_of_row = {row: prompts.get(row.removeprefix(NO_CONTROL), clip.prompt) for row in images}
    rows = {row: _score(clip, image, prompt_of_row[row], styles, row.startswith(NO_CONTROL)) for row, image in images.items()}
    if "other register" in rows:
        own, other = (rows[row].get("median_note", np.nan) for row in ("own prompt", "other register"))
        shift = own - other if register_of_prompt(clip.prompt) == "female" else other - own
        rows["other register"] |= {"register_shift": shift} if np.isfinite(shift) else {}
    scored = []
    for row, scores in rows.items():
        prompt = f': "{prompt_of_row[row]}"' if row != "true mix" else ""
        note = scores.get("median_note")
        pitch = f", median pitch {librosa.midi_to_hz(note):.0f} Hz" if note is not None else ""
        scored.append(ScoredImage(clip.name, row, images[row], scores, f"{ROWS[row]}{prompt}{pitch}"))
    by_other_prompts = _by_other_prompts(clip, prompts, styles)
    return scored + ([ScoredImage(clip.name, OTHER_PROMPTS, clip.mix_image, by_other_prompts)] if by_other_prompts else [])


def _score(
    clip: ReferenceClip, image: SpectrogramImage, prompt: str, styles: Styles | None, uncontrolled: bool = False
) -> dict[str, float]:
    """Whether an image is what a prompt says; a sample without control adds nothing to this accompaniment."""
    scores = {"edge_f1": edge_scores(canny_edges(image.pixels), clip.edges, tolerance=1, mask=clip.outside).f1}
    style = style_of_prompt(prompt)
    if styles is not None and style in styles.names:
        found = styles.whole(image.pixels)
        scores |= {"style_obeyed": float(found == style), "style_of_song": float(found == style_of_prompt(clip.prompt))}
    if uncontrolled:
        return scores
    verdict = judge("add", clip.accompaniment_image.pixels, image.pixels)
    scores |= verdict.shares
    if np.isfinite(verdict.scores.median_note):
        scores["median_note"] = verdict.scores.median_note
    obeyed = register_obeyed(prompt, verdict.scores.median_note)
    if obeyed is not None:
        scores["register_obeyed"] = float(obeyed)
    if styles is not None and style in styles.names:
        added = excess_image(clip.accompaniment_image.pixels, image.pixels)
        scores["added_style_obeyed"] = float(styles.added(added) == style)
    return scores


def _by_other_prompts(clip: ReferenceClip, prompts: dict[str, str], styles: Styles | None) -> dict[str, float]:
    """How often the true mix matches a prompt that it was not made for: the floor of every share."""
    metrics = {"other register": ("register_obeyed",), "other style": ("style_obeyed", "added_style_obeyed")}
    scores: dict[str, float] = {}
    for row, names in metrics.items():
        if row in prompts:
            found = _score(clip, clip.mix_image, prompts[row], styles)
            scores |= {name: found[name] for name in names}
    return scores


def _fit_styles(evaluation: Evaluation, style_songs: str) -> tuple[Styles | None, list[str]]:
    """Classifiers of the styles in the prompts, with a remark on how they were fitted, or why there are none."""
    if not any(style_of_prompt(clip.prompt) for clip in evaluation.clips):
        return None, ["No prompt names one style, so the style's columns are empty."]
    evaluated = [clip.mix for clip in evaluation.clips]
    clips = [clip for clip in evaluation.load_clips(style_songs) if not any(np.array_equal(clip.mix, mix) for mix in evaluated)]
    styled = [(clip, style) for clip in clips if (style := style_of_prompt(clip.prompt))]
    names = sorted({style for _, style in styled})
    if len(names) < 2:
        return None, [f"The songs of {style_songs} name fewer than two styles, so the style's columns are empty."]
    styles = Styles.fit([clip for clip, _ in styled], [style for _, style in styled])
    return styles, [f"Styles were learnt from {len(styled)} other clips ({', '.join(names)}); chance is {1 / len(names):.2f}."]


EXPERIMENT = Experiment(
    name="prompts",
    question="Does the prompt matter?",
    intro="The same songs and seeds with their own prompts, and with prompts that ask for another singer or another style.",
    model_types=(CONTROL,),
    metrics=METRICS,
    rows=ROWS,
    note=(
        "Shares of songs that are in no training data. The register is obeyed if the median pitch of what was added lies on the "
        "side of 233 Hz that the prompt asks for; singers' registers overlap, so the true mixes stay below 1. Styles are "
        "classified by logistic regression on the level in 32 bands, of the whole image and of what was added to the "
        "accompaniment; the true mixes' row is its accuracy. Most of a style sits in the accompaniment, which the control "
        "keeps."
    ),
    run=run_prompts,
)
