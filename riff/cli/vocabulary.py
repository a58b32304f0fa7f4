"""One name for one thing in every script, and the older names that are accepted for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# By the name that --help shows: those of riff-cnet's and riff-pix2pix's first scripts, of ControlNet's and of diffusers' trainers.
OLDER_NAMES = {
    "audio_dir": ("root_data_dir",),
    "prompt_file": ("prompt_filepath",),
    "train_data_dir": ("data_root", "data_dir"),
    "model": ("model_id", "pretrained_model_name_or_path"),
    "output": ("output_dir", "base_save_path"),
    "log_dir": ("logging_dir",),
    "steps": ("num_inference_steps",),
    "guidance_scale": ("scale",),
    "image_guidance_scale": ("image_scale",),
    "strength": ("controlnet_conditioning_scale",),
    "max_steps": ("max_train_steps",),
    "batch_size": ("train_batch_size",),
    "accumulate_gradient_batches": ("gradient_accumulation_steps",),
    "lr_schedule": ("lr_scheduler",),
    "warmup_steps": ("lr_warmup_steps",),
    "checkpoint_freq": ("checkpointing_steps",),
    "logger_freq": ("validation_steps",),
    "num_workers": ("dataloader_num_workers",),
    "logger": ("report_to",),
    "resume": ("resume_from_checkpoint",),
    "precision": ("mixed_precision",),
    "repo_id": ("hub_model_id",),
    "token": ("hub_token",),
}


def option_strings(argument: str) -> list[str]:
    """A flag such as `--steps` with its older names, `--num_inference_steps`; any other argument alone."""
    older = OLDER_NAMES.get(argument.removeprefix("--"), ()) if argument.startswith("--") else ()
    return [argument, *(f"--{name}" for name in older)]


def with_current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by the names of flags, as an earlier version may have written them, by their names of today."""
    current = {older: name for name, names in OLDER_NAMES.items() for older in names}
    return {current.get(name, name): value for name, value in settings.items()}
