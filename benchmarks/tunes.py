"""How well is the pitch of a recording tracked, and how do composed tunes differ from those that are sung?

    python benchmarks/tunes.py --num_songs 8

Trackers: pYIN as `--melody` uses it, and swift-f0 where it is installed (pip install swift-f0), on synthesised voices of known
pitch: sung, hummed (three harmonics and breath), and sung over noise and over a backing at 12 dB below the voice. Tunes: true
vocals of the demo songs and tunes composed for their backings, by the same singers, both tracked by pYIN, over the chords
that are heard in the backing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
from librosa import hz_to_midi

from riff import cli
from riff.audio.notes import Note
from riff.sampling.compose import Harmony

CATALOGUE, SECONDS = 4, 20.0
RATE = 44_100
NOISE_DB = -12.0
LONGEST_PAUSE_S = 0.4  # between notes whose interval counts
Tracker = Callable[[np.ndarray], np.ndarray]  # float32 (1, samples) at 44.1 kHz -> MIDI numbers, one in 10 ms, NaN in rests


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--num_songs", type=cli.whole(1), default=8, help="songs, and voices to track")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/tunes.json"), help="where the figures go")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from riff.audio.notes import contour_of_recording, notes_of_contour
    from riff.sampling.compose import harmony_of

    results: dict[str, dict[str, dict[str, float]]] = {"tunes": {}, "trackers": {}}
    tracked: dict[str, list[dict[str, float]]] = {}
    tunes: dict[str, list[dict[str, float]]] = {"true vocals": [], "composed": []}
    for index in cli.progress_bar(range(args.num_songs), desc="songs", unit="song"):
        backing, vocals, prompt = song_parts(index)
        harmony = harmony_of(backing, RATE)
        sounds = voices(backing, harmony, prompt, index)
        for name, sound in (("true vocals", vocals), ("composed", sounds["sung"][0])):
            tunes[name].append(describe(notes_of_contour(contour_of_recording(sound, RATE)), harmony))
        for case, (voice, truth) in sounds.items():
            for name, tracker in trackers().items():
                tracked.setdefault(f"{name}, {case}", []).append(accuracy(tracker, voice, truth))
    results["tunes"], results["trackers"] = ({name: means(rows) for name, rows in found.items()} for found in (tunes, tracked))
    for found in results.values():
        names = list(next(iter(found.values())))
        print(f"{'':24}" + "".join(f"{name:>22}" for name in names))
        for row, values in found.items():
            print(f"{row:24}" + "".join(f"{values[name]:22.2f}" for name in names))
    cli.write_manifest(args.output, vars(args), results=results)


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}


def song_parts(index: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Backing and vocals, float32, shape (channels, samples), and the prompt of a demo song."""
    from demo.world.compose import compose

    song = compose(CATALOGUE, index, SECONDS)
    vocals = song.stems["vocals"].astype(np.float32)
    return song.mixture.astype(np.float32) - vocals, vocals, song.prompt


def describe(notes: Sequence[Note], harmony: Harmony) -> dict[str, float]:
    """Shares of time on tones of chord and key, of intervals by size, of time with a note and of figures that came before (four
    notes with the same intervals), the middle half of note lengths in beats, and the range of the middle 80 % in semitones."""
    count = np.arange(len(harmony.beats))
    starts, ends, pitches = np.array(notes).T
    begins, stops = (np.interp(times, harmony.beats, count) for times in (starts, ends))
    chords = [harmony.chords[min(int(begin + 0.1), len(harmony.chords) - 1)] for begin in begins]
    lengths, beats = ends - starts, stops - begins
    in_chord = np.array([int(pitch) % 12 in chord for pitch, chord in zip(pitches, chords, strict=True)])
    in_key = np.array([int(pitch) % 12 in harmony.scale for pitch in pitches])
    steps = np.array([abs(b.pitch - a.pitch) for a, b in pairwise(notes) if b.start - a.end < LONGEST_PAUSE_S])
    figures = [tuple(np.diff(pitches[first : first + 4])) for first in range(len(pitches) - 3)]
    return {
        "chord tones": float(np.average(in_chord, weights=lengths)),
        "tones of the key": float(np.average(in_key, weights=lengths)),
        "repeated": float(np.mean(steps == 0)),
        "steps": float(np.mean((steps > 0) & (steps <= 2))),
        "thirds": float(np.mean((steps > 2) & (steps <= 4))),
        "leaps": float(np.mean(steps > 4)),
        "quarter of lengths": float(np.percentile(beats, 25)),
        "median length": float(np.median(beats)),
        "three quarters": float(np.percentile(beats, 75)),
        "sung": float(lengths.sum() / SECONDS),
        "figures again": float(np.mean([figure in figures[:place] for place, figure in enumerate(figures)])),
        "range": float(np.percentile(pitches, 90) - np.percentile(pitches, 10)),
    }


def voices(backing: np.ndarray, harmony: Harmony, prompt: str, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Voices that sing a composed tune, float32, shape (1, samples), by case, each with its pitch, MIDI numbers, one in 10 ms, NaN
    in rests."""
    from demo.world.singer import HOP, HOP_SECONDS, SungNote, Voice, pitch_line, sing
    from demo.world.vocals import VOCALISES
    from riff.audio.notes import FRAMES_A_SECOND
    from riff.metrics.melody import register_of_prompt
    from riff.sampling.compose import compose_tune

    rng, samples = np.random.default_rng(seed), backing.shape[1]
    voice = Voice.random(register_of_prompt(prompt) or "female", rng)
    line = [SungNote(n.start, n.end - n.start, n.pitch, str(rng.choice(VOCALISES))) for n in compose_tune(harmony, prompt, seed)]
    sung = sing(line, samples, voice, np.random.default_rng(seed))
    hertz = pitch_line(line, samples // HOP + 4, voice, np.random.default_rng(seed))
    places = np.arange(len(hertz)) * HOP_SECONDS

    def level(times: np.ndarray) -> np.ndarray:
        return np.any([(times >= note.start) & (times < note.start + note.duration) for note in line], axis=0)

    frames, at = np.arange(round(SECONDS * FRAMES_A_SECOND)) / FRAMES_A_SECOND, np.arange(samples) / RATE
    truth = np.where(level(frames), hz_to_midi(np.interp(frames, places, hertz)), np.nan)
    phase = 2 * np.pi * np.cumsum(np.interp(at, places, hertz)) / RATE
    hum = sum(np.sin(k * phase) / k**2 for k in (1, 2, 3)) * level(at) + 0.01 * rng.standard_normal(samples)

    def under(noise: np.ndarray) -> np.ndarray:
        gain = np.sqrt(np.mean(sung**2) / np.mean(noise**2)) * 10 ** (NOISE_DB / 20)
        return sung + gain * noise

    sounds = {
        "sung": sung,
        "hummed": hum,
        "in noise": under(rng.standard_normal((samples,))),
        "over a backing": under(np.asarray(backing.mean(axis=0))),
    }
    return {case: (sound[None].astype(np.float32), truth) for case, sound in sounds.items()}


def trackers() -> dict[str, Tracker]:
    from riff.audio.notes import contour_of_recording

    found: dict[str, Tracker] = {"pYIN": lambda voice: contour_of_recording(voice, RATE)}
    return found | ({"swift-f0": swift_f0} if find_spec("swift_f0") else {})


def swift_f0(voice: np.ndarray) -> np.ndarray:
    import librosa
    from swift_f0 import SwiftF0

    from riff.audio.io import resample
    from riff.audio.notes import FRAMES_A_SECOND, HIGHEST_HZ, LOWEST_HZ

    found = SwiftF0(threads=1).detect(resample(voice, RATE, 16_000)[0], 16_000, LOWEST_HZ, HIGHEST_HZ)
    pitch = np.where(found.confidence > 0.5, librosa.hz_to_midi(found.pitch_hz), np.nan)
    times = np.arange(int(found.timestamps[-1] * FRAMES_A_SECOND)) / FRAMES_A_SECOND
    return pitch[np.abs(found.timestamps[:, None] - times).argmin(axis=0)]


def accuracy(tracker: Tracker, voice: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Raw pitch and chroma accuracy and the voicing measures of `mir_eval.melody`, and seconds of computing a second."""
    import mir_eval

    from riff.metrics.melody import track_of_contour
    from riff.metrics.vocals import raw_chroma_accuracy, raw_pitch_accuracy

    start = time.process_time()
    found = tracker(voice)
    spent = time.process_time() - start
    found = np.pad(found[: len(truth)], (0, max(0, len(truth) - len(found))), constant_values=np.nan)
    voiced, expected = (np.isfinite(one).astype(float) for one in (found, truth))
    track, reference = track_of_contour(found), track_of_contour(truth)
    recall, false_alarm = mir_eval.melody.voicing_measures(expected, voiced)
    return {
        "raw pitch accuracy": raw_pitch_accuracy(track, reference),
        "raw chroma accuracy": raw_chroma_accuracy(track, reference),
        "voicing recall": recall,
        "false alarm": false_alarm,
        "seconds a second": spent / SECONDS,
    }


if __name__ == "__main__":
    cli.run(main)
