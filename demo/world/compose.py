"""Songs with known stems: real voices and instruments, eleven styles, all drawn from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo.song import Rng, Song, seconds_to_samples
from demo.world.band import play_bass, play_drums, play_part
from demo.world.effects import amplify
from demo.world.form import Plan, plan
from demo.world.melody import TuneNote
from demo.world.mix import Sound, mix
from demo.world.singer import Voice
from demo.world.styles import METERS, MOODS, STYLES, Groove, Style
from demo.world.vocals import perform, write_vocals

COMMON_TIME = 0.7  # share of songs in four of a style that has other meters
GENERATION = 2  # of these songs; begins their random numbers
HARMONISED, DOUBLED = 0.15, 0.2  # shares of songs
DESCRIBED = 0.5  # share of prompts that say more than mood, gender and style


@dataclass(frozen=True)
class Score:
    """What is played, before anything sounds; `facts` and `words` are what may be said of it."""

    plan: Plan
    style: Style
    groove: Groove
    lively: bool
    voice: Voice
    tune: list[TuneNote]
    harmony: bool
    double: bool
    facts: dict[str, str | float | int]
    prompt: str


def compose(seed: int, index: int, seconds: float, voice: Voice | None = None) -> Song:
    """Song number `index` of the catalogue `seed`, the same on every machine; styles take turns.

    Args:
        voice: sings in place of the song's own singer, in the register of its gender; the song is otherwise the same.
    """
    writer, band, singer, desk = (np.random.default_rng([GENERATION, seed, index, stream]) for stream in range(4))
    score = write_score(writer, list(STYLES)[index % len(STYLES)], seconds, voice)
    samples = seconds_to_samples(seconds)
    stems = play(band, score, samples)
    rapped = score.style.singing[0] == "rap"
    stems["vocals"] = perform(singer, score.tune, score.plan, score.voice, samples, score.harmony, score.double, rapped)
    beat = score.plan.step * score.plan.meter.steps_a_beat
    sound = Sound.random(desk, score.style.drive, lush=score.facts["style"] == "ballad")
    name = f"{str(score.facts['style']).replace(' ', '-')}-{index:04d}"
    return Song(name, score.prompt, mix(stems, sound, beat, desk), score.facts)


def write_score(rng: Rng, style_name: str, seconds: float, voice: Voice | None = None) -> Score:
    style = STYLES[style_name]
    mode, lively = str(rng.choice(["major", "minor"])), bool(rng.random() < 0.5)
    gender, mood = str(rng.choice(["male", "female"])), str(rng.choice(MOODS[mode, lively]))
    slow, fast = style.tempo
    middle = (slow + fast) / 2
    tempo = float(rng.uniform(middle, fast) if lively else rng.uniform(slow, middle))
    others = [name for name in style.grooves if name != "4/4"]
    meter = METERS[str(rng.choice(others)) if others and rng.random() > COMMON_TIME else "4/4"]
    gender = voice.gender if voice else gender
    tonic = int(rng.integers(48, 60))
    beats = tempo / 1.5 if meter.name == "6/8" else tempo  # dotted quarters are counted
    own, density = Voice.random(gender, rng), style.singing[int(lively)]
    voice = voice or own
    harmony, double, described = (bool(rng.random() < chance) for chance in (HARMONISED, DOUBLED, DESCRIBED))
    facts: dict[str, str | float | int] = {
        "gender": gender,
        "style": style_name,
        "mood": mood,
        "mode": mode,
        "tempo": round(beats, 1),
        "tonic": tonic,
        "meter": meter.name,
        "words": ", ".join(true_words(voice, beats, density, harmony)),
    }
    prompt = prompt_for(mood, gender, style_name) + (f", {facts['words']}" if described else "")
    form = plan(rng, style, meter, mode, beats, tonic, seconds)  # from here on the length counts
    tune = write_vocals(rng, form, density, gender)
    return Score(form, style, style.grooves[meter.name], lively, voice, tune, harmony, double, facts, prompt)


def prompt_for(mood: str, gender: str, style: str) -> str:
    article = "an" if mood[0] in "aeiou" else "a"
    return f"Generate {article} {mood} {gender} vocal {style} melody"


def true_words(voice: Voice, tempo: float, density: str, harmony: bool) -> list[str]:
    """What else is true of a singer and a song."""
    return [
        "slow" if tempo < 80 else "fast" if tempo > 120 else "mid-tempo",
        *(["breathy voice"] if voice.breath > 5 else ["clear voice"] if voice.breath < -1 else []),
        *(["bright"] if voice.brightness > 2 else ["warm"] if voice.brightness < -0.3 else []),
        *(["with vibrato"] if voice.vibrato_depth > 0.45 and density != "rap" else []),
        *(["with harmonies"] if harmony else []),
    ]


def play(rng: Rng, score: Score, samples: int) -> dict[str, np.ndarray]:
    """The band's stems before they are mixed: float64, shape (2, samples)."""
    style, groove, form = score.style, score.groove, score.plan
    singing = [(note.step, note.step + note.length) for note in score.tune]
    other = np.zeros((2, samples))
    for part in style.parts:
        if rng.random() < part.chance:
            wave = play_part(rng, part, groove, form, samples, singing)
            if style.amplifier and part.playing == "power":
                wave = amplify(wave, style.amplifier)
            other += 10 ** (part.level / 20) * wave
    return {
        "drums": 10 ** (style.drum_level / 20) * play_drums(rng, style, groove, form, samples, score.lively),
        "bass": 10 ** (style.bass_level / 20) * play_bass(rng, style, groove, form, samples),
        "other": other,
    }
