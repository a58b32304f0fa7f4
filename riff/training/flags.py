"""The flags that both trainers have, and the settings that are made of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from riff import cli
from riff.errors import OptionError


@dataclass(frozen=True)
class TrainingFlags:
    """A trainer's own names of the flags that both have; each takes the other's name too. The others have the same name in both."""

    output: str = "output"
    log_dir: str = "log_dir"
    max_steps: str = "max_steps"
    batch_size: str = "batch_size"
    accumulate: str = "accumulate_gradient_batches"
    schedule: str = "lr_schedule"
    warmup_steps: str = "warmup_steps"
    checkpoint_every: str = "checkpoint_freq"
    sample_every: str = "logger_freq"
    num_workers: str = "num_workers"
    loggers: str = "logger"
    resume: str = "resume"
    precision: str = "precision"

    def names(self) -> dict[str, str]:
        """The flags by the parameters that errors of the library name."""
        same = (
            "devices",
            "num_nodes",
            "max_train_time",
            "resolution",
            "val_image_url",
            "trained_weights",
            "frozen_weights",
            "lora_rank",
            "distill_steps",
        )
        return {name: f"--{name}" for name in same} | {field.name: f"--{getattr(self, field.name)}" for field in fields(self)}

    def add_results(self, parser: cli.ArgumentParser, default: Path | None, described: str, part: str, part_help: str) -> None:
        """Add the flags of where a run writes. part: the flag for the trained part alone."""
        self._add(parser, "output", type=Path, default=default, help=described)
        parser.add_overwrite(f"a model in --{self.output}; a resumed run replaces its own without")
        parser.add_flag(part, default=False, help=part_help)
        self._add(parser, "log_dir", type=Path, default=Path("."), help="folder of lightning_logs/ and image_log/")

    def add_loss(self, parser: cli.ArgumentParser, snr_gamma: float) -> None:
        """Add the flags of the loss and of averaged weights."""
        gamma = "gamma of the loss's min-SNR weight, usually 5; 0 weights all noise levels equally"
        parser.add_argument("--snr_gamma", type=cli.real(0), default=snr_gamma, help=gamma)
        parser.add_flag("use_ema", default=False, help="average the weights over the steps, for samples and the result")
        decay = "of the average; lower for short runs"
        parser.add_argument("--ema_decay", type=cli.real(0, below=1), default=0.9999, help=decay)

    def add_learning_rate(self, parser: cli.ArgumentParser, default: float | None, described: str) -> None:
        """Add the flags of the learning rate and its schedule."""
        parser.add_argument("--learning_rate", type=cli.real(above=0), default=default, help=described)
        schedules = ("constant", "constant_with_warmup", "cosine", "linear")
        decay = "linear and cosine decay to a hundredth at the last step"
        self._add(parser, "schedule", default="constant", choices=schedules, help=decay)
        adapters = "train adapters of this rank (LoRA) on the UNet of a trained model, and write them alone; for few songs"
        parser.add_argument("--lora_rank", type=cli.whole(0), default=0, help=f"{adapters}; 0 trains weights")
        few = "with --lora_rank: distil the model and its guidance into so many denoising steps of one pass, such as 4"
        parser.add_argument("--distill_steps", type=cli.whole(0, 100), default=0, help=f"{few}; 0 does not")
        rise = "steps in which the learning rate rises, with every schedule"
        self._add(parser, "warmup_steps", type=cli.whole(0), default=0, help=rise)

    def add_batches(self, parser: cli.ArgumentParser, workers: int) -> None:
        """Add the flags of batches and of their loading."""
        self._add(parser, "batch_size", type=cli.BATCH, default=4, help="pairs in a batch of one process")
        self._add(parser, "accumulate", type=cli.whole(1), default=1, help="batches of an optimizer step")
        self._add(parser, "num_workers", type=cli.WORKERS, default=workers, help="data loader processes")

    def add_time(
        self, parser: cli.ArgumentParser, max_steps: int | None, steps_help: str, max_time: str | None, checkpoint_every: int
    ) -> None:
        """Add the flags of a run's length and of its checkpoints."""
        self._add(parser, "max_steps", type=cli.whole(1), default=max_steps, help=steps_help)
        limit = "stop after this time, DD:HH:MM:SS" + ("" if max_time else " (default: never)")
        parser.add_argument("--max_train_time", default=max_time, metavar="TIME", help=limit)
        frequency = "steps between checkpoints; 0 writes one at the end alone"
        self._add(parser, "checkpoint_every", type=cli.whole(0), default=checkpoint_every, help=frequency)

    def add_samples(self, parser: cli.ArgumentParser, described: str) -> None:
        """Add the flags of validation and samples on held-out songs."""
        parser.add_held_out()
        self._add(parser, "sample_every", type=cli.whole(0), default=500, help=described)

    def _add(self, parser: cli.ArgumentParser, field: str, **settings: Any) -> None:
        own = getattr(self, field)
        others = {getattr(trainer, field) for trainer in (CONTROL_FLAGS, EDIT_FLAGS)} - {own}
        parser.add_argument(*(f"--{name}" for name in (own, *others)), **settings)

    def read(
        self,
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

        own = {field.name: getattr(args, getattr(self, field.name)) for field in fields(self)}
        device = cli.choose_device(args.device)
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
            batch_size=own["batch_size"],
            accumulate=own["accumulate"],
            max_steps=own["max_steps"] or 0,
            warmup_steps=own["warmup_steps"],
            schedule=own["schedule"].removesuffix("_with_warmup"),
            snr_gamma=args.snr_gamma,
            ema_decay=args.ema_decay if args.use_ema else 0.0,
            savings=savings,
            compile=args.compile,
            num_workers=own["num_workers"],
            seed=args.seed,
            **step,
        )
        rate, full = f"--learning_rate {learning_rate / 10:g}", "32" if self.precision == "precision" else "no"
        stable = stability_flags(precision, f"--{self.precision}", full, f"--{self.warmup_steps}")
        return {
            **{name: own[name] for name in ("log_dir", "sample_every", "checkpoint_every", "loggers", "resume")},
            **{
                name: getattr(args, name)
                for name in ("devices", "num_nodes", "val_share", "sample_steps", "overwrite", "lora_rank", "distill_steps")
            },
            "step": options,
            "precision": precision,
            "preset": preset,
            "device": device,
            "max_seconds": parse_duration(args.max_train_time) if args.max_train_time else float("inf"),
            "validate_every": args.val_freq,
            "validation_images": args.val_pictures,
            "project": args.wandb_project,
            "output": output,
            "flags": {**vars(args), self.output: output},
            "advice": Advice(cli.called_as(), f"--{self.resume}", rate, stable),
        }


CONTROL_FLAGS = TrainingFlags()
EDIT_FLAGS = TrainingFlags(
    "output_dir",
    "logging_dir",
    "max_train_steps",
    "train_batch_size",
    "gradient_accumulation_steps",
    "lr_scheduler",
    "lr_warmup_steps",
    "checkpointing_steps",
    "validation_steps",
    "dataloader_num_workers",
    "report_to",
    "resume_from_checkpoint",
    "mixed_precision",
)


def parse_duration(text: str) -> float:
    """`DD:HH:MM:SS` in seconds.

    Raises:
        OptionError: written in another way.
    """
    match = re.fullmatch(r"(\d+):(\d{1,2}):(\d{1,2}):(\d{1,2})", text)
    if match is None:
        raise OptionError(f"max_train_time {text}: write it as DD:HH:MM:SS, for example 00:12:00:00")
    days, hours, minutes, seconds = (int(part) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
