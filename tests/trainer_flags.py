"""Flags of a short run of each trainer on the CPU."""

from __future__ import annotations

from pathlib import Path


def training_flags(pairs: Path, model: Path, root: Path) -> list[object]:
    return [
        *("--train_data_dir", pairs, "--model", model, "--output", root / "final", "--log_dir", root),
        *("--batch_size", 2, "--learning_rate", 1e-3, "--num_workers", 0, "--sample_steps", 2, "--device", "cpu"),
        *("--val_pictures", 2),
    ]


def edit_training_flags(pairs: Path, base: Path, root: Path, *more: object) -> list[str]:
    return [
        *("--train_data_dir", str(pairs), "--pretrained_model_name_or_path", str(base), "--output_dir", str(root / "final")),
        *("--logging_dir", str(root), "--train_batch_size", "2", "--learning_rate", "1e-3", "--sample_steps", "2"),
        *("--device", "cpu", "--mixed_precision", "no", "--val_pictures", "2", *map(str, more)),
    ]
