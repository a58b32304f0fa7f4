"""GPU memory that training takes at the shapes of Stable Diffusion 1.5, by preset.

    python benchmarks/memory_presets.py
    python benchmarks/memory_presets.py --device cuda

Predicts the peak of an optimizer step for each preset of --memory, for a ControlNet and for an edit model, at 512x512 images.
On CUDA real steps are taken too, on random weights, each in a process of its own, and their peak stands beside it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riff import cli
from riff.devices import choose_device

UNET = {"sample_size": 64, "in_channels": 4, "out_channels": 4, "cross_attention_dim": 768}
VAE = {"block_out_channels": (128, 256, 512, 512)}
CONFIGS: dict[str, Any] = {
    "control": {"unet": UNET, "vae": VAE, "controlnet": {"cross_attention_dim": 768}},
    "edit": {"unet": UNET, "vae": VAE},
}
STEPS = 3  # the first makes the optimizer's state


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--batch_sizes", nargs="+", type=cli.BATCH, default=[1, 4], help="pairs a batch")
    add("--output", type=Path, default=Path("benchmarks/results/memory_presets.json"), help="where the figures go")
    add("--measure", nargs=3, metavar=("KIND", "PRESET", "BATCH"), help="take real steps, print the bytes, and write nothing")
    parser.add_device()
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    if args.measure:
        kind, preset, batch = args.measure
        print(json.dumps(measure(kind, preset, int(batch))))
        return
    device = choose_device(args.device)
    results: dict[str, Any] = {}
    print(f"{'trained':10}{'preset':>8}{'batch':>7}{'predicted, GiB':>16}{'measured, GiB':>15}")
    for kind in CONFIGS:
        for batch in args.batch_sizes:
            for preset, row in rows(kind, batch, device):
                results.setdefault(kind, {}).setdefault(preset, {})[f"batch {batch}"] = row
                measured = f"{row['measured_gib']:15.2f}" if "measured_gib" in row else ""
                print(f"{kind:10}{preset:>8}{batch:7}{row['predicted_gib']:16.2f}{measured}", flush=True)
    cli.write_manifest(args.output, {"batch_sizes": args.batch_sizes, "device": device}, peaks=results)


def rows(kind: str, batch: int, device: str) -> Any:
    """Yield (preset, its figures)."""
    from riff.training.memory import GIB, PRESETS
    from riff.training.prediction import predict_peak

    for preset in PRESETS:
        options = options_of(preset, batch)
        peak = predict_peak(on_meta(kind), CONFIGS[kind], options, "bf16")
        parts = {part: size / GIB for part, size in peak.parts.items() if size}
        row = {"predicted_gib": peak.total / GIB, "stage": peak.stage, "parts_gib": parts}
        if device == "cuda":
            command = [sys.executable, __file__, "--measure", kind, preset, str(batch)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            row["measured_gib"] = json.loads(output.splitlines()[-1]) / GIB
        yield preset, row


def on_meta(kind: str) -> Any:
    from riff.training.control import control_on_meta
    from riff.training.edit import edit_on_meta

    return control_on_meta(CONFIGS[kind]) if kind == "control" else edit_on_meta(CONFIGS[kind])


def options_of(preset: str, batch: int) -> Any:
    from riff.training.memory import PRESETS
    from riff.training.options import TrainingOptions

    return TrainingOptions(batch_size=batch, savings=PRESETS[preset])


def measure(kind: str, preset: str, batch: int) -> int:
    """Peak bytes of tensors on the GPU, in steps of the training module in bf16."""
    import torch
    from torch.nn.utils import clip_grad_norm_

    from riff.training.optimizers import adamw
    from riff.training.prediction import example_batch, step_of

    options = options_of(preset, batch)
    module, _ = step_of(on_meta(kind), CONFIGS[kind], options, "bf16")()
    module.to("cuda").train()
    optimizer = adamw(module.named_parameters(), options)
    for step in range(STEPS):
        if step == STEPS - 1:
            torch.cuda.reset_peak_memory_stats()
        example = {name: tensor.to("cuda") for name, tensor in example_batch(CONFIGS[kind], batch).items()}
        with torch.autocast("cuda", torch.bfloat16):
            loss = module.noise_loss(example, seed=(0, step))
        loss.backward()
        clip_grad_norm_(module.trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return torch.cuda.max_memory_allocated()


if __name__ == "__main__":
    cli.run(main)
