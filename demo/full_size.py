"""A base of Stable Diffusion 1.5's shapes with random weights: what runs on it costs what the real one costs.

python demo/full_size.py --output outputs/full-size-base
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riff import cli
from riff.cli.errors import named_output

PROMPTS = ["Generate a sad male vocal pop melody"]  # that its tokenizer is made of


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--output", type=Path, default=Path("outputs/full-size-base"), help="folder for the pipeline, 2.1 GB")
    parser.add_seed()
    parser.add_overwrite("the pipeline in --output")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    import torch

    from riff.models.folders import check_output, model_folder, write_weights

    with named_output():
        replaces = check_output(args.output, args.overwrite)
    with model_folder(args.output, {}, replaces) as folder:
        write_weights(full_size_base(args.seed), folder, torch.float16)
    print(f"Stable Diffusion 1.5's shapes, random weights: {args.output}")


def full_size_base(seed: int = 0) -> Any:
    """A `StableDiffusionPipeline` in float32."""
    import torch
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from demo.diffusion import new_scheduler
    from demo.tokenizer import train_tokenizer
    from riff.models.ldm import STABLE_DIFFUSION_1
    from riff.models.sources import WITHOUT_SAFETY_CHECKER
    from riff.seeds import torch_seed

    torch.manual_seed(torch_seed(seed))
    return StableDiffusionPipeline(
        vae=AutoencoderKL(**STABLE_DIFFUSION_1.vae),
        text_encoder=CLIPTextModel(CLIPTextConfig(**STABLE_DIFFUSION_1.text_encoder)),
        tokenizer=train_tokenizer(PROMPTS),
        unet=UNet2DConditionModel(**STABLE_DIFFUSION_1.unet),
        scheduler=new_scheduler(),
        **WITHOUT_SAFETY_CHECKER,
    )


if __name__ == "__main__":
    cli.run(main)
