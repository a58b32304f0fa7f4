"""Pack a folder of pairs into shards, which both trainers read like the folder.

    python tools/pack_dataset.py --train_data_dir train-data-full --output train-shards
    python tools/pack_dataset.py --train_data_dir musdb-pix2pix/train --output musdb-shards --format parquet --pairs_per_shard 500
    python cnet_riff_training.py --train_data_dir 'train-shards/pairs-{000000..000031}.tar'

A shard is a tar in WebDataset's layout (00000012.source.png, 00000012.target.png, 00000012.json with the record) or a Parquet
file that `datasets` reads. Few large files are faster to copy than many small ones, and the trainers take a data set of them on
the hub by its name: --train_data_dir USER/NAME. The same pairs give the same bytes, and the same training. The same command
resumes an interrupted run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli
from riff.cli.errors import naming


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add(
        "--train_data_dir",
        type=Path,
        required=True,
        help="folder of pairs, for ControlNets (prompt.json) or edits (metadata.jsonl)",
    )
    add("--output", type=Path, required=True, help="folder for the shards")
    add("--format", default="webdataset", choices=("webdataset", "parquet"), help="tars in WebDataset's layout, or Parquet files")
    add(
        "--pairs_per_shard",
        type=cli.whole(1),
        default=1000,
        help="maximum of pairs in a shard; those of a song stay in one if they fit",
    )
    add("--control_method", default="", help="name of the control method: packs the pairs of prompt-METHOD.json")
    parser.add_overwrite("the shards in --output")
    return parser.parse_args(argv)


@cli.command
@naming(output="--output")
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    import shlex

    from riff.data.pack import plan_packing, prepare_output
    from riff.data.pair_types import MANIFEST
    from riff.files import make_folder, only_writer

    plan, manifest = plan_packing(args.train_data_dir, args.control_method, args.format, args.pairs_per_shard)
    make_folder(args.output)
    with only_writer(args.output):
        if not prepare_output(args.output, manifest, args.overwrite):
            cli.write_manifest(args.output / MANIFEST, vars(args), **manifest)
        written, shards = plan.write(args.output), len(plan.shards)
    print(f"{plan.num_pairs} pairs in {shards} shards in {args.output}: {written} written now, {shards - written} before")
    print(f"train on them with: python {plan.pair_type.trained_by} --train_data_dir {shlex.quote(str(args.output))}")


if __name__ == "__main__":
    main()
