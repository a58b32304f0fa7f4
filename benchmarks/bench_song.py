"""A new vocal for a whole song: the share of the song's length that every stage takes, and the memory of all.

    python benchmarks/bench_song.py --seconds 15 60 240
    python benchmarks/bench_song.py --models models/riff-cnet-final --seconds 240 --separator demucs --device cuda

Runs inpaint_song.py on synthesised songs, each run in a process of its own, and prints real-time factors: 0.5 is half the
song's length. `MB` is the peak of the process's memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riff import cli

CATALOGUE = 4
COMPOSED_S = 60.0  # a longer song repeats it


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--models", nargs="+", default=["models/riff-cnet-mini", "models/riff-pix2pix-mini"], help="folders or hub ids")
    add("--seconds", nargs="+", type=cli.real(above=0), default=[15.0, 60.0], help="lengths of the songs")
    add("--steps", type=cli.DENOISING_STEPS, help="denoising steps (default: the model's recommendation, else 20)")
    add("--overlap", type=cli.real(0, below=1), default=0.5, help="share that neighbouring windows have in common")
    add("--window_batch_size", type=cli.whole(1), help="windows a forward pass (default: 1 on a CPU, 8 on CUDA)")
    add("--output", type=Path, default=Path("benchmarks/results/bench_song.json"), help="where the figures go")
    parser.add_separation()
    parser.add_device()
    parser.set_defaults(separator="repet")
    args = parser.parse_args(argv)
    if min(args.seconds) < 1:
        parser.error("--seconds: give lengths of a second or more")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    rows: list[dict] = []
    for seconds in args.seconds:
        with tempfile.TemporaryDirectory() as folder:
            write_song(Path(folder) / "song.wav", seconds)
            for model in args.models:
                row = {"model": model, "song_s": seconds, **sing(Path(folder), model, args)}
                if not rows:
                    print(f"{'model':26}{'song, s':>8}" + "".join(f"{stage:>12}" for stage in row["factors"]) + f"{'MB':>8}")
                rows.append(row)
                stages = "".join(f"{factor:12.3f}" for factor in row["factors"].values())
                print(f"{Path(model).name:26}{seconds:8.0f}{stages}{row['peak_mb']:8.0f}", flush=True)
    cli.write_manifest(args.output, vars(args), rows=rows)


def write_song(path: Path, seconds: float) -> None:
    import numpy as np

    from demo.composition import compose
    from riff.audio.io import write_audio

    song = compose(CATALOGUE, 0, min(seconds, COMPOSED_S))
    samples = round(seconds * song.sample_rate)
    write_audio(path, np.resize(song.mixture.T, (samples, len(song.mixture))).T, song.sample_rate)


def sing(folder: Path, model: str, args: cli.argparse.Namespace) -> dict[str, Any]:
    """Run inpaint_song.py: real-time factors by stage and in all, and the most memory in MB.

    Raises:
        RiffError: it failed.
    """
    from riff.errors import RiffError
    from riff.files import read_mapping

    flags: dict[str, Any] = {"steps": args.steps, "overlap": args.overlap, "separator": args.separator, "device": args.device}
    flags |= {"window_batch_size": args.window_batch_size, "spleeter_model_dir": args.spleeter_model_dir}
    flags |= {"audio": folder / "song.wav", "model": model, "output": folder / "out", "melody": "none"}
    command = [sys.executable, str(cli.ROOT / "inpaint_song.py"), "--overwrite"]
    command += [str(word) for name, value in flags.items() if value is not None for word in (f"--{name}", value)]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)  # tells what this one child used
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RiffError(f"inpaint_song.py ended with {process.returncode}: {output.read().splitlines()[-1]}")
    made = read_mapping(folder / "out" / "manifest.json")
    length = sum(made["seconds"].values()) / made["real_time_factor"]
    factors = {stage: spent / length for stage, spent in made["seconds"].items()}
    return {"factors": factors | {"all": made["real_time_factor"]}, "peak_mb": used.ru_maxrss / 1024}


if __name__ == "__main__":
    cli.run(main)
