"""What each style plays: tempo, meters, progressions, grooves, instruments, rhythms of the vocal.

Patterns are one bar, one character a sixteenth. Drums: `x` loud, `o` soft. Bass: `R`, `3`, `5`, `7`, `8` tones of the chord, `a`
the semitone below the next root; each lasts to the next mark, `_` rests. Chords: `o` lasts to the next mark, `x` is short. Vocals:
see `melody.write_tune`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MOODS = {  # (mode, lively?) -> the words that are true of it
    ("major", True): ("uplifting", "happy", "cheerful"),
    ("major", False): ("mellow", "calm", "gentle"),
    ("minor", True): ("intense", "dark", "fierce"),
    ("minor", False): ("melancholic", "sad", "wistful"),
}
REGISTERS = {"male": (45, 62), "female": (57, 74)}  # MIDI notes: 110-294 Hz and 220-587 Hz


@dataclass(frozen=True)
class Meter:
    """steps: sixteenths a bar. steps_a_beat: of the beat that the tempo counts. strong: every so many steps is a strong beat."""

    name: str
    steps: int
    steps_a_beat: int
    strong: int


METERS = {"4/4": Meter("4/4", 16, 4, 8), "3/4": Meter("3/4", 12, 4, 12), "6/8": Meter("6/8", 12, 6, 6)}


@dataclass(frozen=True)
class Groove:
    """Variants of what drums, bass and chords play in one meter; `lively` drums join when the song is lively."""

    drums: tuple[dict[str, str], ...]
    lively: dict[str, str]
    bass: tuple[str, ...]
    chords: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """One instrument's role.

    Attributes:
        instruments: of the bank, one is drawn. playing: chords, power (root, fifth, octave), arpeggio, pad (a chord a bar), lead
            (tunes in the singer's rests, and riffs). level: dB against the drums. centre: MIDI note that it plays around.
        chance: share of songs that have it.
    """

    instruments: tuple[str, ...]
    playing: str
    level: float
    centre: int
    chance: float = 1.0


@dataclass(frozen=True)
class Style:
    """A style's habits; `singing` names the sets of vocal rhythms that it draws from, in a calm and in a lively song."""

    tempo: tuple[float, float]  # beats a minute
    progressions: Mapping[str, tuple[str, ...]]
    grooves: dict[str, Groove]
    kits: tuple[str, ...]
    bass: tuple[str, ...]
    parts: tuple[Part, ...]
    singing: tuple[str, str]
    swing: tuple[float, float] = (0.0, 0.0)  # 1/3 is a triplet
    swing_unit: int = 1  # steps: 1 swings sixteenths, 2 eighths
    bass_level: float = -2.0
    drum_level: float = 0.0
    drive: float = 0.0  # saturation of the whole band, dB
    amplifier: float = 0.0  # of power chords, dB of distortion


VOCAL_RHYTHMS: dict[str, dict[str, tuple[str, ...]]] = {  # by meter and density
    "4/4": {
        "slow": ("o.......o...o...", "o...o...o.......", "____o...o...o...", "o.....o.o......."),
        "medium": ("o...o.o.o...o.o.", "o.o.o...o.o.o...", "____o.o.o.o.o...", "o..o..o.o...o...", "o...o...o.o.o.o."),
        "fast": ("o.o.o.o.o.o.o.o.", "o.ooo.o.o.ooo...", "__o.o.o.o.ooo.o.", "o..o..o.o.o.o...", "oooo..o.ooo...o."),
        "rap": ("o.oooo.oo.oooo.o", "oooo.oo.oooo.o.o", "o.oo.ooo.ooo.oo.", "__oooo.ooo.ooo.o"),
    },
    "12": {
        "slow": ("o.......o...", "o...........", "____o...o..."),
        "medium": ("o...o...o...", "o.....o.o...", "o...o.o.o..."),
        "fast": ("o.o.o.o.o.o.", "o...o.o...o.", "o.o.o.o...o."),
        "rap": ("o.o.o.o.o.o.",),
    },
}
CADENCES: dict[str, dict[str, tuple[str, ...]]] = {  # ends of phrases, each with a rest
    "4/4": {
        "slow": ("o...o.......____", "o...........____"),
        "medium": ("o.o.o.......____", "o...o...________", "o.o.o...________"),
        "fast": ("o.o.o.o.....____", "o.ooo...________", "o.o.o...______oo"),
        "rap": ("o.ooo.oo.o..____", "ooo.oo..____o.oo"),
    },
    "12": {
        "slow": ("o.......____", "o...o...____"),
        "medium": ("o...o...____", "o.......____"),
        "fast": ("o.o.o...____", "o.o.....____"),
        "rap": ("o.o.o...____",),
    },
}
FILLS = {  # of the drums, over the second half of a bar
    16: (
        {"snare": "........x.xxx.xx"},
        {"high tom": "........xx......", "mid tom": "..........xx....", "low tom": "............x.xx"},
    ),
    12: ({"snare": "......x.x.xx"}, {"high tom": "......x.....", "mid tom": "........x...", "low tom": "..........x."}),
}

POP = {
    "major": ("I V vi IV", "vi IV I V", "I vi IV V", "I IV vi V", "IV V iii vi", "I iii IV V", "I V vi iii IV I IV V"),
    "minor": ("i bVI bIII bVII", "i iv bVI V", "i bVII bVI bVII", "i v bVI iv", "bVI bVII i i"),
}
ROCK = {
    "major": ("I IV V IV", "I bVII IV I", "I V IV IV", "vi IV I V", "I I IV V"),
    "minor": ("i bVI bVII i", "i bVII bVI V", "i bIII bVII IV", "i iv bVII bIII"),
}
METAL = {
    "major": ("I bVII bVI bVII", "I bII I bVII"),
    "minor": ("i bII i bVII", "i bVI bII bVII", "i i bVI bVII", "i bIII bII i", "i bVI iv V"),
}
JAZZ = {
    "major": ("ii7 V7 Imaj7 vi7", "Imaj7 vi7 ii7 V7", "iii7 vi7 ii7 V7", "Imaj7 IV7 iii7 VI7", "IVmaj7 iv7 Imaj7 VI7"),
    "minor": ("i7 iv7 bVII7 bIIImaj7", "iio7 V7 i7 i7", "i6 bVI7 iio7 V7"),
}
FUNK = {"major": ("I7 I7 IV7 I7", "I7 IV7 I7 V7", "ii7 V7 ii7 V7"), "minor": ("i7 i7 iv7 i7", "i7 IV7 i7 IV7", "i7 bVII bVI V7")}
LATIN = {
    "major": ("I IV V IV", "ii7 V7 I I", "I vi ii V7"),
    "minor": ("i bVII bVI V", "i iv V7 i", "i V7 V7 i", "i iv bVII bIII"),
}
FOLK = {"major": ("I IV I V", "I V vi IV", "I I IV V", "I bVII IV I"), "minor": ("i bVII i bVII", "i bVI bVII i", "i bIII bVII i")}

WALTZ = Groove(
    drums=(
        {"kick": "x...........", "snare": "....o...o...", "hat": "x...x...x..."},
        {"kick": "x...........", "rim": "....x...x..."},
    ),
    lively={"hat": "x.x.x.x.x.x."},
    bass=("R...........", "R.......5..."),
    chords=("....x...x...", "o...o...o..."),
)
SIX_EIGHT = Groove(
    drums=(
        {"kick": "x.........o.", "snare": "......x.....", "hat": "x.o.o.x.o.o."},
        {"kick": "x...o.......", "rim": "......x.....", "hat": "x.o.o.x.o.o."},
    ),
    lively={"tambourine": "......x....."},
    bass=("R...........", "R...5.8.....", "R.....R...5."),
    chords=("o.....o.....", "o...o.o...o."),
)

STYLES: dict[str, Style] = {
    "pop": Style(
        tempo=(92, 126),
        progressions=POP,
        grooves={
            "4/4": Groove(
                drums=(
                    {"kick": "x.....x.x.......", "snare": "....x.......x...", "hat": "x.o.x.o.x.o.x.o."},
                    {"kick": "x.......x.x.....", "snare": "....x.......x..o", "hat": "x.o.x.o.x.o.x.o."},
                    {"kick": "x...x...x...x...", "clap": "....x.......x...", "open hat": "..o...o...o...o."},
                ),
                lively={"shaker": "xoxoxoxoxoxoxoxo"},
                bass=("R.R.R.R.R.R.R.R.", "R.....R.R.....5.", "R...........5..."),
                chords=("o...o...o...o...", "o.....o...o.....", "o..o..o...o..o.."),
            ),
            "6/8": SIX_EIGHT,
        },
        kits=("room", "electronic", "standard"),
        bass=("finger bass", "pick bass", "synth bass"),
        parts=(
            Part(("piano", "electric piano", "steel guitar"), "chords", -5, 60),
            Part(("strings", "synth strings", "warm pad"), "pad", -12, 67, 0.7),
            Part(("clean guitar", "saw lead", "piano"), "lead", -9, 76, 0.6),
            Part(("clean guitar", "muted guitar"), "arpeggio", -11, 67, 0.5),
        ),
        singing=("medium", "fast"),
    ),
    "rock": Style(
        tempo=(108, 156),
        progressions=ROCK,
        grooves={
            "4/4": Groove(
                drums=(
                    {"kick": "x.x.....x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
                    {"kick": "x.....x.x.....x.", "snare": "....x.......x...", "open hat": "x...x...x...x..."},
                    {"kick": "x.......xx......", "snare": "....x.......x...", "ride": "x.x.x.x.x.x.x.x."},
                ),
                lively={"crash": "x..............."},
                bass=("R.R.R.R.R.R.R.R.", "R...R.R.R...5.R.", "R.......R.R.a.R."),
                chords=("o.......o.......", "o.x.x.o.x.x.o.x.", "o...x.x.o...x.x.", "x.x.x.x.x.x.x.x."),
            ),
            "6/8": SIX_EIGHT,
        },
        kits=("power", "room"),
        bass=("pick bass", "finger bass"),
        parts=(
            Part(("overdriven guitar", "distorted guitar"), "power", -3, 48),
            Part(("overdriven guitar", "clean guitar", "rock organ"), "chords", -8, 60, 0.6),
            Part(("distorted guitar", "overdriven guitar"), "lead", -7, 72, 0.6),
        ),
        singing=("medium", "fast"),
        drive=3.0,
        amplifier=8.0,
    ),
    "reggae": Style(
        tempo=(66, 90),
        progressions=POP | {"major": (*POP["major"], "I IV I V", "I ii I ii")},
        grooves={
            "4/4": Groove(
                drums=(
                    {"kick": "........x.......", "rim": "........x.......", "hat": "x.o.x.o.x.o.x.o."},
                    {"kick": "x.......x.......", "rim": "....x...x.......", "hat": "..x...x...x...x."},
                    {"kick": "x...x...x...x...", "rim": "........x.......", "hat": "x.oox.oox.oox.oo"},
                ),
                lively={"shaker": "x.oxx.oxx.oxx.ox"},
                bass=("R..R..5.____8...", "R.....5..3..R.5.", "__R.R.3.5.__R.3."),
                chords=("....x.......x...", "..x...x...x...x.", "....xx......xx.."),
            )
        },
        kits=("standard", "room"),
        bass=("finger bass", "synth bass"),
        parts=(
            Part(("muted guitar", "clean guitar"), "chords", -3, 64),
            Part(("organ", "rock organ", "piano"), "chords", -7, 60, 0.9),
            Part(("trombone", "tenor sax", "harmonica"), "lead", -8, 67, 0.5),
        ),
        singing=("medium", "medium"),
        swing=(0.0, 0.25),
        bass_level=2.0,
    ),
    "electronic": Style(
        tempo=(116, 134),
        progressions=POP,
        grooves={
            "4/4": Groove(
                drums=(
                    {"kick": "x...x...x...x...", "clap": "....x.......x...", "open hat": "..x...x...x...x."},
                    {"kick": "x...x...x...x...", "clap": "....x.......x.o.", "hat": "x.oxx.oxx.oxx.ox"},
                    {"kick": "x..x..x...x.x...", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.xx"},
                ),
                lively={"hat": "xoxoxoxoxoxoxoxo"},
                bass=("__R.__R.__R.__R.", "R.RRR.RRR.RRR.RR", "R..R..R.R..R..5."),
                chords=("x..x..x..x..x.x.", "x...x..x..x.x...", "..x...x...x...x."),
            )
        },
        kits=("tr-808", "electronic"),
        bass=("synth bass", "saw bass"),
        parts=(
            Part(("saw lead", "synth brass", "polysynth"), "chords", -4, 60),
            Part(("saw lead", "square lead", "polysynth"), "arpeggio", -8, 72, 0.8),
            Part(("warm pad", "synth strings", "polysynth"), "pad", -11, 64, 0.7),
            Part(("square lead", "saw lead"), "lead", -8, 76, 0.5),
        ),
        singing=("slow", "medium"),
        drum_level=2.0,
    ),
    "ballad": Style(
        tempo=(56, 82),
        progressions=POP,
        grooves={
            "4/4": Groove(
                drums=(
                    {"kick": "x.......x.......", "rim": "....x.......x..."},
                    {"kick": "x.........x.....", "snare": "....x.......x...", "hat": "x.o.x.o.x.o.x.o."},
                ),
                lively={"hat": "x.o.x.o.x.o.x.o."},
                bass=("R.......R.......", "R.........R..5.."),
                chords=("o.......o.......", "o...o...o...o...", "o.o.o.o.o.o.o.o."),
            ),
            "3/4": WALTZ,
            "6/8": SIX_EIGHT,
        },
        kits=("room", "brush"),
        bass=("finger bass", "acoustic bass"),
        parts=(
            Part(("piano", "electric piano", "nylon guitar"), "chords", 0, 60),
            Part(("strings", "warm pad"), "pad", -6, 67, 0.9),
            Part(("steel guitar", "piano"), "arpeggio", -8, 67, 0.5),
            Part(("violin", "flute", "clean guitar"), "lead", -8, 74, 0.4),
        ),
        singing=("slow", "medium"),
        drum_level=-6.0,
    ),
    "hip hop": Style(
        tempo=(78, 104),
        progressions={
            "major": ("I vi IV V", "IVmaj7 iii7 vi7 I", "ii7 I ii7 V"),
            "minor": ("i bVI i bVII", "i7 iv7 i7 v7", "i i bVI V", "i bVI iv V"),
        },
        grooves={
            "4/4": Groove(
                drums=(
                    {"kick": "x.......x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
                    {"kick": "x..x......x..x..", "clap": "....x.......x...", "hat": "x.x.x.xxx.x.xxxx"},
                    {"kick": "x.x....x.x......", "snare": "....x..o....x...", "hat": "xoxoxoxoxoxoxoxo"},
                ),
                lively={"shaker": "x.oxx.oxx.oxx.ox"},
                bass=("R.......__R.....", "R..R......R..5..", "R.R.....__R.R..."),
                chords=("o...............", "x..x..x.........", "o.......o......."),
            )
        },
        kits=("tr-808", "electronic", "room"),
        bass=("synth bass", "finger bass"),
        parts=(
            Part(("electric piano", "piano", "strings"), "chords", -9, 60),
            Part(("vibraphone", "nylon guitar", "flute"), "arpeggio", -12, 72, 0.6),
            Part(("square lead", "brass", "strings"), "lead", -12, 72, 0.4),
        ),
        singing=("rap", "rap"),
        swing=(0.0, 0.3),
        bass_level=3.0,
        drum_level=5.0,
    ),
    "metal": Style(
        tempo=(120, 184),
        progressions=METAL,
        grooves={
            "4/4": Groove(
                drums=(
                    {"kick": "xxxxxxxxxxxxxxxx", "snare": "....x.......x...", "crash": "x.......x......."},
                    {"kick": "x.xxx.xxx.xxx.xx", "snare": "....x.......x...", "open hat": "x...x...x...x..."},
                    {"kick": "x..x..x.x..x..x.", "snare": "....x.......x...", "open hat": "x.x.x.x.x.x.x.x."},
                    {"kick": "x.x.x.x.x.x.x.x.", "snare": "..x...x...x...x.", "ride": "x...x...x...x..."},
                ),
                lively={"crash": "x...x...x...x..."},
                bass=("RRRRRRRRRRRRRRRR", "R.RRR.RRR.RRR.RR", "R..R..R.R..R..R."),
                chords=("x.xxx.xxx.xxx.xx", "o..o..o.o..o..o.", "xxxxxxxxo......."),
            ),
        },
        kits=("power",),
        bass=("pick bass",),
        parts=(
            Part(("distorted guitar",), "power", 5, 40),
            Part(("overdriven guitar", "distorted guitar"), "power", 3, 43, 0.9),
            Part(("distorted guitar", "overdriven guitar"), "lead", 0, 76, 0.7),
        ),
        singing=("medium", "medium"),
        drum_level=-3.0,
        drive=2.0,
        amplifier=18.0,
    ),
    "folk": Style(
        tempo=(84, 124),
        progressions=FOLK,
        grooves={
            "4/4": Groove(
                drums=(
                    {"kick": "x.......x.......", "tambourine": "....x.......x..."},
                    {"shaker": "x.o.x.o.x.o.x.o.", "kick": "x.......x......."},
                ),
                lively={"tambourine": "..x...x...x...x."},
                bass=("R.......5.......", "R...5...R...5..."),
                chords=("o...o.o...o.o.o.", "o.o.o.o.o.o.o.o.", "o...o...o...o.o."),
            ),
            "3/4": WALTZ,
            "6/8": SIX_EIGHT,
        },
        kits=("brush", "standard"),
        bass=("acoustic bass",),
        parts=(
            Part(("steel guitar", "nylon guitar"), "chords", 1, 57),
            Part(("steel guitar", "banjo", "nylon guitar"), "arpeggio", -3, 67, 0.8),
            Part(("fiddle", "harmonica", "accordion", "flute"), "lead", -7, 74, 0.7),
        ),
        singing=("medium", "medium"),
        drum_level=-8.0,
        bass_level=-5.0,
    ),
    "funk": Style(
        tempo=(92, 116),
        progressions=FUNK,
        grooves={
            "4/4": Groove(
                drums=(
                    {"kick": "x.....x..x......", "snare": "....x..o.o..x..o", "hat": "xxxxxxxxxxxxxxxx"},
                    {"kick": "x.x.......x..x..", "snare": "....x..o....x...", "hat": "x.xxx.xxx.xxx.xx"},
                ),
                lively={"tambourine": "....x.......x..."},
                bass=("R..R__8.R__R.5.a", "R_R...8R__5.8.R.", "R...__RR8.5.R_a."),
                chords=("x..x....x..x..x.", "..x.xx..x...x.x.", "xx.x..x...x.xx.."),
            )
        },
        kits=("standard", "room"),
        bass=("slap bass", "finger bass"),
        parts=(
            Part(("muted guitar", "clean guitar"), "chords", -4, 64),
            Part(("organ", "electric piano"), "chords", -8, 60, 0.7),
            Part(("brass",), "lead", -5, 67, 0.8),
        ),
        singing=("medium", "fast"),
        swing=(0.0, 0.2),
        bass_level=1.0,
    ),
    "jazz": Style(
        tempo=(84, 176),
        progressions=JAZZ,
        grooves={
            "4/4": Groove(
                drums=(
                    {"ride": "x...x.o.x...x.o.", "pedal hat": "....x.......x...", "kick": "o.......o......."},
                    {"ride": "x...x.o.x...x.o.", "pedal hat": "....x.......x...", "snare": "......o.......o."},
                ),
                lively={"snare": "......o...o....."},
                bass=("R...3...5...a...", "R...5...8...a...", "R...8...5...3..."),
                chords=("x.....x.........", "......x.......x.", "o.......o......."),
            ),
            "3/4": Groove(
                drums=({"ride": "x...x.o.x.o.", "pedal hat": "....x...x...", "kick": "o..........."},),
                lively={"snare": "......o....."},
                bass=("R...3...5...", "R...5...a..."),
                chords=("x.....x.....", "....x......."),
            ),
        },
        kits=("jazz", "brush"),
        bass=("acoustic bass",),
        parts=(
            Part(("piano", "jazz guitar", "vibraphone"), "chords", -2, 60),
            Part(("tenor sax", "trumpet", "trombone", "piano"), "lead", -4, 67, 0.8),
        ),
        singing=("medium", "medium"),
        swing=(0.28, 0.36),
        swing_unit=2,
        drum_level=-4.0,
    ),
    "latin": Style(
        tempo=(88, 124),
        progressions=LATIN,
        grooves={
            "4/4": Groove(
                drums=(
                    {
                        "conga": "..o...xx..o...xx",
                        "low conga": "x.......x.......",
                        "claves": "x..x..x...x.x...",
                        "shaker": "x.o.x.o.x.o.x.o.",
                    },
                    {"kick": "x..x..x.x..x..x.", "rim": "x..x..x...x.x...", "shaker": "xoxoxoxoxoxoxoxo"},
                    {"kick": "x...x...x...x...", "snare": "...x..x....x..x.", "hat": "x.x.x.x.x.x.x.x."},
                ),
                lively={"cowbell": "x...x...x...x..."},
                bass=("R.....5.....R...", "R..R..5.R..R..5.", "R.....5.....8..."),
                chords=("x..x..x...x.x...", "x.xx.xx.x.xx.xx.", "..x..x..x..x..x."),
            )
        },
        kits=("standard",),
        bass=("acoustic bass", "finger bass"),
        parts=(
            Part(("piano", "nylon guitar"), "chords", -2, 67),
            Part(("nylon guitar", "accordion"), "arpeggio", -8, 67, 0.4),
            Part(("trumpet", "brass", "flute"), "lead", -5, 72, 0.8),
        ),
        singing=("medium", "medium"),
    ),
}
