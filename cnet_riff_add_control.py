"""Attach a ControlNet to Riffusion and save the pipeline, ready to train.

    python cnet_riff_add_control.py
    python cnet_riff_add_control.py --base mini --output models/control_mini_ini

The ControlNet starts as a copy of the base's encoder behind zero convolutions: until it is trained, the pipeline generates
exactly what the base generates. The result loads in diffusers' StableDiffusionControlNetPipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli
from riff.cli.errors import named_output


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument(
        "--base",
        default="riffusion/riffusion-model-v1",
        help="hub id, folder, .ckpt or .safetensors file, or mini (in the repository)",
    )
    parser.add_argument(
        "--base_config",
        help="whose geometry, tokenizer and scheduler a single-file base takes: folder, hub id or mini (default: Stable Diffusion "
        "1.5's geometry, and the rest from riffusion/riffusion-model-v1 on the hub)",
    )
    parser.add_argument("--output", type=Path, default=Path("models/control_riffusion_ini"), help="folder for the pipeline")
    parser.add_argument("--hint_init", default="scaled", choices=("scaled", "stock"), help="how the hint encoder starts")
    parser.add_seed()
    parser.add_overwrite("the pipeline in --output")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from riff.errors import ModelError, OptionError
    from riff.models.control import attach_control
    from riff.models.folders import check_output, save_pipeline
    from riff.models.loading import load_base
    from riff.models.sources import resolve_base

    if args.base_config and Path(resolve_base(args.base)).is_dir():
        raise OptionError(f"--base_config {args.base_config}: --base is a folder, which has its own; leave --base_config out")
    with named_output():
        replaces = check_output(args.output, args.overwrite, inputs=(args.base, args.base_config))
    print(f"loading {args.base}")
    try:
        pipeline = attach_control(load_base(args.base, args.base_config), args.hint_init, args.seed)
    except ModelError as error:
        raise ModelError(f"--base {error}") from error
    origin = {"base": args.base, "hint_init": args.hint_init, "seed": args.seed}
    save_pipeline(pipeline, args.output, origin, replaces=replaces)
    millions = sum(parameter.numel() for parameter in pipeline.controlnet.parameters()) / 1e6
    print(f"a ControlNet of {millions:.1f} M parameters, attached and not trained: {args.output}")


if __name__ == "__main__":
    main()
