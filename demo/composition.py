"""Songs with known stems: five styles, two singers' registers, four moods, all drawn from one seed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from demo.instruments import SAMPLE_RATE, Rng, Timbre, drum_kit, seconds_to_samples, timbre, tone
from demo.song import Song
from demo.voice import Singer, Syllable, sing

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 3, 4, 3), (0, 3, 0, 4), (0, 2, 3, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 6), (0, 5, 3, 4), (0, 2, 6, 3)),
}
MOODS = {  # (mode, lively?) -> the words that are true of it
    ("major", True): ("uplifting", "happy", "cheerful"),
    ("major", False): ("mellow", "calm", "gentle"),
    ("minor", True): ("intense", "dark", "fierce"),
    ("minor", False): ("melancholic", "sad", "wistful"),
}
REGISTERS = {"male": (45, 62), "female": (57, 74)}  # MIDI notes: 110-294 Hz and 220-587 Hz
STEPS = 16  # sixteenths in a bar


@dataclass(frozen=True)
class Style:
    """A style's habits. A pattern is 16 characters, one a sixteenth; several patterns are variants to draw from."""

    tempo: tuple[float, float]  # beats a minute
    drums: tuple[dict[str, str], ...]
    lively_drums: dict[str, str]  # joins when the song is lively
    bass: str
    bass_patterns: tuple[str, ...]
    chords: str
    chord_patterns: tuple[str, ...]  # x short, o held to the next mark
    layer: str  # a second instrument: held chords, or an arpeggio
    arpeggio: bool
    levels: tuple[float, float, float, float] = field(default=(1.0, 0.7, 0.6, 0.4))  # drums, bass, chords, layer


STYLES: dict[str, Style] = {
    "pop": Style(
        tempo=(96, 124),
        drums=(
            {"kick": "x.....x.x.......", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
            {"kick": "x.......x.x.....", "snare": "....x.......x..x", "hat": "x.x.x.x.x.x.x.x."},
        ),
        lively_drums={"shaker": "xxxxxxxxxxxxxxxx"},
        bass="bass",
        bass_patterns=("o...o...o...o...", "o.....o.o.....o."),
        chords="piano",
        chord_patterns=("o...o...o...o...", "o.....o...o.....", "o..o..o...o..o.."),
        layer="pad",
        arpeggio=False,
    ),
    "rock": Style(
        tempo=(118, 156),
        drums=(
            {"kick": "x.x.....x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
            {"kick": "x.....x.x.....x.", "snare": "....x.......x...", "open hat": "x...x...x...x..."},
        ),
        lively_drums={"crash": "x..............."},
        bass="bass",
        bass_patterns=("o.o.o.o.o.o.o.o.", "o...o.o.o...o.o."),
        chords="power",
        chord_patterns=("o.......o.......", "o.x.x.o.x.x.o.x.", "o...x.x.o...x.x."),
        layer="guitar",
        arpeggio=True,
        levels=(0.9, 0.7, 0.9, 0.5),
    ),
    "reggae": Style(
        tempo=(68, 92),
        drums=(
            {"kick": "........x.......", "rim": "........x.......", "hat": "x.x.x.x.x.x.x.x."},
            {"kick": "x.......x.......", "rim": "....x...x.......", "hat": "..x...x...x...x."},
        ),
        lively_drums={"shaker": "x.xxx.xxx.xxx.xx"},
        bass="bass",
        bass_patterns=("o..o..o.....o...", "o.....o..o..o.o."),
        chords="organ",
        chord_patterns=("....x.......x...", "..x...x...x...x.", "....xx......xx.."),
        layer="guitar",
        arpeggio=True,
        levels=(0.8, 0.9, 1.3, 0.5),
    ),
    "electronic": Style(
        tempo=(116, 134),
        drums=(
            {"kick": "x...x...x...x...", "clap": "....x.......x...", "open hat": "..x...x...x...x."},
            {"kick": "x...x...x...x...", "clap": "....x.......x.x.", "hat": "x.xxx.xxx.xxx.xx"},
        ),
        lively_drums={"hat": "xxxxxxxxxxxxxxxx"},
        bass="synth bass",
        bass_patterns=("..o...o...o...o.", "x.xxx.xxx.xxx.xx"),
        chords="saw",
        chord_patterns=("x..x..x..x..x.x.", "x...x..x..x.x..."),
        layer="saw",
        arpeggio=True,
        levels=(0.9, 0.7, 1.0, 0.7),
    ),
    "ballad": Style(
        tempo=(58, 80),
        drums=(
            {"kick": "x.......x.......", "rim": "....x.......x..."},
            {"kick": "x.........x.....", "rim": "....x.......x...", "hat": "x...x...x...x..."},
        ),
        lively_drums={"hat": "x.x.x.x.x.x.x.x."},
        bass="bass",
        bass_patterns=("o.......o.......", "o.........o..o.."),
        chords="piano",
        chord_patterns=("o.......o.......", "o...o...o...o..."),
        layer="strings",
        arpeggio=False,
        levels=(0.6, 0.7, 1.3, 0.8),
    ),
}


def prompt_for(mood: str, gender: str, style: str) -> str:
    article = "an" if mood[0] in "aeiou" else "a"
    return f"Generate {article} {mood} {gender} vocal {style} melody"


def compose(seed: int, index: int, seconds: float) -> Song:
    """Song number `index` of the catalogue `seed`, the same on every machine; styles take turns."""
    rng = np.random.default_rng([seed, index])
    style_name = list(STYLES)[index % len(STYLES)]
    style = STYLES[style_name]
    mode, lively = str(rng.choice(["major", "minor"])), bool(rng.random() < 0.5)
    gender = str(rng.choice(["male", "female"]))
    mood = str(rng.choice(MOODS[mode, lively]))
    slow, fast = style.tempo
    middle = (slow + fast) / 2
    tempo = float(rng.uniform(middle, fast) if lively else rng.uniform(slow, middle))
    score = _Score(rng, style, mode, lively, tempo, tonic=int(rng.integers(48, 60)), seconds=seconds)
    stems = {"drums": score.drums(), "bass": score.bass(), "other": score.other(), "vocals": score.vocals(gender)}
    name = f"{style_name}-{index:04d}"
    facts: dict[str, str | float | int] = {
        "gender": gender,
        "style": style_name,
        "mood": mood,
        "mode": mode,
        "tempo": round(tempo, 1),
        "tonic": score.tonic,
    }
    return Song(name, prompt_for(mood, gender, style_name), _balance(stems, rng), facts)


def _balance(stems: dict[str, np.ndarray], rng: Rng) -> dict[str, np.ndarray]:
    """Set the singer 0 to 4 dB above the band where both sound, and leave 2 dB of headroom in the mix."""
    band = stems["drums"] + stems["bass"] + stems["other"]
    voice = stems["vocals"]
    singing = np.abs(voice).max(axis=0) > 0.02
    if singing.any():
        ratio = np.sqrt(np.mean(band[:, singing] ** 2) / np.mean(voice[:, singing] ** 2))
        stems["vocals"] = voice * ratio * 10 ** (rng.uniform(0, 4) / 20)
    peak = np.abs(sum(stems.values())).max()
    return {stem: (wave * (0.8 / peak)).astype(np.float32) for stem, wave in stems.items()}


class _Score:
    """The song being written: everything that its parts have in common."""

    def __init__(self, rng: Rng, style: Style, mode: str, lively: bool, tempo: float, tonic: int, seconds: float) -> None:
        self.rng, self.style, self.lively, self.tonic = rng, style, lively, tonic
        self.scale = MAJOR if mode == "major" else MINOR
        self.progression = PROGRESSIONS[mode][rng.integers(len(PROGRESSIONS[mode]))]
        self.step = 60.0 / tempo / 4  # seconds a sixteenth
        self.samples = seconds_to_samples(seconds)
        self.bars = int(np.ceil(seconds / (self.step * STEPS)))
        self._notes: dict[tuple[str, float, float], np.ndarray] = {}  # by part, MIDI note, sixteenths

    def drums(self) -> np.ndarray:
        kit = drum_kit(self.rng)
        pattern = dict(self.style.drums[self.rng.integers(len(self.style.drums))])
        if self.lively:
            pattern |= self.style.lively_drums
        out = np.zeros((2, self.samples))
        for drum, steps in pattern.items():
            pan = 0.0 if drum in ("kick", "snare") else self.rng.uniform(-0.4, 0.4)
            for bar in range(self.bars):
                if drum == "crash" and bar % 4:
                    continue
                for step, mark in enumerate(steps):
                    if mark == "x":
                        level = 1.0 if step % 4 == 0 else 0.75
                        self._place(out, kit[drum] * level, bar * STEPS + step, pan)
        return out * self.style.levels[0]

    def bass(self) -> np.ndarray:
        voice = timbre(self.style.bass, self.rng)
        steps = str(self.rng.choice(self.style.bass_patterns))
        out = np.zeros((2, self.samples))
        for bar in range(self.bars):
            root = self._degree(self.progression[bar % 4]) - 12
            for step, length in _marks(steps):
                note = root + (7 if step in (6, 14) and self.rng.random() < 0.3 else 0)
                self._place(out, self._note("bass", voice, note, length), bar * STEPS + step)
        return out * self.style.levels[1]

    def other(self) -> np.ndarray:
        chords, layer = timbre(self.style.chords, self.rng), timbre(self.style.layer, self.rng)
        steps = str(self.rng.choice(self.style.chord_patterns))
        order = self.rng.permutation(4)
        pan = self.rng.uniform(0.1, 0.5)
        out = np.zeros((2, self.samples))
        for bar in range(self.bars):
            degree = self.progression[bar % 4]
            triad = [self._degree(degree + step) for step in (0, 2, 4)]
            if self.style.chords == "power":
                triad = [triad[0] - 12, triad[0] - 5, triad[0]]
            for step, length in _marks(steps):
                for note in triad:
                    self._place(
                        out, self._note("chords", chords, note, length) * (self.style.levels[2] / 3), bar * STEPS + step, -pan
                    )
            self._layer(out, layer, [*triad, triad[0] + 12], order, bar, pan)
        return out

    def _layer(self, out: np.ndarray, layer: Timbre, notes: list[int], order: np.ndarray, bar: int, pan: float) -> None:
        level = self.style.levels[3]
        if not self.style.arpeggio:
            for note in notes[:3]:
                self._place(out, self._note("layer", layer, note + 12, STEPS) * (level / 3), bar * STEPS, pan)
            return
        stride = 2 if self.lively else 4
        for count, step in enumerate(range(0, STEPS, stride)):
            note = notes[order[count % 4]] + 12
            self._place(out, self._note("layer", layer, note, stride) * level, bar * STEPS + step, pan)

    def vocals(self, gender: str) -> np.ndarray:
        singer = Singer.random(gender, self.rng)
        wave = sing(self._melody(gender), self.samples, singer, self.rng)
        return np.stack([wave, wave])

    def _melody(self, gender: str) -> list[Syllable]:
        """Phrases of one or two bars that walk along the scale, and rests between them."""
        low, high = REGISTERS[gender]
        lengths = (2, 2, 4, 4, 6) if self.lively else (4, 4, 6, 8)
        ladder = [note for note in range(low, high + 1) if (note - self.tonic) % 12 in self.scale]
        place = len(ladder) // 2 + int(self.rng.integers(-2, 3))
        syllables: list[Syllable] = []
        step = int(self.rng.choice([0, 0, 2, 4]))
        while step < self.bars * STEPS:
            phrase_end = step + int(self.rng.choice([12, 16, 24, 28]))
            while step < phrase_end:
                length = int(self.rng.choice(lengths))
                place = self._next_place(ladder, place, bar=step // STEPS)
                sounding = length * self.step - 0.03
                consonant = str(self.rng.choice(["", "", "s", "t"]))
                vowel = str(self.rng.choice(list("aeiou")))
                syllables.append(Syllable(step * self.step, sounding, ladder[place], vowel, consonant))
                step += length
            step += int(self.rng.choice([4, 4, 6, 8, 12]))
        return syllables

    def _next_place(self, ladder: list[int], place: int, bar: int) -> int:
        """A small step, then towards the nearest tone of the chord half of the time; never out of the register."""
        place = int(np.clip(place + self.rng.integers(-2, 3), 0, len(ladder) - 1))
        chord = {(self._degree(self.progression[bar % 4] + step) - self.tonic) % 12 for step in (0, 2, 4)}
        if self.rng.random() < 0.5:
            in_chord = [i for i, note in enumerate(ladder) if (note - self.tonic) % 12 in chord]
            place = min(in_chord, key=lambda i: abs(i - place))
        return place

    def _degree(self, degree: int) -> int:
        """MIDI note of a scale degree above the tonic."""
        return self.tonic + 12 * (degree // 7) + self.scale[degree % 7]

    def _note(self, part: str, voice: Timbre, note: float, steps: int) -> np.ndarray:
        key = (part, note, steps)
        if key not in self._notes:
            self._notes[key] = tone(voice, note, steps * self.step * 0.92)
        return self._notes[key]

    def _place(self, out: np.ndarray, wave: np.ndarray, step: int, pan: float = 0.0) -> None:
        """Add a mono sound at a step of the song; pan runs from -1 (left) to 1."""
        start = round(step * self.step * SAMPLE_RATE)
        kept = wave[: max(0, self.samples - start)]
        out[0, start : start + len(kept)] += kept * min(1.0, 1 - pan)
        out[1, start : start + len(kept)] += kept * min(1.0, 1 + pan)


def _marks(pattern: str) -> list[tuple[int, int]]:
    """(step, length in steps) of every mark; `o` lasts to the next mark, `x` one step."""
    steps = [i for i, mark in enumerate(pattern) if mark != "."]
    ends = [*steps[1:], len(pattern)]
    return [(step, (end - step) if pattern[step] == "o" else 1) for step, end in zip(steps, ends, strict=True)]
