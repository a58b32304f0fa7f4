"""The flags that both trainers have, and the settings that are made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from riff import cli
from riff.devices import choose_device
from riff.errors import ModelError

if TYPE_CHECKING:
    from riff.data.pair_types import PairType

NAMES = {
    **{name: f"--{name}" for name in ("devices", "num_nodes", "resolution", "val_image_url", "trained_weights", "frozen_weights")},
    **{name: f"--{name}" for name in ("output", "log_dir", "max_steps", "batch_size", "warmup_steps", "num_workers", "resume")},
    **{name: f"--{name}" for name in ("precision", "lora_rank", "distill_steps")},
    "accumulate": "--accumulate_gradient_batches",
    "schedule": "--lr_schedule",
    "checkpoint_every": "--checkpoint_freq",
    "sample_every": "--logger_freq",
    "loggers": "--logger",
}  # the flags by the parameters that errors of the library name
FULL_NAMES = {"no": "32", "fp16": "16"}  # of precisions, by those of accelerate


def add_results(parser: cli.ArgumentParser, default: Path | None, described: str, part: str, part_help: str) -> None:
    """Add the flags of where a run writes. part: the flag for the trained part alone."""
    parser.add_argument("--output", type=Path, default=default, help=described)
    parser.add_overwrite("a model in --output; a resumed run replaces its own without")
    parser.add_flag(part, default=False, help=part_help)
    parser.add_argument("--log_dir", type=Path, default=Path("."), help="folder of lightning_logs/ and image_log/")


def add_loss(parser: cli.ArgumentParser, snr_gamma: float) -> None:
    """Add the flags of the loss and of averaged weights."""
    gamma = "gamma of the loss's min-SNR weight, usually 5; 0 weights all noise levels equally"
    parser.add_argument("--snr_gamma", type=cli.real(0), default=snr_gamma, help=gamma)
    parser.add_flag("use_ema", default=False, help="average the weights over the steps, for samples and the result")
    decay = "of the average; lower for short runs"
    parser.add_argument("--ema_decay", type=cli.real(0, below=1), default=0.9999, help=decay)


def add_learning_rate(parser: cli.ArgumentParser, default: float | None, described: str) -> None:
    """Add the flags of the learning rate and its schedule."""
    parser.add_argument("--learning_rate", type=cli.real(above=0), default=default, help=described)
    schedules = ("constant", "constant_with_warmup", "cosine", "linear")
    decay = "linear and cosine decay to a hundredth at the last step"
    parser.add_argument("--lr_schedule", default="constant", choices=schedules, help=decay)
    adapters = "train adapters of this rank (LoRA) on the UNet of a trained model, and write them alone; for few songs"
    parser.add_argument("--lora_rank", type=cli.whole(0), default=0, help=f"{adapters}; 0 trains weights")
    few = "with --lora_rank: distil the model and its guidance into so many denoising steps of one pass, such as 4"
    parser.add_argument("--distill_steps", type=cli.whole(0, 100), default=0, help=f"{few}; 0 does not")
    rise = "steps in which the learning rate rises, with every schedule"
    parser.add_argument("--warmup_steps", type=cli.whole(0), default=0, help=rise)


def add_batches(parser: cli.ArgumentParser, workers: int) -> None:
    """Add the flags of batches and of their loading."""
    parser.add_argument("--batch_size", type=cli.BATCH, default=4, help="pairs in a batch of one process")
    parser.add_argument("--accumulate_gradient_batches", type=cli.whole(1), default=1, help="batches of an optimizer step")
    parser.add_argument("--num_workers", type=cli.WORKERS, default=workers, help="data loader processes")


def add_time(
    parser: cli.ArgumentParser, max_steps: int | None, steps_help: str, max_time: str | None, checkpoint_every: int
) -> None:
    """Add the flags of a run's length and of its checkpoints."""
    parser.add_argument("--max_steps", type=cli.whole(1), default=max_steps, help=steps_help)
    limit = "stop after this time, such as 90, 1:30, 2:00:00 or, with days, 01:12:00:00" + ("" if max_time else " (default: never)")
    parser.add_argument("--max_train_time", type=cli.seconds, default=max_time, help=limit)
    frequency = "steps between checkpoints; 0 writes one at the end alone"
    parser.add_argument("--checkpoint_freq", type=cli.whole(0), default=checkpoint_every, help=frequency)


def add_samples(parser: cli.ArgumentParser, described: str) -> None:
    """Add the flags of validation and samples on held-out songs."""
    parser.add_held_out()
    parser.add_argument("--logger_freq", type=cli.whole(0), default=500, help=described)


def add_precision(parser: cli.ArgumentParser, described: str) -> None:
    choices = ("auto", "32", "16", "bf16")
    described = f"{described}; no and fp16 are 32 and 16"
    parser.add_argument("--precision", default="auto", type=_full_name, choices=choices, help=described)


def _full_name(precision: str) -> str:
    return FULL_NAMES.get(precision, precision)


def check_inputs(model: str, remedy: str, pairs: Path | None, pair_type: PairType[Any]) -> None:
    """Refuse a model or pairs that are not there, before the imports that take seconds.

    Args:
        remedy: for a model that is missing. pairs: as in `open_pairs`, None for a data set of another form.

    Raises:
        ModelError, DataError: what is missing.
    """
    from riff.data.pair_types import read_pairs
    from riff.data.shard_files import find_shards, is_hub_name
    from riff.models.sources import looks_like_path, resolve_base

    if looks_like_path(model) and not Path(resolve_base(model)).exists():
        raise ModelError(f"--model {model}: no such folder or file; {remedy}")
    if pairs and not pairs.exists() and not is_hub_name(pairs) and not find_shards(pairs):
        read_pairs(pairs, pair_type)  # which says how to make them


def read(
    args: cli.argparse.Namespace,
    *,
    output: Path,
    learning_rate: float,
    precision: str | None,
    frozen: str | None = None,
    moments: str | None = None,
    save_memory: bool = False,
    **step: Any,
) -> dict[str, Any]:
    """The fields of `RunSettings` that both trainers have, with the precision and the memory preset chosen for this machine.

    Args:
        precision: `32`, `bf16`, `16` or None for the default. frozen, moments: as in `Savings`, None for the preset's.
        save_memory: `auto` is the preset of --save_gpu_memory. step: further fields of `TrainingOptions`.

    Raises:
        OptionError: flags that contradict each other.
    """
    from riff.training.memory import choose_preset, choose_savings, stability_flags
    from riff.training.options import Advice, TrainingOptions

    device = choose_device(args.device)
    preset = choose_preset(args.memory, save_memory, device)
    chosen = {
        "checkpointing": args.gradient_checkpointing,
        "frozen": frozen,
        "trained": args.trained_weights,
        "moments": moments,
    }
    savings, precision = choose_savings(preset, chosen, precision, device, averaged=args.use_ema)
    options = TrainingOptions(
        learning_rate=learning_rate,
        batch_size=args.batch_size,
        accumulate=args.accumulate_gradient_batches,
        max_steps=args.max_steps or 0,
        warmup_steps=args.warmup_steps,
        schedule=args.lr_schedule.removesuffix("_with_warmup"),
        snr_gamma=args.snr_gamma,
        ema_decay=args.ema_decay if args.use_ema else 0.0,
        savings=savings,
        compile=args.compile,
        num_workers=args.num_workers,
        seed=args.seed,
        **step,
    )
    same = ("log_dir", "resume", "devices", "num_nodes", "val_share", "sample_steps", "overwrite", "lora_rank", "distill_steps")
    return {
        **{name: getattr(args, name) for name in same},
        "sample_every": args.logger_freq,
        "checkpoint_every": args.checkpoint_freq,
        "loggers": args.logger,
        "step": options,
        "precision": precision,
        "preset": preset,
        "device": device,
        "max_seconds": float("inf") if args.max_train_time is None else args.max_train_time,
        "validate_every": args.val_freq,
        "validation_images": args.val_pictures,
        "project": args.wandb_project,
        "output": output,
        "flags": {**vars(args), "output": output},
        "advice": Advice(cli.called_as(), f"--learning_rate {learning_rate / 10:g}", stability_flags(precision)),
    }
