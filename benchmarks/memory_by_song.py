"""Memory of make_cnet_dataset.py over many songs in one call.

    python benchmarks/memory_by_song.py --audio_dir songs/ --separator spleeter

Runs the script on the folder, reads the memory of its process five times a second, and prints the peak
while it worked on each tenth of the songs. Flat is what it should be. What it makes is thrown away.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from riff import cli
from riff.errors import RiffError

PERIOD_S = 0.2
ROWS = 10


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--audio_dir", type=Path, required=True, help="folder of songs")
    parser.add_separation()
    parser.add_argument("--output", type=Path, help="where the figures go (default: benchmarks/results/memory_SEPARATOR.json)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    command = [
        sys.executable,
        str(cli.ROOT / "make_cnet_dataset.py"),
        "--audio_dir",
        str(args.audio_dir),
        "--no-pitch_augment",
        "--num_workers",
        "1",
    ]
    command += ["--separator", args.separator]
    command += ["--spleeter_model_dir", str(args.spleeter_model_dir)] if args.spleeter_model_dir else []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "prompts.json").write_text("")
        command += ["--train_data_dir", f"{folder}/pairs", "--prompt_file", f"{folder}/prompts.json"]
        began = time.perf_counter()
        peaks = watch(command, Path(folder) / "pairs" / "songs.jsonl")
        seconds = time.perf_counter() - began
    songs = max(peaks)
    rows = []
    print(f"{'songs':>12}{'most memory, MB':>18}")
    for row in range(ROWS):
        first, last = 1 + row * songs // ROWS, (row + 1) * songs // ROWS
        most = max((peaks[number] for number in range(first, last + 1) if number in peaks), default=0.0)
        rows.append({"first": first, "last": last, "peak_mb": most})
        print(f"{first:>6} -{last:>4}{most:18.0f}")
    print(f"{songs} songs in {seconds:.0f} s")
    output = args.output or Path(f"benchmarks/results/memory_{args.separator}.json")
    cli.write_manifest(output, vars(args), songs=songs, seconds=seconds, rows=rows)


def watch(command: Sequence[str], ledger: Path) -> dict[int, float]:
    """Run a command; the most memory (MB, resident) by the number of songs that were done.

    Raises:
        RiffError: the command failed.
    """
    peaks: dict[int, float] = {}
    with tempfile.TemporaryFile("w+") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        while process.poll() is None:
            done = len(ledger.read_text().splitlines()) if ledger.exists() else 0
            peaks[done] = max(peaks.get(done, 0.0), resident_mb(process.pid))
            time.sleep(PERIOD_S)
        if process.returncode:
            output.seek(0)
            raise RiffError(f"{command[1]} ended with {process.returncode}: {output.read().splitlines()[-1]}")
    return peaks


def resident_mb(pid: int) -> float:
    """Resident memory of a process; 0 if it has just ended."""
    import psutil

    try:
        return psutil.Process(pid).memory_info().rss / 2**20
    except psutil.NoSuchProcess:
        return 0.0


if __name__ == "__main__":
    cli.run(main)
