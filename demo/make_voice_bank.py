"""Make demo/world/voices.npz again: spectral envelopes and aperiodicities of spoken syllables in four voices.

    python demo/make_voice_bank.py --output demo/world/voices.npz

Needs what nothing else does: the program `flite` (Debian: flite) and the package `pyworld`. Flite speaks words of one syllable and
says where their sounds begin; WORLD (Morise et al., IEICE Transactions 2016) separates pitch, envelope and aperiodicity.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from demo.world.voice_bank import BANDS, DB_PER_LEVEL, FRAME_SECONDS, LOUDEST_DB, WORLD_RATE, band_frequencies
from riff import cli

VOICES = ("slt", "rms", "awb", "kal16")
WORDS = [
    "love",
    "you",
    "me",
    "day",
    "night",
    "light",
    "heart",
    "home",
    "go",
    "know",
    "time",
    "mine",
    "fly",
    "high",
    "sky",
    "eyes",
    "cry",
    "try",
    "why",
    "rain",
    "stay",
    "way",
    "say",
    "play",
    "name",
    "face",
    "wait",
    "fade",
    "feel",
    "real",
    "need",
    "see",
    "be",
    "free",
    "dream",
    "sleep",
    "deep",
    "keep",
    "leave",
    "hear",
    "near",
    "tear",
    "there",
    "where",
    "care",
    "star",
    "far",
    "dark",
    "start",
    "part",
    "stop",
    "lost",
    "gone",
    "long",
    "song",
    "wrong",
    "strong",
    "all",
    "fall",
    "call",
    "wall",
    "walk",
    "talk",
    "more",
    "door",
    "for",
    "slow",
    "low",
    "show",
    "road",
    "cold",
    "hold",
    "gold",
    "soul",
    "soon",
    "moon",
    "blue",
    "true",
    "through",
    "do",
    "too",
    "move",
    "good",
    "would",
    "could",
    "look",
    "run",
    "sun",
    "one",
    "done",
    "come",
    "some",
    "touch",
    "hand",
    "stand",
    "land",
    "man",
    "can",
    "dance",
    "back",
    "black",
    "last",
    "past",
    "fast",
    "world",
    "girl",
    "burn",
    "turn",
    "word",
    "yeah",
    "hey",
    "oh",
    "ah",
    "la",
    "na",
    "da",
    "doo",
]
VOWELS = {"aa", "ae", "ah", "ao", "aw", "ax", "ay", "eh", "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw"}
LICENCE = (
    "Made with Flite's voices slt, rms, awb and kal16 (Language Technologies Institute, Carnegie Mellon University, Copyright (c) "
    "1999-2016), which may be used, copied, modified and distributed for any purpose provided that this notice is kept and "
    "modifications are marked as such: these are WORLD parameters of single words, quantised."
)
STRETCH = 1.3  # spoken slower than by habit, so that vowels are reached


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo/world/voices.npz"), help="the bank")
    parser.add_overwrite("the bank in --output")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from riff.errors import OptionError
    from riff.files import atomic_path

    if shutil.which("flite") is None:
        raise OptionError("no program flite; install it (Debian: apt-get install flite)")
    if args.output.exists() and not args.overwrite:
        raise OptionError(f"{args.output} is there already; choose another --output, or give --overwrite")
    envelopes, noise, bounds = [], [], []
    first = 0
    for voice in VOICES:
        for word in WORDS:
            envelope, aperiodicity, (start, vowel, vowel_end, end) = _analyse(voice, word)
            envelopes.append(envelope[start:end])
            noise.append(aperiodicity[start:end])
            bounds.append([first + frame - start for frame in (start, vowel, vowel_end, end)])
            first += end - start
    with atomic_path(args.output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            steps=np.diff(np.concatenate(envelopes), axis=0, prepend=np.uint8(0)),
            noise=np.concatenate(noise),
            bounds=np.array(bounds, np.int32).reshape(len(VOICES), len(WORDS), 4),
            voices=np.array(VOICES),
            words=np.array(WORDS),
            licence=np.array(LICENCE),
        )
    print(f"{len(VOICES)} voices, {len(WORDS)} syllables, {args.output.stat().st_size / 1e6:.1f} MB: {args.output}")
    return 0


def _analyse(voice: str, word: str) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]:
    """Quantised envelopes uint8 (frames, BANDS) and aperiodicities uint8 (frames,) of a word, and the frames where it starts, where
    its vowel starts and ends, and where it ends."""
    import pyworld  # type: ignore[import-not-found]
    import soundfile

    with TemporaryDirectory() as folder:
        path = Path(folder) / "word.wav"
        stretch = ["--setf", f"duration_stretch={STRETCH}"]
        command = ["flite", "-voice", voice, *stretch, "-psdur", "-t", word, "-o", str(path)]
        segments = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        wave, rate = soundfile.read(path)
    assert rate == WORLD_RATE, f"{voice} speaks at {rate} Hz"
    pitch, times = pyworld.harvest(wave, rate, f0_floor=60, f0_ceil=400, frame_period=FRAME_SECONDS * 1000)
    power: Any = pyworld.cheaptrick(wave, pitch, times, rate)
    aperiodicity: Any = pyworld.d4c(wave, pitch, times, rate)
    points = np.linspace(0, rate / 2, power.shape[1])
    levels = np.stack([np.interp(band_frequencies(), points, frame) for frame in 10 * np.log10(power + 1e-12)])
    at_3_khz = np.where(pitch > 0, aperiodicity[:, np.searchsorted(points, 3000.0)], 1.0)
    coded = np.clip(np.round((LOUDEST_DB - levels) / DB_PER_LEVEL), 0, 255).astype(np.uint8)
    assert coded.shape[1] == BANDS
    return coded, np.round(255 * at_3_khz).astype(np.uint8), _bounds(segments, len(coded))


def _bounds(segments: list[str], frames: int) -> tuple[int, int, int, int]:
    """From Flite's `phone:end_time ...`; sounds after the first vowel belong to the coda."""
    phones = [(phone, float(end)) for phone, end in (segment.split(":") for segment in segments)]
    spans = [(phone, begin, end) for (_, begin), (phone, end) in zip([("", 0.0), *phones], phones, strict=False) if phone != "pau"]
    vowel = next(span for span in spans if span[0] in VOWELS)
    start, vowel_start, vowel_end, end = (round(time / FRAME_SECONDS) for time in (spans[0][1], *vowel[1:], spans[-1][2]))
    return start, vowel_start, vowel_end, min(end, frames)


if __name__ == "__main__":
    main()
