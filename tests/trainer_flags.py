"""Flags of a short run of each trainer on the CPU."""

from __future__ import annotations

from pathlib import Path


def training_flags(pairs: Path, model: Path, place: Path) -> list[object]:
    return [
        *("--train_data_dir", pairs, "--model", model, "--output", place / "final", "--log_dir", place),
        *("--batch_size", 2, "--learning_rate", 1e-3, "--num_workers", 0, "--sample_steps", 2, "--device", "cpu"),
        *("--val_pictures", 2),
    ]


def edit_training_flags(pairs: Path, base: Path, place: Path, *more: object) -> list[str]:
    return [
        *("--train_data_dir", str(pairs), "--pretrained_model_name_or_path", str(base), "--output_dir", str(place / "final")),
        *("--logging_dir", str(place), "--train_batch_size", "2", "--learning_rate", "1e-3", "--sample_steps", "2"),
        *("--device", "cpu", "--mixed_precision", "no", "--val_pictures", "2", *map(str, more)),
    ]
