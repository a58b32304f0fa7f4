"""Train the small latent-diffusion model that the repository ships as models/riffusion-mini.

    python demo/train_riffusion_mini.py --output models/riffusion-mini

Synthesises 6,400 clips (of 1,600 songs: the mix twice, its vocals alone, its backing alone, with prompts), trains the
autoencoder on crops of their spectrograms, then the text encoder and the UNet together on the latents, and writes a Stable
Diffusion folder with its card. Each stage is kept in --work and is not done again; two CPU cores take about two hours.
--init goes on from another such model's autoencoder and UNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli

TRAINING_CATALOGUE = 1  # seeds of the songs; 0 is raw-audio/, 3 and up are for evaluation
VALIDATION_CATALOGUE = 2
VALIDATION_CLIPS = 128


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--output", type=Path, default=Path("models/riffusion-mini"), help="the model's folder")
    parser.add_argument("--work", type=Path, default=Path("outputs/riffusion-mini"), help="clips and finished stages")
    parser.add_argument("--num_clips", type=cli.whole(1), default=6400, help="clips to synthesise, four a song")
    parser.add_argument("--autoencoder_steps", type=cli.whole(1), default=3000, help="training steps of the autoencoder")
    parser.add_argument("--unet_steps", type=cli.whole(1), default=4000, help="training steps of the UNet and the text encoder")
    parser.add_argument(
        "--init", type=Path, metavar="MODEL", help="a folder of this shape whose autoencoder and UNet are trained further"
    )
    parser.add_argument("--num_workers", type=cli.PROCESSES, default=2, help="processes that synthesise songs")
    parser.add_seed()
    parser.add_overwrite("the model in --output")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from demo.mini import make_mini

    make_mini(args, TRAINING_CATALOGUE, VALIDATION_CATALOGUE, VALIDATION_CLIPS)


if __name__ == "__main__":
    cli.run(main)
