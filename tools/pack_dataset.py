"""Pack a folder of pairs into shards, which both trainers read as they read the folder.

    python tools/pack_dataset.py --data_dir train-data-full --output train-shards
    python tools/pack_dataset.py --data_dir musdb-pix2pix/train --output musdb-shards --format parquet --pairs_per_shard 500
    python cnet_riff_training.py --train_data_dir 'train-shards/pairs-{000000..000031}.tar'

A shard is a tar in WebDataset's layout (00000012.source.png, 00000012.target.png, 00000012.json with the record) or a Parquet
file that `datasets` reads. Few large files are faster to copy than many small ones, and a data set of them on the hub is
trained on by its name: --train_data_dir USER/NAME. The same pairs give the same bytes, and the same training. A run that
was stopped goes on where it was when the same command is given again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--data_dir", type=Path, required=True, help="folder of pairs, for ControlNets (prompt.json) or edits (metadata.jsonl)")
    add("--output", type=Path, required=True, help="folder for the shards")
    add("--format", default="webdataset", choices=("webdataset", "parquet"), help="tars in WebDataset's layout, or Parquet files")
    add("--pairs_per_shard", type=cli.whole(1), default=1000, help="pairs in a shard at most; a song's stay in one, where they fit")
    add("--control_method", default="", help="name of the way of control: packs the pairs of prompt-METHOD.json")
    parser.add_overwrite("the shards in --output")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    import shlex

    from riff.data.pack import plan_packing, prepare_output
    from riff.data.pair_types import MANIFEST
    from riff.files import make_folder, only_writer

    plan, manifest = plan_packing(args.data_dir, args.control_method, args.format, args.pairs_per_shard)
    make_folder(args.output)
    with only_writer(args.output, "--output"):
        if not prepare_output(args.output, manifest, args.overwrite):
            cli.write_manifest(args.output / MANIFEST, vars(args), **manifest)
        written, shards = plan.write(args.output), len(plan.shards)
    print(f"{plan.num_pairs} pairs in {shards} shards in {args.output}: {written} written now, {shards - written} there before")
    print(f"train on them with: python {plan.pair_type.trained_by} --train_data_dir {shlex.quote(str(args.output))}")


if __name__ == "__main__":
    main()
