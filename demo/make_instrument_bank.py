"""Make demo/world/instruments/ again: notes of sampled instruments and hits of drum kits, as Opus files.

    python demo/make_instrument_bank.py --output demo/world/instruments

Needs what nothing else does: the program `fluidsynth` and the sound font MuseScore General (Debian: fluidsynth,
musescore-general-soundfont).
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from riff import cli

SOUND_FONT = Path("/usr/share/sounds/sf3/MuseScore_General.sf3")
RATE = 48_000
BITS_PER_SECOND = 36_000
TICKS_PER_SECOND = 960
DRUM_CHANNEL = 9
LICENCE = (
    "Rendered from MuseScore General (MIT licence; parts CC0 or public domain). Copyright (c) 2000-2008 Frank Wen, 2014-2017 "
    "Michael Cowgill, 2018-2021 S. Christian Collins and the contributors that its documentation names."
)
BASSES, MIDDLE, HIGH = (28, 34, 40, 46, 52), (40, 46, 52, 58, 64, 70, 76, 82), (55, 62, 69, 76, 83)
INSTRUMENTS = {  # General MIDI's program (from 0), notes, seconds of each
    "piano": (0, (*MIDDLE, 88), 2.2),
    "electric piano": (4, MIDDLE, 2.0),
    "vibraphone": (11, (55, 61, 67, 73, 79, 85), 1.6),
    "organ": (16, MIDDLE, 2.6),
    "rock organ": (18, MIDDLE, 2.6),
    "accordion": (21, HIGH, 2.2),
    "harmonica": (22, HIGH, 1.8),
    "nylon guitar": (24, MIDDLE, 1.6),
    "steel guitar": (25, MIDDLE, 1.8),
    "jazz guitar": (26, MIDDLE, 1.6),
    "clean guitar": (27, MIDDLE, 1.8),
    "muted guitar": (28, MIDDLE, 0.5),
    "overdriven guitar": (29, MIDDLE, 2.4),
    "distorted guitar": (30, (34, *MIDDLE), 2.4),
    "acoustic bass": (32, BASSES, 1.4),
    "finger bass": (33, BASSES, 1.6),
    "pick bass": (34, BASSES, 1.4),
    "slap bass": (36, BASSES, 1.0),
    "synth bass": (38, BASSES, 1.4),
    "saw bass": (39, BASSES, 1.4),
    "violin": (40, HIGH, 2.0),
    "strings": (48, (48, 55, 62, 69, 76, 83), 3.2),
    "synth strings": (50, (48, 55, 62, 69, 76, 83), 3.2),
    "trumpet": (56, HIGH, 1.6),
    "trombone": (57, (43, 49, 55, 61, 67), 1.6),
    "brass": (61, MIDDLE, 1.6),
    "synth brass": (62, MIDDLE, 1.6),
    "tenor sax": (66, (49, 55, 61, 67, 73), 1.8),
    "flute": (73, HIGH, 1.6),
    "square lead": (80, HIGH, 1.4),
    "saw lead": (81, (*MIDDLE, 88), 1.4),
    "warm pad": (89, (48, 55, 62, 69, 76, 83), 3.2),
    "polysynth": (90, MIDDLE, 2.4),
    "banjo": (105, HIGH, 1.0),
    "fiddle": (110, HIGH, 2.0),
}
KITS = {"standard": 0, "room": 8, "power": 16, "electronic": 24, "tr-808": 25, "jazz": 32, "brush": 40}
HITS = {  # General MIDI's key, seconds
    "kick": (36, 0.5),
    "rim": (37, 0.3),
    "snare": (38, 0.5),
    "clap": (39, 0.4),
    "hat": (42, 0.25),
    "pedal hat": (44, 0.25),
    "open hat": (46, 0.6),
    "low tom": (45, 0.6),
    "mid tom": (47, 0.6),
    "high tom": (50, 0.6),
    "crash": (49, 1.6),
    "ride": (51, 0.9),
    "tambourine": (54, 0.3),
    "cowbell": (56, 0.3),
    "conga": (63, 0.4),
    "low conga": (64, 0.4),
    "shaker": (82, 0.2),
    "claves": (75, 0.2),
}


@dataclass(frozen=True)
class Sound:
    """What to render: the file that it goes to, its name there, and how."""

    file: str
    name: str
    program: int
    channel: int
    key: int
    seconds: float


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo/world/instruments"), help="folder of the bank")
    parser.add_argument("--sound_font", type=Path, default=SOUND_FONT, help="MuseScore General")
    parser.add_overwrite("the bank in --output")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from riff.errors import OptionError
    from riff.files import make_folder, write_json

    if shutil.which("fluidsynth") is None or not args.sound_font.is_file():
        raise OptionError("no fluidsynth or no sound font; install them (Debian: fluidsynth, musescore-general-soundfont)")
    index_file = args.output / "index.json"
    if index_file.exists() and not args.overwrite:
        raise OptionError(f"{args.output} holds a bank already; choose another --output, or give --overwrite")
    make_folder(args.output)
    sounds = list(_sounds())
    waves = _render(sounds, args.sound_font)
    index: dict[str, dict[str, list[int]]] = {}
    for file in dict.fromkeys(sound.file for sound in sounds):
        parts = {sound.name: wave for sound, wave in zip(sounds, waves, strict=True) if sound.file == file}
        wave = np.concatenate(list(parts.values()))
        _write_opus(args.output / f"{file}.ogg", wave / np.abs(wave).max())
        ends = np.cumsum([len(wave) for wave in parts.values()])
        index[file] = {name: [int(end) - len(wave), int(end)] for (name, wave), end in zip(parts.items(), ends, strict=True)}
    write_json(index_file, {"licence": LICENCE, "rate": RATE, "sounds": index})
    size = sum(path.stat().st_size for path in args.output.iterdir())
    print(f"{len(sounds)} sounds in {len(index)} files, {size / 1e6:.1f} MB: {args.output}")
    return 0


def _sounds() -> Iterator[Sound]:
    for name, (program, notes, seconds) in INSTRUMENTS.items():
        for note in notes:
            yield Sound(name.replace(" ", "-"), str(note), program, 0, note, seconds)
    for kit, program in KITS.items():
        for hit, (key, seconds) in HITS.items():
            yield Sound(f"{kit}-kit", hit, program, DRUM_CHANNEL, key, seconds)


def _render(sounds: Sequence[Sound], sound_font: Path) -> list[np.ndarray]:
    """Each sound alone, mono float64 at 48 kHz, faded out at its end; a second lies between two in the rendered file."""
    import soundfile

    starts = np.cumsum([0.5, *(sound.seconds + 1.0 for sound in sounds)])
    with TemporaryDirectory() as folder:
        score, recording = Path(folder) / "score.mid", Path(folder) / "score.wav"
        score.write_bytes(_midi(sounds, starts))
        options = ["-ni", "-R", "0", "-C", "0", "-g", "0.5", "-r", str(RATE)]
        subprocess.run(["fluidsynth", *options, "-F", str(recording), str(sound_font), str(score)], check=True, capture_output=True)
        mono = soundfile.read(recording)[0].mean(axis=1)
    waves = [mono[(first := round(at * RATE)) : first + round(s.seconds * RATE)] for s, at in zip(sounds, starts[:-1], strict=True)]
    fade = np.minimum(1, np.arange(RATE // 10, 0, -1) / (RATE // 10))
    return [np.concatenate([wave[: -len(fade)], wave[-len(fade) :] * fade]) for wave in waves]


def _midi(sounds: Sequence[Sound], starts: np.ndarray) -> bytes:
    """A MIDI file of one track, 480 ticks a quarter at 120 quarters a minute."""
    track, now = b"", 0

    def event(at: float, *message: int) -> None:
        nonlocal track, now
        ticks = round(at * TICKS_PER_SECOND)
        track += _variable(ticks - now) + bytes(message)
        now = ticks

    for sound, start in zip(sounds, starts[:-1], strict=True):
        event(start - 0.1, 0xC0 | sound.channel, sound.program)
        event(start, 0x90 | sound.channel, sound.key, 100)
        event(start + sound.seconds, 0x80 | sound.channel, sound.key, 0)
    event(float(starts[-1]), 0xFF, 0x2F, 0)
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS_PER_SECOND // 2) + b"MTrk" + struct.pack(">I", len(track)) + track


def _variable(number: int) -> bytes:
    """MIDI's variable-length quantity."""
    out = [number & 0x7F]
    while number := number >> 7:
        out.insert(0, number & 0x7F | 0x80)
    return bytes(out)


def _write_opus(path: Path, wave: np.ndarray) -> None:
    import av

    from riff.files import atomic_path

    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="ogg", options={"fflags": "+bitexact"}) as file:
        stream = file.add_stream("libopus", rate=RATE, layout="mono")
        stream.bit_rate = BITS_PER_SECOND
        frame = av.AudioFrame.from_ndarray(0.9 * wave[None].astype(np.float32), format="flt", layout="mono")
        frame.rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)


if __name__ == "__main__":
    main()
