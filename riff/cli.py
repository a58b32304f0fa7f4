"""What every root script shares: flags, the way errors end, progress, and the run manifest."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import platform
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from riff.errors import OptionError, RiffError
from riff.files import read_mapping, write_json, write_text

ROOT = Path(__file__).resolve().parent.parent
EXIT_FAILURE = 2
EXIT_INTERRUPTED = 130
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
TOKENS = ("hub_token",)  # flags that are never written down
ONE_CALL = ("resume", "resume_from_checkpoint", "push_to_hub", "dry_run", *TOKENS)  # flags that a resumed run does not take over
MANIFEST_PACKAGES = ("torch", "diffusers", "transformers", "pytorch-lightning", "librosa", "numpy", "opencv-python-headless")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.required or action.default is None else super()._get_help_string(action)


class _BooleanAction(argparse.Action):
    """`--flag`, `--flag True`, `--flag False` and `--no-flag`, each meaning what it says."""

    def __call__(self, parser, namespace, value, option_string=None):  # type: ignore[no-untyped-def]
        negative = option_string is not None and option_string.startswith("--no-")
        truth = True if value is None else parse_bool(parser, option_string, value)
        setattr(namespace, self.dest, truth != negative)


def parse_bool(parser: argparse.ArgumentParser, option: str | None, text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in words:
        parser.error(f"argument {option}: {text!r} is neither True nor False")
    return words[text.lower()]


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser whose `--help` shows the script's docstring and every default."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=_HelpFormatter, allow_abbrev=False)

    def add_flag(self, name: str, *, default: bool | None, help: str, group: argparse._ArgumentGroup | None = None) -> None:
        """Add a boolean that can be said in every way people say booleans."""
        (group or self).add_argument(
            f"--{name}", f"--no-{name}", action=_BooleanAction, nargs="?", default=default, metavar="BOOL", help=help
        )

    def command(self, args: argparse.Namespace, flags: Sequence[str]) -> str:
        """What a person types to get these arguments: those of the flags whose values are not their defaults, in this order."""
        said = []
        for flag in flags:
            value = getattr(args, flag)
            if value != self.get_default(flag):
                words = value if isinstance(value, (list, tuple)) else () if value is True else (value,)
                said += [f"--{flag}", *map(str, words)]
        return shlex.join(["python", self.prog, *said])

    def add_device(self) -> None:
        self.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where tensors live")

    def add_machines(self) -> None:
        """Add the flags of what a training run is spread over; `riff.training.launch` and `.strategies` read them."""
        add = self.add_argument
        add(
            "--devices", default="auto", type=_devices, help="processes on this machine, one a device: auto is all GPUs, or one CPU"
        )
        add(
            "--num_nodes",
            default=1,
            type=_count,
            help="machines; run the same command on each, with MASTER_ADDR (of the first) and NODE_RANK (0, 1, ...) set; all of "
            "them must see the same folders",
        )
        add(
            "--strategy",
            default="auto",
            choices=("auto", "ddp", "fsdp", "deepspeed"),
            help="with several processes: ddp keeps the models in each; fsdp shares weights, gradients and optimizer out, for "
            "models that do not fit into one; auto is ddp; deepspeed is refused, fsdp does the same",
        )

    def add_separation(self, none: str = "") -> None:
        """Add the flags of `riff.audio.separation.SeparationOptions`; `separation_options` reads them.

        Args:
            none: what `--separator none` means, where there is such a thing.
        """
        add = self.add_argument
        add(
            "--separator",
            default="auto",
            help="how songs are taken apart: spleeter (80 MB of weights, downloaded once), spleeter-tf (the original, in an "
            "environment of its own), demucs or demucs_ft (better; pip install demucs), repet (no weights, any machine, far "
            "worse), stems (as given, nothing else), auto (stems where they are given, else spleeter, else repet)"
            + (f", none ({none})" if none else ""),
        )
        add(
            "--stems_dir",
            type=Path,
            help="folder of SONG/{vocals,drums,bass,other}.wav or SONG.stem.mp4: take these, do not separate",
        )
        add("--spleeter_model_dir", type=Path, help="where Spleeter's weights lie (default: MODEL_PATH, else the user's cache)")

    def add_memory(self) -> None:
        """Add the flags of `riff.training.options.Savings` and of its presets, and of what costs or saves time."""
        add = self.add_argument
        add(
            "--memory",
            default="auto",
            choices=("auto", "full", "24", "16", "12", "8"),
            help="what to do for GPUs of so many GiB: full is nothing, 24 stores frozen weights in half precision, 16 also "
            "recomputes activations, 12 also keeps AdamW's moments in bf16, 8 the trained weights too; auto goes by the GPU",
        )
        self.add_flag("gradient_checkpointing", default=None, help="recompute activations (default: as --memory has it)")
        add(
            "--trained_weights",
            choices=("32", "bf16"),
            help="how they are stored; bf16 is rounded stochastically (default: likewise)",
        )
        add(
            "--optimizer_state", choices=("32", "bf16", "8bit"), help="AdamW's moments; 8bit: with bitsandbytes (default: likewise)"
        )
        self.add_flag(
            "compile", default=False, help="torch.compile the models' blocks: minutes at the start; worth nothing on a CPU"
        )
        self.add_flag(
            "dry_run", default=False, help="say what would lie where and the memory it would take; train and write nothing"
        )

    def add_held_out(self) -> None:
        """Add the flags of what a training run looks at on songs that it does not train on."""
        add = self.add_argument
        add("--val_share", type=float, default=0.1, help="share of songs held out for the samples and the loss on them")
        add("--val_freq", type=int, default=500, help="steps between looks at the loss on held-out songs; 0 is never")
        add("--val_pictures", type=int, default=32, help="noised pictures of held-out songs to such a look")
        add("--sample_steps", type=int, default=20, help="denoising steps of a sample")

    def add_logger(self, project: str, older_name: str | None = None) -> None:
        """Add the flags of where a training run shows how it goes; `riff.training.loggers` reads them.

        Args:
            project: the default at Weights & Biases. older_name: of the first flag, by which people know it.
        """
        names = [older_name, "--logger"] if older_name else ["--logger"]
        add = self.add_argument
        add(
            *names,
            nargs="+",
            default=["tensorboard"],
            choices=("tensorboard", "wandb", "csv"),
            metavar="LOGGER",
            help="where figures, and samples to see and hear, are shown, one or several: tensorboard, wandb (Weights & Biases; pip "
            "install wandb, and without a network WANDB_MODE=offline), csv (metrics.csv, figures alone)",
        )
        add("--wandb_project", default=project, help="of the run at Weights & Biases")

    def add_seed(self, default: int = 0) -> None:
        self.add_argument("--seed", type=int, default=default, help="the same seed gives the same result")

    def add_overwrite(self, what: str) -> None:
        self.add_flag("overwrite", default=False, help=f"replace {what}")

    def parse_with_config(
        self, argv: Sequence[str] | None, resume: Callable[[argparse.Namespace], Path | None] | None = None
    ) -> argparse.Namespace:
        """Parse with `--config FILE.yaml`, whose keys are the flags' names; what is said on the command line wins.

        Args:
            resume: finds the configuration of a run that goes on, from the flags; it counts less than --config.

        Raises:
            OptionError: a file that cannot be read, or a key that is no flag.
        """
        self.add_argument("--config", type=Path, help="YAML file of flags; flags on the command line win")
        args = self.parse_args(argv)
        earlier = resume(args) if resume else None
        for path, flag in ((earlier, "--resume"), (args.config, "--config")):
            if path is not None:
                self._take_defaults(_read_config(path, flag), path, flag)
        return self.parse_args(argv)

    def _take_defaults(self, values: dict[str, Any], path: Path, flag: str) -> None:
        actions = {action.dest: action for action in self._actions}
        unknown = sorted(set(values) - set(actions))
        if unknown:
            raise OptionError(f"{flag} {path}: {unknown[0]} is no flag of this command; see --help")
        self.set_defaults(**{key: _as_default(actions[key], value, f"{flag} {path}: {key}") for key, value in values.items()})


def _as_default(action: argparse.Action, value: Any, place: str) -> Any:
    """A configuration's value as its flag's default: text where there is a type, for it then passes through that.

    Raises:
        OptionError: none of the flag's choices, or no boolean where it is one.
    """
    if value is None:
        return None
    if isinstance(action, _BooleanAction):
        if not isinstance(value, bool):
            raise OptionError(f"{place}: {value} is neither true nor false")
        return value
    several = value if isinstance(value, list) else [value]
    for one in several:
        if action.choices is not None and one not in action.choices:
            raise OptionError(f"{place}: {one} is none of {', '.join(map(str, action.choices))}")
    return [str(one) for one in several] if action.nargs == "+" else str(value)


def _devices(text: str) -> str:
    return text if text == "auto" else str(_count(text))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _read_config(path: Path, flag: str) -> dict[str, Any]:
    try:
        return read_mapping(path)
    except RiffError as error:
        raise OptionError(f"{flag} {error}") from error


def choose_device(name: str) -> str:
    """Turn `auto|cpu|cuda` into a torch device name.

    Raises:
        OptionError: cuda was asked for and there is none.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("--device cuda: no CUDA device is visible; use --device auto or cpu")
    return name


def run(main: Callable[[Sequence[str] | None], int | None]) -> None:
    """Run a script's `main` and end the process: 0, or 2 with one line on stderr for what a person can cause."""
    quieten_libraries()
    try:
        status = main(None) or 0
    except (RiffError, KeyboardInterrupt, OSError) as error:
        status = report(error, aloud=_is_first_on_machine())
    sys.exit(status)


def report(error: BaseException, aloud: bool = True) -> int:
    """Say what ended a command in one line on stderr, and return the exit status; what is nobody's fault but the code's is raised.

    Args:
        aloud: False says nothing, because another process does.
    """
    line, status = f"error: {' '.join(str(error).split())}", EXIT_FAILURE
    if isinstance(error, KeyboardInterrupt):
        line, status = "interrupted", EXIT_INTERRUPTED
    elif isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    elif isinstance(error, OSError) and error.errno in OUT_OF_SPACE:
        line = f"error: {error.filename or 'the disk'}: {error.strerror}; make room and run the same command again"
    elif not isinstance(error, RiffError):
        raise error
    if aloud:
        print(line, file=sys.stderr)
    return status


def _is_first_on_machine() -> bool:
    """Whether this is the first, or only, process that a launcher started on this machine for one run."""
    return os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0"


def warn(message: str) -> None:
    """One line on stderr, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(message, file=sys.stderr)


class Stopwatch:
    """Seconds that the stages of a run took.

    Attributes:
        laps: by stage, in order.
    """

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, stage: str) -> None:
        """The time since the last lap belongs to this stage."""
        now = time.monotonic()
        self.laps[stage] = self.laps.get(stage, 0.0) + now - self._last
        self._last = now


def quieten_libraries() -> None:
    """Keep the libraries' notices about themselves (missing torchvision, deprecations) off the user's terminal."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm, in a notebook without widgets
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


def write_config(path: Path, args: argparse.Namespace) -> None:
    """Write the resolved flags as the YAML file that `--config` reads; what belongs to one call only, and tokens, are left out."""
    from omegaconf import OmegaConf

    values = {key: value for key, value in vars(args).items() if key not in ("config", *ONE_CALL)}
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(_plain(values))))


def write_manifest(path: str | Path, arguments: dict[str, Any], **more: Any) -> None:
    """Write how a result was made: arguments but tokens, commit, versions, device, time, and whatever the script adds."""
    arguments = {key: value for key, value in arguments.items() if key not in TOKENS}
    write_json(path, {"arguments": _plain(arguments), **_circumstances(), **_plain(more)})


def _circumstances() -> dict[str, Any]:
    def version(package: str) -> str | None:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return None

    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {os.cpu_count()} cores"
    return {
        "script": Path(sys.argv[0]).name,
        "commit": _commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "device": device,
        "versions": {name: version(name) for name in MANIFEST_PACKAGES},
    }


def _commit() -> str | None:
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return git.stdout.strip() or None


def _plain(value: Any) -> Any:
    """The value in JSON's own types."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
