"""Flags with the same meaning in every script, and a readable `--help`."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from riff import __version__
from riff.cli.numbers import CANNY, DENOISING_STEPS, PROCESSES, SEED, Number, parse_time, real, seconds, shown, whole
from riff.cli.progress import warn
from riff.cli.vocabulary import option_strings
from riff.errors import OptionError, RiffError
from riff.files import LONGEST_NAME, read_mapping
from riff.seeds import TORCH_SEEDS

ROOT = Path(__file__).resolve().parent.parent.parent
TOKENS = ("token",)  # flags that are not written to any file
ONE_CALL = ("resume", "overwrite", "push_to_hub", "dry_run", *TOKENS)  # not inherited by a resumed run
WIDEST_HELP = 132  # columns
LONGEST_ERROR = 1000  # characters, since values may be of any length
SEPARATORS = ("spleeter", "spleeter-tf", "demucs", "demucs_ft", "repet")
RANDOM = "random"  # value of --seed
NEGATIVE_NUMBER = re.compile(r"-(\.?\d|inf|nan)", re.IGNORECASE)  # argparse's own pattern takes -1e-5 for a flag


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows every default, each flag by one name, and only positional and required arguments in the usage line."""

    def __init__(self, prog: str, **more: Any) -> None:
        width = min(shutil.get_terminal_size().columns, WIDEST_HELP) - 2
        super().__init__(prog, max_help_position=32, width=width, **more)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Wrap the paragraphs of a docstring, and leave indented lines, which are commands, as they are."""
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(one if one.startswith(" ") else "\n".join(self._split_lines(one, width)) for one in paragraphs)

    def _split_lines(self, text: str, width: int) -> list[str]:
        """Wrap between words alone: paths and flags hold hyphens, and are copied."""
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        described = action.help
        if isinstance(action.type, Number) and action.choices is None:
            described = f"{action.help}; {action.type.range}"
        if not (action.required or action.default in (None, "", [], argparse.SUPPRESS)):
            default = " ".join(map(str, action.default)) if isinstance(action.default, list) else "%(default)s"
            described = f"{described} (default: {default})"
        older = [] if isinstance(action, _BooleanAction) else [name for name in action.option_strings[1:] if name != "--help"]
        return f"{described}; also as {', '.join(older)}" if older else described

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        names: dict[Any, str] = {int: "N", float: "X", parse_time: "TIME", Path: "PATH"}
        return names.get(action.type.type if isinstance(action.type, Number) else action.type, "TEXT")

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if isinstance(action, _BooleanAction):
            return f"--[no-]{action.dest}"
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{action.option_strings[0]} {self._format_args(action, self._get_default_metavar_for_optional(action))}"

    def _format_usage(self, usage, actions, groups, prefix):  # type: ignore[no-untyped-def]
        shown_actions = [action for action in actions if action.required or not action.option_strings]
        if len(shown_actions) < len(list(actions)):
            return super()._format_usage(usage, shown_actions, [], prefix).rstrip() + " [flags]\n\n"
        return super()._format_usage(usage, actions, groups, prefix)


class _BooleanAction(argparse.Action):
    """`--flag`, `--flag True`, `--flag False` and `--no-flag`."""

    def __call__(self, parser, namespace, value, option_string=None):  # type: ignore[no-untyped-def]
        words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
        text = "true" if value is None else value.lower()
        if text not in words:
            parser.error(f"argument {option_string}: {value!r} is neither True nor False")
        setattr(namespace, self.dest, words[text] != option_string.startswith("--no-"))


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser whose `--help` shows the script's docstring, and flags under headings with their defaults."""

    def __init__(self, description: str | None) -> None:
        self._heading: argparse._ArgumentGroup | None = None
        super().__init__(description=description, formatter_class=_HelpFormatter, allow_abbrev=False)
        self._negative_number_matcher = NEGATIVE_NUMBER
        self.add_argument("--version", action="version", dest=argparse.SUPPRESS, version=f"riff-cnet {__version__}")

    def error(self, message: str) -> NoReturn:
        """One line on stderr, and status 2."""
        line = " ".join(message.split())
        if len(line) > LONGEST_ERROR:
            line = f"{line[: LONGEST_ERROR // 2]} ... {line[-LONGEST_ERROR // 2 :]}"
        self.exit(2, f"error: {line}; see --help\n")

    def heading(self, title: str) -> None:
        """Put arguments that are added from here on under a heading of `--help`."""
        self._heading = self.add_argument_group(title)

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Add an argument, a flag with its older names (`riff.cli.vocabulary`), under the last heading.

        Args:
            names: the name in `--help` and in messages, and further ones of this script alone.
        """
        names = (*option_strings(names[0]), *names[1:]) if names else names
        return self._heading.add_argument(*names, **settings) if self._heading else super().add_argument(*names, **settings)

    def add_flag(self, name: str, *, default: bool | None, help: str) -> None:
        """Add a boolean: `--flag`, `--flag True`, `--flag False` and `--no-flag`."""
        self.add_argument(f"--{name}", f"--no-{name}", action=_BooleanAction, nargs="?", default=default, metavar="BOOL", help=help)

    def _get_value(self, action: argparse.Action, text: str) -> Any:
        """As argparse, and refuse a path that no file system allows."""
        value = super()._get_value(action, text)  # type: ignore[misc]
        if isinstance(value, Path) and any(len(part.encode(errors="surrogateescape")) > LONGEST_NAME for part in value.parts):
            raise argparse.ArgumentError(action, f"{shown(text)} is too long for the name of a file")
        return value

    def command(self, args: argparse.Namespace, flags: Sequence[str]) -> str:
        """The command line with these arguments: those of the flags whose values are not their defaults, in this order."""
        arguments = []
        for flag in flags:
            value = getattr(args, flag)
            if value != self.get_default(flag):
                words = value if isinstance(value, (list, tuple)) else () if value is True else (value,)
                arguments += [f"--{flag}", *map(str, words)]
        return f"{called_as()} {shlex.join(arguments)}".rstrip()

    def add_device(self) -> None:
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read when torch is imported
        devices = "device of the models; cuda is also AMD's ROCm, mps (Apple) is for sampling"
        self.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help=devices)

    def add_machines(self) -> None:
        """Add the flags of the devices and processes of a training run; `riff.training.launch` reads them."""
        self.heading("machine")
        self.add_device()
        add = self.add_argument
        add(
            "--devices",
            default="auto",
            type=_devices,
            metavar="N|auto",
            help="processes on this machine, one for each device: auto is all GPUs, or one CPU process",
        )
        add(
            "--num_nodes",
            default=1,
            type=PROCESSES,
            help="number of machines; run the same command on each, with MASTER_ADDR (of the first) and NODE_RANK (0, 1, ...) set; "
            "they must share the folders",
        )
        strategy = "several processes train data-parallel, each with the whole model: auto and ddp mean the same"
        add("--strategy", default="auto", choices=("auto", "ddp"), help=strategy)

    def add_separation(self, none: str = "") -> None:
        """Add the flags of `riff.separation.separator.SeparationOptions`; `separation_options` reads them.

        Args:
            none: meaning of `--separator none`, for scripts that allow it.
        """
        self.heading("separation")
        add = self.add_argument
        add(
            "--separator",
            default="auto",
            choices=("auto", "stems", *SEPARATORS, *["none"] * bool(none)),
            metavar="NAME",
            help="how songs are separated: spleeter (80 MB of weights, downloaded once), spleeter-tf (the original, in an "
            "environment of its own), demucs or demucs_ft (better; pip install demucs), repet (no weights, any machine, far "
            "worse), stems (given ones only), auto (stems where they are given, else spleeter, else repet)"
            + (f", none ({none})" if none else ""),
        )
        add(
            "--stems_dir",
            type=Path,
            help="folder of SONG/{vocals,drums,bass,other}.wav or SONG.stem.mp4 to use instead of a separator",
        )
        add("--spleeter_model_dir", type=Path, help="folder of Spleeter's weights (default: MODEL_PATH, else the user's cache)")

    def add_memory(self) -> None:
        """Add the flags of `riff.training.options.Savings` and its presets, and of compilation."""
        self.heading("memory and speed")
        add = self.add_argument
        add(
            "--memory",
            default="auto",
            choices=("auto", "full", "24", "16", "12", "8"),
            help="savings for a GPU with this many GiB: full is none, 24 stores frozen weights in half precision, 16 also "
            "recomputes activations, 12 also stores AdamW's moments in bf16, 8 the trained weights too; auto depends on the GPU",
        )
        self.add_flag("gradient_checkpointing", default=None, help="recompute activations (default: of --memory)")
        add(
            "--trained_weights",
            choices=("32", "bf16"),
            help="their dtype; bf16 is rounded stochastically (default: of --memory)",
        )
        add(
            "--optimizer_state",
            choices=("32", "bf16", "8bit"),
            help="storage of AdamW's moments; 8bit needs bitsandbytes (default: of --memory)",
        )
        self.add_flag(
            "compile", default=False, help="torch.compile the models' blocks: takes minutes at the start; no gain on a CPU"
        )
        self.add_flag(
            "dry_run", default=False, help="print dtypes of the weights and the predicted memory; train and write nothing"
        )

    def add_held_out(self) -> None:
        """Add the flags of the validation on held-out songs."""
        self.heading("held-out songs")
        add = self.add_argument
        self.add_val_share("share of songs held out for samples and the validation loss")
        add("--val_freq", type=whole(0), default=500, help="steps between validations; 0 is never")
        add("--val_pictures", type=whole(0), default=32, help="noisy examples of a validation; 0 is none")
        add("--sample_steps", type=DENOISING_STEPS, default=20, help="denoising steps of a sample")

    def add_val_share(self, help: str) -> None:
        self.add_argument("--val_share", type=real(0, below=1), default=0.1, help=help)

    def add_canny(self) -> None:
        """Add the thresholds of Canny's edges."""
        self.add_argument("--canny_low", type=CANNY, default=100, help="lower threshold of Canny's edges")
        self.add_argument("--canny_high", type=CANNY, default=200, help="upper threshold of Canny's edges")

    def check_canny(self, args: argparse.Namespace) -> None:
        if args.canny_low > args.canny_high:
            self.error(f"argument --canny_low: {args.canny_low} is above --canny_high {args.canny_high}")

    def add_melody(self) -> None:
        """Add the flags of `riff.sampling.melody.Tune`; `tune_of` reads them."""
        self.heading("melody")
        add = self.add_argument
        add(
            "--melody",
            metavar="none|compose|original|FILE",
            help="tune of the vocal: none leaves it to the model, compose makes one for the backing (another one for each take's "
            "seed), original keeps that of the song's vocal, FILE is a MIDI file or a recording of one voice or instrument "
            "(default: the model's recommendation, else none; of the small models compose)",
        )
        strength = "0 leaves the tune to the model, 1 keeps it to the letter (default: the model's recommendation, else 0.3)"
        add("--melody_strength", type=real(0, 1), help=strength)
        add("--melody_start", type=seconds, default=0.0, help="where the tune of a file begins in the song")
        add(
            "--melody_transpose",
            type=whole(-48, 48, auto=None),
            default="auto",
            metavar="auto|N",
            help="semitones; auto brings the tune into the singer's register by octaves",
        )
        add(
            "--melody_snap",
            default="none",
            choices=("none", "key", "beat", "both"),
            help="move the notes of a file or of the original to the song's key, its half beats, or both",
        )
        add("--melody_seed", type=SEED, help="of a composed tune that all takes share (default: each take's own seed)")

    def add_griffin_lim_iterations(self) -> None:
        self.add_argument("--griffin_lim_iterations", type=whole(0), default=16, help="iterations of phase reconstruction")

    def add_pitch_method(self) -> None:
        self.add_argument(
            "--pitch_method",
            default="warp",
            choices=("warp", "stretch"),
            help="warp reads one transform at shifted frequencies, which keeps the timing; stretch shifts the waveform",
        )

    def add_workers(self) -> None:
        """Add the flags of the workers that build pairs; `riff.pairs.engines.choose_engine` and `shard_of_songs` read them."""
        self.heading("machine")
        self.add_device()
        add = self.add_argument
        add("--num_workers", type=PROCESSES, help="processes (default: one per core, as memory allows; 4 share a GPU)")
        add("--engine", default="local", choices=("local", "ray"), help="ray: workers are those of a Ray cluster (pip install ray)")
        add("--ray_address", help="of a cluster, auto for the one this machine belongs to (default: a new one on this machine)")
        add(
            "--shard_index",
            type=whole(0),
            help="for batch queues: build the pairs of this shard of songs only, from 0 on",
        )
        add("--num_shards", type=whole(1), help="number of shards; each has a subfolder of its own")

    def add_logger(self, project: str) -> None:
        """Add the flags of the loggers of a training run; `riff.training.loggers` reads them.

        Args:
            project: the default at Weights & Biases.
        """
        add = self.add_argument
        add(
            "--logger",
            nargs="+",
            default=["tensorboard"],
            choices=("tensorboard", "wandb", "csv"),
            metavar="LOGGER",
            help="one or several loggers of metrics, and of samples as image and audio: tensorboard, wandb (Weights & Biases; pip "
            "install wandb, and without a network WANDB_MODE=offline), csv (metrics.csv, metrics only)",
        )
        add("--wandb_project", default=project, help="of the run at Weights & Biases")

    def add_seed(self, default: int = 0) -> None:
        self.add_argument("--seed", type=SEED, default=default, help="the same seed gives the same result")

    def add_sampling_seed(self) -> None:
        """Add a seed that may be random (`--seed` without a number), for commands of one process."""
        self.add_argument(
            "--seed",
            nargs="?",
            const=RANDOM,
            type=_seed,
            default=0,
            metavar="N",
            help=f"the same seed gives the same result; {SEED.range}, or a random one without a number",
        )

    def add_overwrite(self, what: str) -> None:
        self.add_flag("overwrite", default=False, help=f"replace {what} and files of the same names, but never an input")

    def parse_with_config(
        self, argv: Sequence[str] | None, resume: Callable[[argparse.Namespace], Path | None] | None = None
    ) -> argparse.Namespace:
        """Parse with `--config FILE.yaml`, whose keys are the flags' names; the command line takes precedence.

        Args:
            resume: finds the configuration of a resumed run from the flags; --config takes precedence over it.

        Raises:
            OptionError: a file that cannot be read, a key that is no flag, or an invalid value.
        """
        self.heading("flags from a file")
        self.add_argument("--config", type=Path, help="YAML file of flags; flags on the command line win")
        args = self.parse_args(argv)
        actions = {action.dest: action for action in self._actions if action.default is not argparse.SUPPRESS}
        options = [(option, name) for name, action in actions.items() for option in action.option_strings]
        names = {option.removeprefix("--"): name for option, name in options if not option.startswith("--no-")}
        optional = {name for name, action in actions.items() if action.default is None}
        earlier = resume(args) if resume else None
        for path, flag in ((earlier, "--resume"), (args.config, "--config")):
            if path is not None:
                try:
                    values = read_mapping(path)
                except RiffError as error:
                    raise OptionError(f"{flag} {error}") from error
                if unknown := sorted(set(values) - set(names)):
                    raise OptionError(f"{flag} {path}: {unknown[0]} is no flag of this command; see --help")
                for given, value in values.items():
                    name = names[given]
                    if value is not None or name not in optional:
                        value = self._parse_value(actions[name], value, f"{flag} {path}: {given}")
                    self.set_defaults(**{name: value})
        return self.parse_args(argv)

    def _parse_value(self, action: argparse.Action, value: Any, place: str) -> Any:
        """A configuration's value, checked as on the command line.

        Raises:
            OptionError: not a value that the flag takes.
        """
        if isinstance(action, _BooleanAction):
            if not isinstance(value, bool):
                raise OptionError(f"{place}: {shown(str(value))} is neither true nor false")
            return value
        words = value if action.nargs == "+" and isinstance(value, list) and value else [value]
        for word in words:
            if isinstance(word, (list, dict, bool, type(None))) or "\0" in str(word):
                raise OptionError(f"{place}: {shown(str(word))} is no value of this flag")
        try:
            return self._get_values(action, [str(word) for word in words])  # type: ignore[attr-defined]
        except argparse.ArgumentError as error:
            raise OptionError(f"{place}: {error.message}") from error


def called_as() -> str:
    """The command that started this process: `python SCRIPT.py`, or the name of an installed command."""
    script = Path(sys.argv[0])
    folder = "" if script.resolve().parent.parent != ROOT else f"{script.resolve().parent.name}/"
    return f"python {folder}{script.name}" if script.suffix == ".py" else script.name


def _devices(text: str) -> str:
    return text if text == "auto" else str(PROCESSES(text))


def _seed(text: str) -> int:
    if text != RANDOM:
        return SEED(text)
    seed = secrets.randbelow(TORCH_SEEDS)
    warn(f"--seed {seed}: chosen at random; give it again for the same result")
    return seed
