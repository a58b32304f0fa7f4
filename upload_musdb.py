"""Upload a folder of edit pairs to the Hugging Face hub as a data set, or write the data set to disk.

    python upload_musdb.py --train_data_dir musdb-pix2pix/train --repo_id USER/NAME
    python upload_musdb.py --train_data_dir musdb-pix2pix/train

Without --repo_id nothing is uploaded: the data set goes to --output, or else beside the pairs, to musdb-pix2pix/train-parquet.
It consists of Parquet files that hold the images, with the columns original_image, edit_prompt, edited_image, song, start_s,
semitones, kind; train_instruct_pix2pix.py --dataset_name reads it from either place. Running it again changes nothing. For an
upload, the Parquet files are written to the folder for temporary files, or to --output, where they stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli
from riff.cli.errors import naming


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--train_data_dir", type=Path, required=True, help="folder of pairs that preprocess_musdb.py made")
    add("--repo_id", help="USER/NAME on the hub to upload to; created if it is missing")
    add(
        "--output",
        "--to_disk",
        type=Path,
        metavar="DIR",
        help="folder for the data set (default: beside --train_data_dir, as TRAIN_DATA_DIR-parquet, unless --repo_id is given)",
    )
    add("--num_samples_to_use", type=cli.whole(1), help="take this many pairs, chosen at random (default: all)")
    parser.add_seed()
    parser.add_flag(
        "private",
        default=None,
        help="the repository is private, or with --no-private public (default: unchanged, and public for a new one)",
    )
    parser.add_flag(
        "dry_run", default=False, help="list what would be written and uploaded, without doing it or contacting the hub"
    )
    add("--token", help="token of the hub, instead of HF_TOKEN or `hf auth login`")
    parser.add_overwrite("another data set in --output")
    return parser.parse_args(argv)


@cli.command
@naming(to_disk="--output")
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    to_disk = Path(f"{args.train_data_dir.resolve()}-parquet") if args.repo_id is None and args.output is None else args.output
    import tempfile

    from riff.data.export import SHARDS, dataset_card, num_bytes, plan_dataset, sample_records, write_dataset
    from riff.data.pair_types import settings_of
    from riff.data.records import read_edit_records
    from riff.files import CARD
    from riff.hub.client import check_repo_id, find_token
    from riff.hub.files import Files
    from riff.hub.publish import publish

    if args.repo_id is not None:
        check_repo_id(args.repo_id)
    records = read_edit_records(args.train_data_dir)
    if args.num_samples_to_use is not None:
        records = sample_records(records, args.num_samples_to_use, args.seed)
    plan = plan_dataset(args.train_data_dir, records)
    card = dataset_card(plan, settings_of(args.train_data_dir))
    total = f"{len(records)} pairs in {len(plan.shards)} files, {num_bytes(args.train_data_dir, records):,} bytes of images"
    if args.dry_run:
        for name, shard in plan.shards.items():
            print(f"{num_bytes(args.train_data_dir, shard):>15,}  {name}  ({len(shard)} pairs)")
        print(f"would go to {' and '.join(str(place) for place in (to_disk, args.repo_id) if place)}: {total}")
        return
    token = find_token(args.token) if args.repo_id else ""  # a missing token is reported before the work
    with tempfile.TemporaryDirectory(prefix="riff-") as temporary:
        folder = to_disk or Path(temporary) / "data-set"
        written = write_dataset(plan, card, folder, args.overwrite)
        if to_disk:
            print(f"{'written to' if written else 'nothing new for'} {folder}: {total}")
        if args.repo_id:
            files: Files = {name: folder / name for name in plan.shards}
            files[CARD] = card.encode()
            options = {"private": args.private, "repo_type": "dataset", "replaces": SHARDS}
            publish(args.repo_id, files, token, message=f"Upload {len(records)} pairs", **options)


if __name__ == "__main__":
    main()
