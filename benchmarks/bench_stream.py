"""A song that plays while it is generated: time to the first sound, speed, underruns, and seams beside those of whole-song windows.

    python benchmarks/bench_stream.py --seconds 60
    OMP_NUM_THREADS=1 python benchmarks/bench_stream.py --seconds 600 --windows False --cpu_time  # on one busy core

Songs are synthesised (a catalogue that no model is trained on), with the model loaded and the song separated. The first sound is
that of a request: its tune, its text and the first window. The player begins with the first piece and plays at the song's speed;
an underrun is a piece that comes after the one before has ended; those of ten minutes are simulated from the measured times
between pieces, over and over. Speed is seconds of song a second. Seams are those of the vocal's own sound: change where a stream's
windows begin, over the change elsewhere (riff.metrics.seams).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from riff import cli
from riff.devices import choose_device

CATALOGUE = 4
COMPOSED_S = 60.0  # a longer song repeats it


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--model", default="models/riff-pix2pix-mini", help="folder or hub id of a control or an edit model")
    add("--base", help="base to use instead of the one that --model names")
    add("--seconds", type=cli.real(10), default=60.0, help="length of a song")
    add("--num_songs", type=cli.whole(1), default=1, help="how many songs")
    add("--steps", type=cli.DENOISING_STEPS, default=4, help="denoising steps")
    parser.add_flag("windows", default=True, help="generate each song in windows as well, for its seams and time")
    parser.add_flag("cpu_time", default=False, help="CPU seconds of the process, on a machine with other work")
    add("--output", type=Path, default=Path("benchmarks/results/bench_stream.json"), help="where the figures go")
    parser.add_device()
    parser.add_seed()
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from riff.sampling.song import load_song_model

    model = load_song_model(args.model, args.base, choose_device(args.device), steps=args.steps)
    generate(model, cli.argparse.Namespace(**vars(args) | {"windows": False}), 0, 6.0)  # compiles and caches
    songs: list[dict[str, Any]] = []
    for number in range(args.num_songs):
        songs.append(generate(model, args, number, args.seconds))
        first, speed, late = (songs[-1][name] for name in ("first_sound_s", "speed", "underruns"))
        print(
            f"song {number}: first sound after {first:.2f} s, {speed:.2f} times as fast as it plays, {late} underruns", flush=True
        )
    seams = {way: ratios([song["curves"][way] for song in songs], songs[0]["borders"]) for way in songs[0]["curves"]}
    for way, found in seams.items():
        print(f"{way:10}" + "".join(f"{measure:>18} {ratio:5.2f}" for measure, ratio in found.items()))
    rows = [{name: value for name, value in song.items() if name not in ("curves", "borders")} for song in songs]
    cli.write_manifest(args.output, vars(args), songs=rows, seams=seams)


def generate(model: Any, args: cli.argparse.Namespace, number: int, seconds: float) -> dict[str, Any]:
    """Stream a song, and generate it in windows: times, underruns, and the `SeamCurves` of the vocals."""
    from riff.sampling.melody import TuneGuide, tune_for
    from riff.sampling.rendering import backing_image, render_mix
    from riff.sampling.song import SongSampler
    from riff.sampling.stream import SongStream, joined
    from riff.spectrogram.phase import OVERLAP_FRAMES

    clock = time.process_time if args.cpu_time else time.perf_counter
    song = composed(number, seconds)
    backing = backing_image(song)
    tune = tune_for(args.model, None, None)
    began = clock()
    guide = TuneGuide(tune, song, backing, model.target, model.prompt_for(None)) if tune else None
    stream = SongStream(model, song, backing, model.prompt_for(None), args.seed, guide)
    pieces, arrivals = [], []
    for piece in stream:
        arrivals.append(clock() - began)
        pieces.append(piece)
    starts = [piece.start / song.sample_rate for piece in pieces]
    underruns, stalled_s = playback(arrivals, starts)
    borders = [round(100 * start) + OVERLAP_FRAMES // 2 for start in starts[1:]]
    curves = {"backing": seams_of(song.accompaniment), "stream": seams_of(joined(pieces).vocal)}
    windows_s = None
    if args.windows:
        began = clock()
        output = SongSampler(model, backing, model.prompt_for(None), guide=guide).sample(args.seed)
        curves["windows"] = seams_of(render_mix(song, output, model.target).vocal)
        windows_s = clock() - began
    speed = seconds / arrivals[-1]
    times = {"first_sound_s": arrivals[0], "first_piece_s": starts[1], "speed": speed, "slowest_s": slowest(arrivals)}
    in_ten_minutes, _ = playback(over_and_over(arrivals), over_and_over(starts))
    playing = {
        "underruns": underruns,
        "in_ten_minutes": in_ten_minutes,
        "stalled_s": stalled_s,
        "windows_s": windows_s,
        "arrivals": arrivals,
        "starts": starts,
    }
    return {**times, **playing, "curves": curves, "borders": borders}


def slowest(arrivals: Sequence[float]) -> float:
    """The longest time between two pieces."""
    return max(after - before for before, after in pairwise(arrivals))


def playback(arrivals: Sequence[float], starts: Sequence[float]) -> tuple[int, float]:
    """Play pieces from the arrival of the first: the number of underruns, and how many seconds the player waited in all.

    Args:
        arrivals: when each piece is finished. starts: where it begins in the song. Both in seconds.
    """
    underruns, waited_s = 0, 0.0
    for arrival, start in zip(arrivals, starts, strict=True):
        late_s = arrival - (arrivals[0] + start + waited_s)
        if late_s > 0:
            underruns, waited_s = underruns + 1, waited_s + late_s
    return underruns, waited_s


def over_and_over(times: Sequence[float], pieces: int = 160) -> list[float]:
    """Times of so many pieces, from the differences of these without the first and the last, which are shorter: ten minutes."""
    between = [after - before for before, after in pairwise(times)][:-1] or [0.0]
    return list(accumulate((between[number % len(between)] for number in range(pieces)), initial=times[0]))


def composed(number: int, seconds: float) -> Any:
    import numpy as np

    from demo.world.compose import compose
    from riff.separation.song import song_of

    made = compose(CATALOGUE, number, min(seconds, COMPOSED_S))
    vocals = made.stems["vocals"]
    backing, samples = made.mixture - vocals, round(seconds * made.sample_rate)
    vocals, backing = (np.resize(part.T, (samples, len(part))).T.copy() for part in (vocals, backing))
    return song_of(vocals, backing, made.sample_rate)


def seams_of(waveform: Any) -> Any:
    import torch

    from riff.metrics.seams import seam_curves
    from riff.spectrogram.image import waveform_to_image

    return seam_curves(waveform_to_image(torch.from_numpy(waveform)).pixels)


def ratios(curves: Sequence[Any], borders: Sequence[int]) -> dict[str, float]:
    from riff.metrics.seams import SeamCurves, border_ratio

    return {name: border_ratio([getattr(one, name) for one in curves], [borders] * len(curves)) for name in SeamCurves._fields}


if __name__ == "__main__":
    cli.run(main)
