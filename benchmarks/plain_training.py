"""Training the plain way, for bench_training.py to compare with: everything in the step, in float32.

    python benchmarks/plain_training.py --kind control --model models/control_riffusion_ini --train_data_dir train-data

As the usual examples do it, each step reads the images and the text, encodes both, and trains with torch's AdamW. Nothing is
kept or sampled; the last line says the last loss and, on CUDA, the peak of allocated memory, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from riff import cli
from riff.devices import choose_device


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--kind", choices=("control", "edit"), required=True, help="what is trained")
    add("--model", required=True, help="control: folder with an attached ControlNet; edit: base")
    add("--train_data_dir", type=Path, required=True, help="folder of ControlNet pairs; edit: from the accompaniment to the mix")
    add("--max_steps", type=cli.whole(1), default=20, help="steps")
    add("--batch_size", type=cli.BATCH, default=4, help="pairs a batch")
    add("--learning_rate", type=cli.real(above=0), default=1e-5, help="of AdamW")
    add("--num_workers", type=cli.WORKERS, default=2, help="processes that read pairs")
    parser.add_device()
    parser.add_seed()
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    import torch

    from riff.models.loading import load_control_pipeline, load_to_edit

    torch.manual_seed(args.seed)
    device = choose_device(args.device)
    pipeline = load_control_pipeline(args.model) if args.kind == "control" else load_to_edit(args.model)[0]
    trained = pipeline.controlnet if args.kind == "control" else pipeline.unet
    pipeline.to(device)
    step = plain_step(pipeline, trained, control_noise if args.kind == "control" else edit_noise, args.learning_rate)
    for batch in batches(args, pipeline.tokenizer):
        loss = step({name: tensor.to(device) for name, tensor in batch.items()})
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    print(json.dumps({"loss": loss.item(), "peak_bytes": peak}))


def plain_step(pipeline: Any, trained: Any, noise_of: Any, learning_rate: float = 1e-5) -> Callable[[dict[str, Any]], Any]:
    """A function that takes a batch of `batches` on the pipeline's device, trains one step, and returns the loss."""
    import torch

    for part in (pipeline.vae, pipeline.text_encoder, pipeline.unet):
        part.requires_grad_(False)
    trained.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=learning_rate)

    def step(images: dict[str, Any]) -> Any:
        with torch.no_grad():
            latents = pipeline.vae.encode(images["target"]).latent_dist.sample() * pipeline.vae.config.scaling_factor
            text = pipeline.text_encoder(images["tokens"])[0]
        noise = torch.randn_like(latents)
        timesteps = torch.randint(pipeline.scheduler.config.num_train_timesteps, (len(latents),), device=latents.device)
        noisy = pipeline.scheduler.add_noise(latents, noise, timesteps)
        loss = torch.nn.functional.mse_loss(noise_of(pipeline, images, noisy, timesteps, text), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def control_noise(pipeline: Any, images: dict[str, Any], noisy: Any, timesteps: Any, text: Any) -> Any:
    down, mid = pipeline.controlnet(noisy, timesteps, text, controlnet_cond=images["hint"], return_dict=False)
    residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
    return pipeline.unet(noisy, timesteps, text, **residuals, return_dict=False)[0]


def edit_noise(pipeline: Any, images: dict[str, Any], noisy: Any, timesteps: Any, text: Any) -> Any:
    import torch

    with torch.no_grad():
        image = pipeline.vae.encode(images["input"]).latent_dist.mode()
    return pipeline.unet(torch.cat([noisy, image], dim=1), timesteps, text, return_dict=False)[0]


def batches(args: cli.argparse.Namespace, tokenizer: Any) -> Any:
    """A batch for each step: images in colour, float32 (batch, 3, height, width), and tokens."""
    from torch.utils.data import DataLoader, RandomSampler

    from riff.data.records import read_records

    records = read_records(args.train_data_dir)
    dataset = PlainPairs(args.train_data_dir, records, tokenizer)
    sampler = RandomSampler(records, replacement=True, num_samples=args.max_steps * args.batch_size)
    return DataLoader(dataset, args.batch_size, sampler=sampler, num_workers=args.num_workers)


class PlainPairs:
    """Pairs, read and put into tokens anew each time."""

    def __init__(self, folder: Path, records: Sequence[Any], tokenizer: Any) -> None:
        self._folder, self._records, self._tokenizer = folder, records, tokenizer

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self._records[index]
        tokens = self._tokenizer(record.prompt, padding="max_length", truncation=True, return_tensors="pt").input_ids[0]
        return {
            "tokens": tokens,
            "hint": self._read(record.source),
            "target": self._read(record.target) * 2 - 1,
            "input": self._read(record.accompaniment) * 2 - 1,
        }

    def _read(self, path: str) -> Any:
        """float32, shape (3, height, width), 0..1."""
        import numpy as np
        import torch
        from PIL import Image

        with Image.open(self._folder / path) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255


if __name__ == "__main__":
    cli.run(main)
