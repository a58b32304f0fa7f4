"""Inspect pairs before training: figures, sound, broken files, and songs on both sides of the split.

    python tools/inspect_dataset.py train-data-full/

DIR holds ControlNet pairs (prompt.json) or edit pairs (metadata.jsonl). Every image is read. Counts, hours, prompts, vocal levels
and problems are printed, and written to report.json and to index.html with histograms, a contact sheet and players. The last line
states whether the pairs are fit to train on; if not, the exit status is 2.

--fix moves what is broken into DIR/broken, with reasons.jsonl, and removes its lines from the records; nothing is deleted.
--fix broken duplicates silent also moves duplicate songs, and clips with hardly any vocal. Older files with fewer keys are read
too; what they lack is reported as unknown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from riff import cli

RESULT_FILES = ("index.html", "sheet.png", "clips/*")


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("dir", type=Path, metavar="DIR", help="folder of pairs")
    add(
        "--val_dir", type=Path, help="folder of the pairs to validate on (default: some songs of DIR are held out, see --val_share)"
    )
    parser.add_val_share("share of songs that training will hold out; use the same value there")
    add("--control_method", default="", help="read prompt-METHOD.json")
    add("--target", help="what edited images show: a stem's name for it alone, or mix (default: from manifest.json)")
    add(
        "--min_vocal_db",
        type=cli.real(-200, 200),
        default=-25.0,
        help="vocal over backing, in dB, below which a clip has hardly any vocal",
    )
    parser.heading("results")
    add("--output", type=Path, default=Path("outputs/inspection"), help="folder for the page and report.json")
    add(
        "--num_shown",
        type=cli.whole(0),
        default=12,
        help="clips with sound on the page, besides the worst two of each problem; 0 for none",
    )
    add("--num_workers", type=cli.PROCESSES, default=os.cpu_count() or 1, help="processes that read images")
    parser.heading("repair")
    add(
        "--fix",
        nargs="*",
        choices=("broken", "duplicates", "silent"),
        help="move aside what is broken, and also duplicate songs, or clips with hardly any vocal (--fix: broken)",
    )
    parser.add_overwrite("other files in --output; the page and report of an earlier inspection are always replaced")
    args = parser.parse_args(argv)
    for folder in filter(None, (args.dir, args.val_dir)):
        _check_no_shards(folder)
    return args


def _check_no_shards(folder: Path) -> None:
    from riff.data.shard_files import SUFFIXES
    from riff.errors import DataError

    holds_pairs = any(folder.glob("prompt*.json")) or (folder / "metadata.jsonl").exists()
    if not holds_pairs and any(path.suffix in SUFFIXES for path in (folder, *folder.rglob("*"))):
        raise DataError(f"{folder}: holds shards, not a folder of pairs; give the folder that they were packed from")


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from riff.inspection.inspect import InspectionOptions, inspect_pairs
    from riff.inspection.page import write_inspection
    from riff.inspection.set_aside import BROKEN, plan_set_aside, set_aside
    from riff.inspection.split_check import check_split

    results = cli.ResultFolder(args.output, "--output", RESULT_FILES, (), args.overwrite, "report.json", renewed=True)
    results.check()
    options = InspectionOptions(args.control_method, args.target, args.min_vocal_db, args.num_workers)
    val = None if args.val_dir is None else inspect_pairs(args.val_dir, options)
    inspection = check_split(inspect_pairs(args.dir, options), val, args.val_share)
    if args.fix is not None:
        plan = plan_set_aside(inspection.folder, inspection.findings, args.fix or ["broken"])
        set_aside(inspection.folder, plan)
        print(f"{len(plan.lines):,} records and {len(plan.files):,} files moved to {args.dir / BROKEN}")
        if plan.lines or plan.files:
            inspection = check_split(inspect_pairs(args.dir, options), val, args.val_share)
    print(inspection.table())
    with results.written() as folder:
        write_inspection(folder, inspection, args.num_shown, vars(args))
    errors = [finding for finding in inspection.findings if finding.error]
    for error in errors:
        remedy = f"; --fix {error.fix} moves them aside" if error.fix else ""
        print(f"error: {args.dir}: {error}{remedy}", file=sys.stderr)
    print(f"page: {args.output / 'index.html'}")
    print(inspection.verdict)
    return cli.EXIT_FAILURE if errors else 0


if __name__ == "__main__":
    main()
