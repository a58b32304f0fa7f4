"""Every separator on songs whose parts are known: how well, how fast, and in how much memory.

    python benchmarks/bench_separation.py --num_songs 8
    python benchmarks/bench_separation.py --musdb musdb18hq/test --separators repet spleeter demucs
    python benchmarks/bench_separation.py --real --separators repet spleeter --output benchmarks/results/separation_real.json

Songs are synthesised (a catalogue that no model is trained on), read from a folder in MUSDB's layout, or the 6 s of MUSDB18
that the package stempeg ships, which pip downloads. Each separator has a process of its own; one that cannot be had here says
why. SI-SDR (Le Roux et al., ICASSP 2019) and SDR, of the whole song, are means over songs; `the mix` is what doing nothing
scores. Seconds are those of separating, after loading and one song to warm up.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from riff import cli
from riff.devices import choose_device

CATALOGUE = 3
SEPARATORS = ("repet", "spleeter", "spleeter-tf", "demucs", "demucs_ft")


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--num_songs", type=cli.whole(1), default=8, help="how many songs")
    add("--seconds", type=cli.real(above=0), default=20.0, help="length of a synthesised song")
    add("--musdb", type=Path, help="MUSDB18, in either form, to measure on instead")
    parser.add_flag("real", default=False, help="measure on stempeg's example instead")
    add("--separators", nargs="+", default=SEPARATORS, choices=SEPARATORS, help="which to measure")
    add("--spleeter_model_dir", type=Path, help="where Spleeter's weights lie (default: MODEL_PATH, else the user's cache)")
    parser.add_flag("random_weights", default=False, help="weights mean nothing here: leave quality out")
    add("--output", type=Path, default=Path("benchmarks/results/bench_separation.json"), help="where the figures go")
    parser.add_device()
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    device = choose_device(args.device)
    head = ("separator", *("vocals dB", "accompaniment dB") * 2, "s per s", "peak MB", "before MB")
    print(f"{'':14}{'SI-SDR':>12}{'':18}{'SDR':>12}\n" + "{:14}{:>12}{:>18}{:>12}{:>18}{:>10}{:>10}{:>11}".format(*head))
    results = {}
    for name in ("the mix", *args.separators):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            results[name] = pool.apply(measure, (name, args, device))
        print(_line(name, results[name]), flush=True)
    cli.write_manifest(args.output, vars(args), results=results)


def _line(name: str, result: dict) -> str:
    if "error" in result:
        return f"{name:14}{result['error']}"
    quality = "".join(f"{result[key]:{width}.2f}" if key in result else f"{'':{width}}" for key, width in QUALITY)
    return f"{name:14}{quality}{result['seconds_per_second']:10.3f}{result['peak_mb']:10.0f}{result['before_mb']:11.0f}"


QUALITY = (("vocals_si_sdr_db", 12), ("accompaniment_si_sdr_db", 18), ("vocals_sdr_db", 12), ("accompaniment_sdr_db", 18))


def measure(name: str, args: cli.argparse.Namespace, device: str) -> dict:
    """Separate all songs; run in a process of its own, whose memory is this separator's."""
    import numpy as np

    from riff.errors import RiffError
    from riff.metrics.sounds import sdr, si_sdr
    from riff.separation.separator import SeparationOptions, create_separator
    from riff.separation.spleeter_tf import SpleeterTensorFlow

    separator = None
    try:
        if name != "the mix":
            options = SeparationOptions(name, device=device, spleeter_model_dir=args.spleeter_model_dir)
            separator = create_separator(options)
    except RiffError as error:
        return {"error": str(error)}
    scores, seconds, length, before = [], 0.0, 0.0, 0.0
    for number, (vocals, accompaniment, rate) in enumerate(songs(args)):
        mix = vocals + accompaniment
        if number == 0 and separator:
            separator.separate(mix[:, : 5 * rate], rate)
            before = peak_mb()  # with the model and one short song
        began = time.perf_counter()
        stems = separator.separate(mix, rate) if separator else None
        seconds += time.perf_counter() - began
        length += mix.shape[1] / rate
        pairs = ((stems.vocals if stems else mix, vocals), (stems.accompaniment if stems else mix, accompaniment))
        scores.append([score(estimate, truth) for score in (si_sdr, sdr) for estimate, truth in pairs])
    if isinstance(separator, SpleeterTensorFlow):
        separator.close()  # the peak of a child process is known when it has ended
    result = {"seconds_per_second": seconds / length, "peak_mb": peak_mb(), "before_mb": before, "songs": len(scores)}
    if not args.random_weights or name in ("the mix", "repet"):
        result |= {key: float(score) for (key, _), score in zip(QUALITY, np.mean(scores, axis=0), strict=True)}
    return result


def peak_mb() -> float:
    """Peak memory of this process, or of an ended process that it started."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def songs(args: cli.argparse.Namespace) -> Iterator[tuple]:
    """Yield (vocals, accompaniment, sample rate), one song at a time."""
    if args.musdb or args.real:
        from riff.experiments.real_songs import fetch_example
        from riff.pairs.songs import list_stem_songs
        from riff.separation.stems import read_stems

        for song_file in list_stem_songs(args.musdb or fetch_example())[: args.num_songs]:
            stems, rate = read_stems(song_file.path)
            yield stems.vocals, stems.accompaniment, rate
        return
    from demo.world.compose import compose

    for index in range(args.num_songs):
        song = compose(CATALOGUE, index, args.seconds)
        yield song.stems["vocals"], song.mixture - song.stems["vocals"], song.sample_rate


if __name__ == "__main__":
    cli.run(main)
