"""Seconds a clip of sampling: by sampler and steps, by batch, compiled or not, and what the way from image to sound takes.

    python benchmarks/bench_sampling.py
    python demo/full_size.py && python cnet_riff_add_control.py --base outputs/full-size-base --output outputs/full-size-control
    python benchmarks/bench_sampling.py --model outputs/full-size-control --device cuda --compile

The same edges, prompts and seeds for all; ways take turns, and the median of the rounds counts. Edge F1 against the edges that
were given says what fewer steps cost (over the whole image; it means something for trained models alone).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riff import cli
from riff.devices import choose_device


@dataclass(frozen=True)
class Way:
    """A sampler of diffusers, its steps, and how many clips are sampled together."""

    sampler: str
    steps: int
    batch_size: int = 1

    def __str__(self) -> str:
        return f"{self.sampler} {self.steps}" + (f", {self.batch_size} clips at once" if self.batch_size > 1 else "")


SAMPLERS = {"DDIM": "DDIMScheduler", "DPM++": "DPMSolverMultistepScheduler", "UniPC": "UniPCMultistepScheduler"}
WAYS = (Way("DDIM", 50), Way("DPM++", 20), Way("UniPC", 20), Way("UniPC", 10), Way("UniPC", 20, batch_size=4))


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--model", default="models/riff-cnet-mini", help="control pipeline: folder, file or hub id")
    add("--train_data_dir", type=Path, default=Path("train-data"), help="folder of pairs, whose edges and prompts are used")
    add("--num_clips", type=cli.whole(1), default=4, help="clips that every way samples")
    add("--rounds", type=cli.whole(1), default=3, help="turns of every way")
    parser.add_flag("compile", default=False, help="measure torch.compile too (its first, slow call is not counted)")
    parser.add_device()
    parser.add_seed()
    add("--output", type=Path, help="where the figures go (default: benchmarks/results/bench_sampling_DEVICE.json)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from riff.data.records import read_records
    from riff.models.loading import load_control_pipeline
    from riff.sampling.pipelines import prepare_pipeline
    from riff.spectrogram.image import load_grey

    device = choose_device(args.device)
    records = read_records(args.train_data_dir)
    records = [records[index * len(records) // args.num_clips] for index in range(args.num_clips)]
    edges, prompts = [load_grey(args.train_data_dir / record.source) for record in records], [record.prompt for record in records]
    pipelines = {"": prepare_pipeline(load_control_pipeline(args.model), device)}
    if args.compile:
        compiled = prepare_pipeline(load_control_pipeline(args.model), device)
        for part in (compiled.unet, compiled.controlnet, compiled.vae.decoder):
            part.compile()
        pipelines[", compiled"] = compiled
    ways = {f"{way}{suffix}": (pipelines[suffix], way) for suffix in pipelines for way in WAYS}
    for pipeline, way in ways.values():
        generate(pipeline, way, edges, prompts, args.seed, device)  # what is done once is not counted
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    samples: dict[str, list[Any]] = {}
    for _ in range(args.rounds):
        for name, (pipeline, way) in ways.items():
            start = time.perf_counter()
            samples[name] = generate(pipeline, way, edges, prompts, args.seed, device)
            seconds[name].append((time.perf_counter() - start) / len(edges))
    results = {
        name: {"seconds_per_clip": statistics.median(seconds[name]), "edge_f1": follows(samples[name], edges)} for name in ways
    }
    inversion = invert(samples[str(WAYS[2])], args.rounds)
    for name, row in results.items():
        row["with_sound"] = row["seconds_per_clip"] + inversion
        print(f"{name:32}{row['seconds_per_clip']:8.2f} s a clip, edge F1 {row['edge_f1']:.3f}")
    print(f"{'image to sound':32}{inversion:8.2f} s a clip")
    output = args.output or Path(f"benchmarks/results/bench_sampling_{device}.json")
    cli.write_manifest(output, vars(args), results=results, inversion_seconds=inversion)


def generate(pipeline: Any, way: Way, edges: Sequence[Any], prompts: Sequence[str], seed: int, device: str) -> list[Any]:
    import diffusers
    import torch

    from riff.sampling.options import SamplingOptions
    from riff.sampling.pipelines import sample_control

    pipeline.scheduler = getattr(diffusers, SAMPLERS[way.sampler]).from_config(pipeline.scheduler.config)
    samples: list[Any] = []
    for first in range(0, len(edges), way.batch_size):
        part = slice(first, first + way.batch_size)
        seeds = list(range(seed + first, seed + first + len(edges[part])))
        samples += sample_control(pipeline, edges[part], prompts[part], seeds, SamplingOptions(steps=way.steps))
    if device == "cuda":
        torch.cuda.synchronize()
    return samples


def follows(images: Sequence[Any], edges: Sequence[Any]) -> float:
    """Mean edge F1."""
    from riff.metrics.images import edge_scores
    from riff.spectrogram.edges import canny_edges

    scores = [edge_scores(canny_edges(image), edge).f1 for image, edge in zip(images, edges, strict=True)]
    return statistics.mean(scores)


def invert(images: Sequence[Any], rounds: int) -> float:
    """Seconds that an image's sound takes, as sample_riff_cnet.py makes it."""
    from riff.spectrogram.image import SpectrogramImage, image_to_waveform

    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        for image in images:
            image_to_waveform(SpectrogramImage(image, 1e4))
        seconds.append((time.perf_counter() - start) / len(images))
    return statistics.median(seconds)


if __name__ == "__main__":
    cli.run(main)
