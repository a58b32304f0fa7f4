"""Steps a second and memory of training: this project's scripts beside the plain way, same shapes, same pairs, one run.

    python benchmarks/bench_training.py
    python demo/full_size.py && python benchmarks/bench_training.py --base outputs/full-size-base --device cuda --steps 20 60

Each way is a command that is run with two numbers of steps, and the difference of its times is the time of the steps between
them: reading, loading, encoding once and saving do not count. Ways take turns, so that a busy machine slows all of them.
Memory is the peak of the process, on CUDA that of allocated GPU memory. The plain way (plain_training.py) has the autoencoder
and the text encoder in the step and float32 everywhere.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from riff import cli
from riff.devices import choose_device

PLAIN = "plain"


class Times(NamedTuple):
    """Of one command: its seconds and the peak of its memory in bytes."""

    seconds: float
    peak_bytes: int


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--base", default="mini", help="base of both models")
    add("--train_data_dir", type=Path, default=Path("train-data"), help="folder of ControlNet pairs with accompaniments")
    add("--kinds", nargs="+", default=["control", "edit"], choices=("control", "edit"), help="what to train")
    add("--memory", nargs="+", default=["full"], help="presets to measure (see --memory of the scripts)")
    add("--steps", nargs=2, type=cli.whole(1), default=[5, 25], metavar=("FEW", "MANY"), help="the two numbers of steps")
    add("--rounds", type=cli.whole(1), default=3, help="turns of every way; the median counts")
    add("--batch_size", type=cli.BATCH, default=4, help="pairs a batch")
    parser.add_device()
    add("--output", type=Path, help="where the figures go (default: benchmarks/results/bench_training_DEVICE.json)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    device = choose_device(args.device)
    results: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory() as place:
        for kind in args.kinds:
            results[kind] = measure(kind, args, device, Path(place))
    output = args.output or Path(f"benchmarks/results/bench_training_{device}.json")
    cli.write_manifest(output, vars(args), results=results)


def measure(kind: str, args: cli.argparse.Namespace, device: str, place: Path) -> dict[str, dict[str, Any]]:
    """way -> steps a second, how many times the plain way's, and the peak of memory."""
    ways = [PLAIN, *args.memory]
    commands = commands_of(kind, args, device, place)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    peaks: dict[str, int] = {}
    few, many = args.steps
    for _ in range(args.rounds):
        for way in ways:
            short, long = (run([*commands[way], str(steps)], place) for steps in (few, many))
            seconds[way].append((long.seconds - short.seconds) / (many - few))
            peaks[way] = max(peaks.get(way, 0), long.peak_bytes)
    rows = {}
    for way in ways:
        second = statistics.median(seconds[way])
        ratio = statistics.median(plain / ours for plain, ours in zip(seconds[PLAIN], seconds[way], strict=True))
        rows[way] = {"steps_per_second": 1 / second, "times_plain": ratio, "peak_bytes": peaks[way], "seconds": seconds[way]}
        print(f"{kind:8}{way:8}{1 / second:8.2f} steps/s{ratio:7.2f} times plain{peaks[way] / 2**30:8.2f} GiB")
    return rows


def commands_of(kind: str, args: cli.argparse.Namespace, device: str, place: Path) -> dict[str, list[str]]:
    """way -> a command that lacks its number of steps."""
    common = ["--device", device, "--num_workers", "1", "--batch_size", str(args.batch_size)]
    model = args.base
    if kind == "control":
        model = str(place / "control")
        call([script("cnet_riff_add_control.py"), "--base", args.base, "--output", model])
        data = ["--train_data_dir", str(args.train_data_dir)]
        ours = [script("cnet_riff_training.py"), "--model", model, *data, *common, "--log_dir", str(place / "logs")]
        ours += [
            "--output",
            str(place / "final"),
            "--overwrite",
            "--controlnet_only",
            *unsampled("logger_freq", "checkpoint_freq", "val_freq"),
        ]
        ours += ["--sample_steps", "1", "--memory", "{}", "--max_steps"]
    else:
        ours = [script("train_instruct_pix2pix.py"), "--pretrained_model_name_or_path", model, "--logging_dir", str(place / "logs")]
        ours += ["--train_data_dir", str(edit_pairs(args.train_data_dir, place / "pairs")), "--device", device]
        ours += ["--dataloader_num_workers", "1", "--train_batch_size", str(args.batch_size), "--snr_gamma", "0"]
        ours += ["--output_dir", str(place / "final"), "--overwrite", "--unet_only", "--num_validation_images", "1"]
        ours += [*unsampled("validation_steps", "checkpointing_steps", "val_freq"), "--sample_steps", "1"]
        ours += ["--memory", "{}", "--max_train_steps"]
    plain = [script("benchmarks/plain_training.py"), "--kind", kind, "--model", model]
    plain += ["--train_data_dir", str(args.train_data_dir), *common, "--max_steps"]
    return {PLAIN: plain} | {preset: [word.format(preset) for word in ours] for preset in args.memory}


def unsampled(*flags: str) -> list[str]:
    """Flags that put off what is done every so many steps until the end, where it is done after few and many alike."""
    return [word for flag in flags for word in (f"--{flag}", "1000000")]


def edit_pairs(pairs: Path, folder: Path) -> Path:
    """The same images as edit pairs, from the accompaniment to the mix."""
    from riff.data.records import EDIT_RECORDS_FILE, read_records

    folder.mkdir()
    lines = []
    for record in read_records(pairs):
        for path in (record.accompaniment, record.target):
            (folder / path).parent.mkdir(exist_ok=True)
            shutil.copy(pairs / path, folder / path)
        line = {"input_file_path": record.accompaniment, "edited_file_path": record.target, "edit_prompt": record.prompt}
        lines.append(json.dumps(line | {"song": record.song}) + "\n")
    (folder / EDIT_RECORDS_FILE).write_text("".join(lines))
    return folder


def script(name: str) -> str:
    return str(cli.ROOT / name)


def call(command: Sequence[str]) -> None:
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run(command: Sequence[str], place: Path) -> Times:
    """Run a script to its end, in a process of its own.

    Raises:
        RiffError: it failed.
    """
    import os

    from riff.errors import RiffError

    with open(place / "output.txt", "w+") as output_file:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, *command], stdout=output_file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        output_file.seek(0)
        lines = output_file.read().splitlines()
    if status:
        raise RiffError(f"{' '.join(command)} failed: {lines[-1] if lines else ''}")
    peak = cuda_peak(lines, place / "final" / "manifest.json")
    return Times(seconds, peak or usage.ru_maxrss * 1024)


def cuda_peak(lines: Sequence[str], manifest: Path) -> int | None:
    """The peak of GPU memory, as the plain script's last line or our script's manifest says it; None on a CPU."""
    if lines and lines[-1].startswith("{"):
        return json.loads(lines[-1])["peak_bytes"]
    measured = (json.loads(manifest.read_text())["memory"] or {}).get("measured_peak_gib")
    return int(measured * 2**30) if measured else None


if __name__ == "__main__":
    cli.run(main)
