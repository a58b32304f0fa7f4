"""The whole ControlNet way on the shipped songs and the small model, and a page of what came out.

    python demo/quickstart.py

Separates the songs of raw-audio/ and makes pairs, attaches a ControlNet to riffusion-mini, trains it for a few minutes,
draws samples with it and with the shipped riff-cnet-mini over a song that neither has seen, measures both, sings the whole of that
song with the shipped riff-pix2pix-mini, and writes outputs/quickstart/index.html. A stage whose result is there is not done again;
with other flags it replaces what it made before, and never a file that is not of the quickstart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from riff import cli
from riff.errors import OptionError, RiffError
from riff.files import make_folder, only_writer

PROMPT = "Generate an uplifting female vocal rock melody"
INSTRUCTION = "add an uplifting female vocal rock melody"
UNSEEN_SONG = "rock-0023"  # of catalogue 3, which no model is trained on


@dataclass(frozen=True)
class Stage:
    """A command, what it is for, and the file that it leaves last. again: flags added where an earlier result is replaced."""

    name: str
    command: tuple[object, ...]
    result: Path
    again: tuple[str, ...] = ("--overwrite",)


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--output", type=Path, default=Path("outputs/quickstart"), help="folder for everything that is made")
    add("--base", default="mini", help="base model")
    add("--trained", default="models/riff-cnet-mini", help="the ControlNet to set beside the one trained now")
    add("--singer", default="models/riff-pix2pix-mini", help="the model that sings the whole song")
    add("--audio_dir", type=Path, default=Path("raw-audio"), help="songs to train on")
    add("--prompt_file", type=Path, default=Path("prompt_file.json"), help="their prompts")
    add("--max_train_time", type=cli.seconds, default="2:30", help="how long to train at the most")
    add("--max_steps", type=cli.whole(1), default=1000, help="how many steps to train at the most")
    add("--num_samples", type=cli.whole(1), default=3, help="samples of each model")
    add("--steps", type=cli.DENOISING_STEPS, default=20, help="denoising steps of a sample")
    add("--num_measured", type=cli.whole(1), default=4, help="unseen songs to measure on")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    stages, page = plan(args), args.output / "index.html"
    if page.exists() and not any(stage.result.exists() for stage in stages):
        raise OptionError(f"--output {args.output}: holds index.html, which this would replace; use another folder")
    with only_writer(make_folder(args.output)):
        for number, stage in enumerate(stages, start=1):
            run_stage(stage, f"[{number}/{len(stages)}]")
        from demo.quickstart_page import write_page

        write_page(args.output, PROMPT, UNSEEN_SONG, args.num_samples)
    print(f"open {page.resolve()}")


def plan(args: cli.argparse.Namespace) -> list[Stage]:
    """The stages in order, each the command that a person would type."""
    out = args.output
    fresh = out / "riff-cnet-fresh"
    song = ("--audio", out / "song" / f"{UNSEEN_SONG}.wav", "--prompt", PROMPT, "--start", 3)
    separator = ("--separator", "repet")  # needs no download
    sampling = (*song, *separator, "--num_samples", args.num_samples, "--steps", args.steps)
    pairs = ("--train_data_dir", out / "pairs")
    training = (*pairs, "--model", out / "control_ini", "--output", fresh, "--log_dir", out, "--controlnet_only")
    length = ("--max_train_time", args.max_train_time, "--max_steps", args.max_steps, "--logger_freq", 200)
    measuring = ("--songs", f"demo:{args.num_measured}", "--steps", args.steps, "--num_shown", 2)
    index = int(UNSEEN_SONG.split("-")[1])
    return [
        Stage(
            "pairs from the songs: separate, cut, spectrograms, edges",
            (
                "make_cnet_dataset.py",
                "--audio_dir",
                args.audio_dir,
                "--prompt_file",
                args.prompt_file,
                *("--output", out / "pairs"),
                *separator,
                "--no-pitch_augment",
            ),
            out / "pairs" / "complete",
        ),
        Stage(
            "attach a ControlNet to the base",
            ("cnet_riff_add_control.py", "--base", args.base, "--output", out / "control_ini"),
            out / "control_ini" / "complete",
        ),
        Stage(
            f"train it ({args.max_train_time:g} s at the most)",
            (
                "cnet_riff_training.py",
                *training,
                "--overwrite",
                *length,
                "--learning_rate",
                1e-3,
                "--warmup_steps",
                20,
                "--num_workers",
                0,
            ),
            fresh / "complete",
            again=(),
        ),
        Stage(
            "a song that no model has seen",
            (
                "demo/make_songs.py",
                "--seed",
                3,
                "--start_ind",
                index,
                "--num_songs",
                1,
                "--mixtures_only",
                "--output",
                out / "song",
            ),
            out / "song" / "complete",
        ),
        Stage(
            "samples of the model trained just now",
            ("sample_riff_cnet.py", "--model", fresh, *sampling, "--output", out / "samples-fresh"),
            out / "samples-fresh" / "complete",
        ),
        Stage(
            "samples of the shipped model",
            ("sample_riff_cnet.py", "--model", args.trained, *sampling, "--output", out / "samples-shipped"),
            out / "samples-shipped" / "complete",
        ),
        Stage(
            "measure the model trained just now",
            ("tools/evaluate_samples.py", "--model", fresh, *measuring, "--output", out / "measured-fresh"),
            out / "measured-fresh" / "complete",
        ),
        Stage(
            "measure the shipped model",
            ("tools/evaluate_samples.py", "--model", args.trained, *measuring, "--output", out / "measured-shipped"),
            out / "measured-shipped" / "complete",
        ),
        Stage(
            "the whole song with another singer",
            (
                "inpaint_song.py",
                *("--audio", out / "song" / f"{UNSEEN_SONG}.wav", "--prompt", INSTRUCTION, "--model", args.singer),
                *separator,
                *("--steps", args.steps, "--output", out / "whole-song"),
            ),
            out / "whole-song" / "complete",
        ),
    ]


def run_stage(stage: Stage, number: str) -> None:
    """Run a stage unless this very command has been run to its end before.

    Raises:
        RiffError: the command failed; its own message stands above.
    """
    words = [str(word) for word in stage.command]
    if stage.result.exists() and json.loads(stage.result.read_text()) == words:
        print(f"{number} {stage.name}: done before", flush=True)
        return
    print(f"{number} {stage.name}", flush=True)
    again = stage.again if stage.result.exists() else ()
    began = time.monotonic()
    done = subprocess.run([sys.executable, str(cli.ROOT / words[0]), *words[1:], *again], check=False)
    if done.returncode:
        raise RiffError(f"{words[0]} ended with {done.returncode}; its message stands above")
    stage.result.write_text(json.dumps(words))
    print(f"{number} {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    cli.run(main)
