"""Convert a model between the original code's checkpoint files and diffusers' folders.

    python tools/convert_checkpoint.py --input cnet.ckpt --hint_range 255 --base riffusion/riffusion-model-v1 --output models/cnet
    python tools/convert_checkpoint.py --input models/riff-cnet-mini --output outputs/riff-cnet-mini.ckpt

--input is a .ckpt or .safetensors file: a ControlNet with its Stable Diffusion (cldm, also as Lightning saved it), a ControlNet's
weights alone, Stable Diffusion 1.x alone (Riffusion), or an InstructPix2Pix model. --output is a folder then, which diffusers
loads. Or --input is such a folder and --output ends in .ckpt or .safetensors: the original code loads it, strictly. Weights
are carried over bit by bit, but for --dtype and --hint_range. Nothing in a checkpoint is ever run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli
from riff.cli.errors import named_output


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--input", "--model", required=True, help="checkpoint file, folder, mini, or hub id of either")
    add("--output", type=Path, required=True, help="folder, or file that ends in .ckpt or .safetensors")
    add(
        "--base",
        help="folder, hub id or mini. From a file: whose geometry, tokenizer and scheduler the folder takes (default: Stable "
        "Diffusion 1.5's geometry, which is enough for a ControlNet alone). To a file: the base of a ControlNet or edit UNet alone "
        "(default: the one it names)",
    )
    add("--dtype", choices=("fp32", "fp16", "bf16"), help="cast the weights (default: as they are)")
    add(
        "--hint_range",
        type=cli.real(1, 255),
        choices=(1, 255),
        help="the file's ControlNet takes edges from 0 to this, the folder's from 0 to 1 (default: 255 for riff-cnet's published "
        "model, by its name on the hub, and 1 for any other)",
    )
    parser.add_flag("controlnet_only", default=False, help="write the ControlNet alone, not the model it stands on")
    parser.add_overwrite("what is in --output")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from riff.errors import ModelError, OptionError
    from riff.models.cldm import hint_range_of, write_checkpoint
    from riff.models.convert import DTYPES, checkpoint_to_folder, hash_weights, part_folders
    from riff.models.folders import check_output
    from riff.models.sources import CHECKPOINTS, resolve_checkpoint

    inputs = (args.input, args.base)
    to_file, is_folder = args.output.suffix in CHECKPOINTS, Path(args.input).is_dir()
    manifest = args.output.with_suffix(".manifest.json") if to_file else args.output / "manifest.json"
    replaces: list[str] = []
    if to_file:
        cli.check_new_files([args.output, manifest], inputs, args.overwrite)
    else:
        with named_output():
            replaces = check_output(args.output, args.overwrite, inputs=inputs)
    if is_folder and not to_file:
        raise OptionError(f"--output {args.output}: --input is a folder, so this must be a file that ends in .ckpt or .safetensors")
    file = None if is_folder else resolve_checkpoint(args.input, "give a file or a folder")
    if file is not None and to_file:
        raise OptionError(f"--output {args.output}: --input is a file, so this must be a folder")
    if file is None and not to_file:
        raise ModelError(f"--input {args.input}: no such checkpoint file, nor a hub repository that holds one")
    dtype, hint_range = DTYPES.get(args.dtype), args.hint_range or hint_range_of(args.input)
    if file is not None:
        made = checkpoint_to_folder(file, args.output, args.base, dtype, hint_range, args.controlnet_only, replaces)
        sources, further = [file], {}
    else:
        folders, scheduler = part_folders(args.input, args.base, args.controlnet_only)
        made = f"{write_checkpoint(args.output, folders, scheduler, dtype, hint_range)} tensors"
        sources, further = list(folders.values()), {"files": [args.output.name]}
    settings = {**vars(args), "hint_range": hint_range}
    cli.write_manifest(manifest, settings, made=made, sha256=hash_weights(sources), **further)
    print(f"{made}: {args.output}")


if __name__ == "__main__":
    main()
