"""What do fewer denoising steps cost, with and without distillation? Of both small models, on demo songs.

    OMP_NUM_THREADS=1 python benchmarks/bench_few_steps.py --num_clips 12

Every clip is sampled in every way, one after the other, from the same two seeds, without a tune; seconds are CPU seconds of
sampling and scoring a take. `alike` is the correlation of the two seeds' vocals: distillation must not make all takes the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from riff import cli

if TYPE_CHECKING:
    from riff.experiments.clips import ReferenceClip
    from riff.sampling.song import SongModel

EDIT, CONTROL = "models/riff-pix2pix-mini", "models/riff-cnet-mini"


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--num_clips", type=cli.whole(1), default=12, help="clips, one a song of catalogue 3")
    parser.add_argument("--distilled", default=f"{EDIT}-4-steps", help="adapters of the edit model")
    output = Path("benchmarks/results/bench_few_steps.json")
    parser.add_argument("--output", type=Path, default=output, help="where the figures go")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    import torch

    from demo.evaluation import demo_clips

    torch.set_num_threads(1)
    models = dict(ways(args.distilled))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    for number, clip in enumerate(cli.progress_bar(demo_clips(3, args.num_clips), desc="clips", unit="clip")):
        for name, model in models.items():
            found[name].append(score(model, clip, number))
    results = {name: means(rows) for name, rows in found.items()}
    for name, row in results.items():
        print(name, {metric: round(value, 3) for metric, value in row.items()})
    cli.write_manifest(args.output, vars(args), results=results)


def ways(distilled: str) -> Iterator[tuple[str, SongModel]]:
    """Models by name: as recommended, with fewer steps, without guidance, distilled."""
    from riff.sampling.options import EditOptions
    from riff.sampling.song import load_song_model
    from riff.training.distillation import student_options

    for model_name in (EDIT, CONTROL):
        model = load_song_model(model_name)
        for steps in (20, 10, 4):
            yield f"{model_name}, {steps} steps", replace(model, options=replace(model.options, steps=steps))
        yield f"{model_name}, 4 steps without guidance", replace(model, options=student_options(model.options, 4))
        if isinstance(model.options, EditOptions):
            yield f"{model_name}, distilled", load_song_model(distilled)


def score(model: SongModel, clip: ReferenceClip, seed: int) -> dict[str, float]:
    """Means over the seeds."""
    from riff.experiments.edit import prompt_for
    from riff.metrics.edit import excess_image
    from riff.metrics.fit import dependence
    from riff.metrics.images import edge_scores
    from riff.metrics.melody import register_obeyed
    from riff.metrics.voice_heard import hear_voice
    from riff.sampling.rendering import render_mix
    from riff.sampling.song import SongSampler, generate_take
    from riff.spectrogram.edges import canny_edges

    backing, prompt = clip.accompaniment_image, prompt_for(model, clip)
    sampler = SongSampler(model, backing, prompt)
    rows, vocals = [], []
    for one in (seed, seed + 1_000):
        start = time.process_time()
        take = generate_take(sampler, one)
        row = {"seconds": time.process_time() - start, "fits": float(take.verdict.fit.fits)} | take.verdict.shares
        obeyed = register_obeyed(prompt, take.verdict.scores.median_note) if take.verdict.scores.is_edit else None
        if obeyed is not None:
            row["register_obeyed"] = float(obeyed)
        mix = render_mix(clip.song, take.output, model.target)
        row |= hear_voice(mix.mix, mix.accompaniment, mix.sample_rate).scores(prompt)
        row["edge_f1"] = edge_scores(canny_edges(take.after.pixels), clip.edges).f1
        rows.append(row)
        vocals.append(excess_image(backing.pixels, take.after.pixels))
    return means(rows) | {"alike": dependence(vocals)}


def means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """By metric, over the rows that have it."""
    metrics = sorted({metric for row in rows for metric in row})
    return {metric: fmean(row[metric] for row in rows if metric in row) for metric in metrics}


if __name__ == "__main__":
    cli.run(main)
