"""How soon does a ControlNet follow its hint, and what decides it? One short training for each way and seed.

    OMP_NUM_THREADS=1 python benchmarks/hint_study.py --train_data_dir outputs/control-pairs

The songs and pairs are those of demo/train_riff_cnet_mini.sh. Every way starts from the same base, sees the same batches, noise
and timesteps, and is validated on the same clips of held-out songs from the same noise: the edge F1 of its samples outside the
vocal's region, and the loss over held-out pairs. The floor is the base without a ControlNet, the ceiling the true mix through
the autoencoder. Runs that are in --output already are not made again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from riff import cli

HINT_ENCODER, ZERO_CONVOLUTIONS = (
    "controlnet.controlnet_cond_embedding",
    ("controlnet.controlnet_down", "controlnet.controlnet_mid"),
)


@dataclass(frozen=True)
class Way:
    """How the hint enters.

    Attributes:
        hint_init: `stock`, `scaled`, or `normalised`: every layer's features of real edges have the standard deviation 1.
        last: how the hint encoder's last convolution starts: `zero`, or like the others (`open`).
        hint_rate, zero_rate: what the learning rate of the hint encoder and of the zero convolutions is multiplied by.
        width: of the hint encoder, as a multiple of the usual one.
    """

    hint_init: str = "scaled"
    last: str = "zero"
    hint_rate: float = 1.0
    zero_rate: float = 1.0
    width: float = 1.0


WAYS = {
    "stock": Way("stock"),
    "scaled": Way(),
    "scaled, open": Way(last="open"),
    "scaled, hint encoder's rate x5": Way(hint_rate=5.0),
    "scaled, zero convolutions' rate x5": Way(zero_rate=5.0),
    "stock, hint encoder's rate x5": Way("stock", hint_rate=5.0),
    "normalised": Way("normalised"),
    "scaled, half the width": Way(width=0.5),
}


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--base", default="mini", help="base that the control is attached to")
    add("--train_data_dir", type=Path, required=True, help="folder of pairs")
    add("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), metavar="WAY", help=f"of: {'; '.join(WAYS)}")
    add("--seeds", nargs="+", type=cli.SEED, default=[0, 1, 2], help="of initialisation, data order, noise and samples")
    add(
        "--validation_steps",
        nargs="+",
        type=cli.whole(1),
        default=[100, 200, 300],
        help="optimizer steps after which to validate; the last ends a run",
    )
    add("--batch_size", type=cli.BATCH, default=4, help="pairs a batch")
    add("--learning_rate", type=cli.real(above=0), default=1e-3, help="of what has no multiple")
    add("--num_clips", type=cli.whole(1), default=12, help="held-out clips to sample")
    add("--num_pairs", type=cli.whole(1), default=48, help="held-out pairs to compute the loss of")
    add("--sample_steps", type=cli.DENOISING_STEPS, default=8, help="denoising steps of a sample")
    add("--output", type=Path, default=Path("benchmarks/results/hint_study.json"), help="where the figures go")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from riff.files import read_mapping

    runs: list[dict[str, Any]] = read_mapping(args.output)["runs"] if args.output.exists() else []
    done = {(run["way"], run["seed"]) for run in runs}
    todo = [(seed, name) for seed in args.seeds for name in args.ways if (name, seed) not in done]
    bench = Bench(args)
    for seed, name in todo:
        runs.append({"way": name, "seed": seed, **bench.run(WAYS[name], seed)})
        print(f"{name}, seed {seed}: " + ", ".join(f"{point['step']}: {point['edge_f1']:.3f}" for point in runs[-1]["points"]))
        write(args, bench, runs)
    write(args, bench, runs)


def write(args: cli.argparse.Namespace, bench: Bench, runs: list[dict[str, Any]]) -> None:
    cli.write_manifest(
        args.output,
        vars(args),
        ways={name: asdict(WAYS[name]) for name in WAYS},
        bounds=bench.bounds,
        full_size_features=bench.full_size_features,
        summary={way: summarise(way, runs, bench.bounds) for way in dict.fromkeys(run["way"] for run in runs)},
        runs=runs,
    )


def summarise(way: str, runs: Sequence[dict[str, Any]], bounds: dict[str, float]) -> dict[str, Any]:
    """Over a way's seeds: edge F1 at each validation, at the last one its standard error, its share of the way from floor to
    ceiling and the share by which the base's loss has fallen, seconds a step, and the hint encoder's features at the start."""
    import numpy as np

    own = [run for run in runs if run["way"] == way]
    edge_f1 = np.array([[point["edge_f1"] for point in run["points"]] for run in own])  # (seeds, validations)
    last = [run["points"][-1] for run in own]
    loss = np.array([point["loss"] for point in last])
    return {
        "seeds": len(own),
        "edge_f1": {str(point["step"]): mean for point, mean in zip(own[0]["points"], edge_f1.mean(axis=0), strict=True)},
        "edge_f1_error": edge_f1[:, -1].std(ddof=1) / len(own) ** 0.5 if len(own) > 1 else None,
        "covered": (edge_f1[:, -1].mean() - bounds["floor"]) / (bounds["ceiling"] - bounds["floor"]),
        "loss_gone": 1 - loss.mean() / bounds["loss"],
        "loss_gone_error": loss.std(ddof=1) / len(own) ** 0.5 / bounds["loss"] if len(own) > 1 else None,
        "seconds_per_step": float(np.median([point["seconds"] / point["step"] for point in last])),
        "features": {name: float(np.mean([run["features"][name] for run in own])) for name in own[0]["features"]},
    }


class Bench:
    """The data, the clips and the bounds that all ways share."""

    def __init__(self, args: cli.argparse.Namespace) -> None:
        from riff.data.datasets import one_of_each_song
        from riff.models.control import attach_control
        from riff.models.loading import load_base
        from riff.training.control import prepare_control_data

        self._args = args
        self._data = prepare_control_data(args.train_data_dir, "", attach_control(load_base(args.base)), "cpu", val_share=0.1)
        self._clips = one_of_each_song(self._data.held_out, args.num_clips)
        self.bounds = self._bounds()
        self.full_size_features = self._full_size_features()

    def run(self, way: Way, seed: int) -> dict[str, Any]:
        """Train one way and validate it.

        Returns:
            `points`: at each validation the step, the seconds of training so far and edge F1; `features`: of the hint encoder
            at the start.
        """
        import torch

        from riff.training.optimizers import adamw, learning_rate_factor

        module, pipeline = self._module(way, seed)
        features = feature_statistics(pipeline.controlnet.controlnet_cond_embedding, self._hints())
        optimizer = adamw(module.named_parameters(), module.options)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(module.options, step))
        points, seconds = [], 0.0
        for step, batch in zip(range(1, max(self._args.validation_steps) + 1), module.train_dataloader(), strict=False):
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16):
                loss = module.noise_loss(batch, (seed, step))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            seconds += time.perf_counter() - start
            if step in self._args.validation_steps:
                points.append(
                    {"step": step, "seconds": round(seconds, 1), "edge_f1": self._edge_f1(pipeline), "loss": self._loss(module)}
                )
        return {"features": features, "points": points}

    def _module(self, way: Way, seed: int) -> tuple[Any, Any]:
        import torch

        from riff.data.datasets import ControlDataset
        from riff.models.control import attach_control, hint_channels
        from riff.models.encoders import latent_factor
        from riff.models.loading import load_base
        from riff.training.control import ControlObjective
        from riff.training.module import NoiseTraining
        from riff.training.options import TrainingOptions

        pipeline = attach_control(load_base(self._args.base), "stock" if way.hint_init == "stock" else "scaled", seed)
        if way.width != 1:
            pipeline = with_hint_width(pipeline, tuple(int(width * way.width) for width in hint_channels(latent_factor(pipeline))))
        encoder = pipeline.controlnet.controlnet_cond_embedding
        if way.hint_init == "normalised":
            normalise_hint_encoder(encoder, self._hints())
        if way.last == "open":
            torch.nn.init.normal_(encoder.conv_out.weight, std=encoder.conv_out.weight[0].numel() ** -0.5)
        rates = (
            (HINT_ENCODER, way.hint_rate),
            *((name, way.zero_rate) for name in ZERO_CONVOLUTIONS),
        )
        options = TrainingOptions(
            learning_rate=self._args.learning_rate,
            rate_factors=rates,
            batch_size=self._args.batch_size,
            warmup_steps=20,
            num_workers=0,
            seed=seed,
        )
        data = self._data
        dataset = ControlDataset(data.store, data.training, data.encoded)
        objective = ControlObjective(pipeline.unet, pipeline.controlnet)
        return NoiseTraining(objective, pipeline.scheduler, dataset, options, ""), pipeline

    def _hints(self) -> Any:
        """The clips' edges, float32, shape (clips, 3, height, width), 0 or 1."""
        import torch

        from riff.data.datasets import ControlDataset

        dataset = ControlDataset(self._data.store, self._clips, self._data.encoded)
        grey = torch.stack([dataset[index]["hint"] for index in range(len(dataset))])  # (clips, 1, height, width), uint8
        return (grey.float() / 255.0).repeat(1, 3, 1, 1)

    def _edge_f1(self, pipeline: Any) -> float:
        """Mean edge F1 of samples from fixed noise."""
        import numpy as np
        import torch
        from diffusers import UniPCMultistepScheduler

        from riff.models.control import with_control
        from riff.sampling.options import SamplingOptions
        from riff.sampling.pipelines import sample_control
        from riff.spectrogram.image import load_grey

        sampler = with_control(pipeline, pipeline.controlnet)
        sampler.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
        sampler.set_progress_bar_config(disable=True)
        edges = [load_grey(self._data.store.open(clip.source)) for clip in self._clips]
        options = SamplingOptions(steps=self._args.sample_steps, guidance_scale=1.0)
        with torch.autocast("cpu", torch.bfloat16):
            samples = sample_control(sampler, edges, [c.prompt for c in self._clips], range(len(edges)), options)
        return float(np.mean([self._score(clip, sample) for clip, sample in zip(self._clips, samples, strict=True)]))

    def _score(self, clip: Any, sample: Any) -> float:
        """Edge F1 outside the vocal's region, against the accompaniment's edges."""
        from riff.metrics.images import edge_scores, vocal_region
        from riff.spectrogram.edges import canny_edges
        from riff.spectrogram.image import load_grey, load_image

        store = self._data.store
        region = vocal_region(load_image(store.open(clip.accompaniment)), load_image(store.open(clip.target)))
        return edge_scores(canny_edges(sample), load_grey(store.open(clip.source)), mask=~region).f1

    def _loss(self, module: Any) -> float:
        """The mean loss of held-out pairs at fixed noise, timesteps and dropout."""
        import torch
        from torch.utils.data import DataLoader

        from riff.data.datasets import ControlDataset

        held_out = self._data.held_out
        records = held_out[:: max(1, len(held_out) // self._args.num_pairs)][: self._args.num_pairs]
        loader = DataLoader(ControlDataset(self._data.store, records, self._data.encoded), self._args.batch_size)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            losses = [module.noise_loss(batch, (number,)).item() for number, batch in enumerate(loader)]
        return sum(losses) / len(losses)

    def _bounds(self) -> dict[str, float]:
        """Floor and ceiling of the edge F1, and the base's loss: an untrained ControlNet changes nothing."""
        from riff.experiments.clips import reconstructed
        from riff.spectrogram.image import load_image

        module, pipeline = self._module(Way(), seed=0)
        mixes = [(clip, load_image(self._data.store.open(clip.target))) for clip in self._clips]
        ceiling = sum(self._score(clip, reconstructed(pipeline.vae, mix).pixels) for clip, mix in mixes) / len(mixes)
        return {"floor": self._edge_f1(pipeline), "ceiling": ceiling, "loss": self._loss(module)}

    def _full_size_features(self) -> dict[str, dict[str, float]]:
        """`feature_statistics` of hint encoders of Stable Diffusion 1.5's widths, by their initialisation."""
        import torch
        from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

        from riff.models.control import STOCK_HINT_CHANNELS, scale_hint_encoder

        found = {}
        for hint_init in ("stock", "scaled", "normalised"):
            torch.manual_seed(0)
            encoder = ControlNetConditioningEmbedding(320, block_out_channels=STOCK_HINT_CHANNELS)
            if hint_init != "stock":
                scale_hint_encoder(encoder)
            if hint_init == "normalised":
                normalise_hint_encoder(encoder, self._hints())
            found[hint_init] = feature_statistics(encoder, self._hints())
        return found


def with_hint_width(pipeline: Any, channels: tuple[int, ...]) -> Any:
    """A pipeline whose hint encoder has other widths, scaled."""
    from diffusers import ControlNetModel

    from riff.models.control import scale_hint_encoder, with_control

    controlnet = ControlNetModel.from_unet(pipeline.unet, conditioning_embedding_out_channels=channels)
    scale_hint_encoder(controlnet.controlnet_cond_embedding)
    return with_control(pipeline, controlnet)


def normalise_hint_encoder(encoder: Any, hints: Any) -> None:
    """Scale each convolution so that what it makes of these hints has the standard deviation 1 (Mishkin and Matas, ICLR 2016)."""
    import torch
    from torch.nn.functional import silu

    features = hints
    with torch.inference_mode():
        for convolution in (encoder.conv_in, *encoder.blocks):
            convolution.weight.div_(convolution(features).std())
            features = silu(convolution(features))


def feature_statistics(encoder: Any, hints: Any) -> dict[str, float]:
    """What reaches the hint encoder's last convolution: its mean size, and its standard deviation over the image."""
    import torch
    from torch.nn.functional import silu

    with torch.inference_mode():
        features = silu(encoder.conv_in(hints))
        for convolution in encoder.blocks:
            features = silu(convolution(features))
    return {"mean_size": features.abs().mean().item(), "std_over_image": features.std(dim=(2, 3)).mean().item()}


if __name__ == "__main__":
    cli.run(main)
