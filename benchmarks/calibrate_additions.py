"""How often does an added part count as a performed edit, by the edit score alone and with fit? On synthesised songs.

    python benchmarks/calibrate_additions.py --num_clips 100

The edit score's thresholds were chosen on catalogue 4, and that of fit on catalogue 11; catalogue 3 is in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli

CATALOGUES = (4, 3)


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--num_clips", type=cli.whole(1), default=100, help="clips of each of the two catalogues, one a song")
    output = Path("benchmarks/results/calibrate_additions.json")
    parser.add_argument("--output", type=Path, default=output, help="where the figures go")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from riff.metrics import edit, fit

    results = {f"catalogue {catalogue}": calibrate(catalogue, args.num_clips) for catalogue in CATALOGUES}
    for name, rows in results.items():
        print(f"{name}, {args.num_clips} clips\n{'':28}" + "".join(f"{column:>14}" for column in next(iter(rows.values()))))
        for kind, row in rows.items():
            print(f"{kind:28}" + "".join(f"{value:14.2f}" for value in row.values()))
    thresholds = {name: getattr(module, name) for module in (edit, fit) for name in dir(module) if name.startswith("MIN_")}
    cli.write_manifest(args.output, vars(args), thresholds=thresholds, results=results)


def calibrate(catalogue: int, count: int) -> dict[str, dict[str, float]]:
    """By case: shares of edits by the edit score alone, of parts that fit, and of performed edits; and the means of the fit."""
    import numpy as np

    from demo.edit_cases import additions
    from riff.metrics.edit import judge

    scored: dict[str, list[list[float]]] = {}
    for cases in cli.progress_bar(additions(catalogue, count), desc=f"catalogue {catalogue}", unit="clip", total=count):
        for case in cases:
            verdict = judge("add", case.before, case.after)
            scores = [verdict.scores.is_edit, verdict.fit.fits, verdict.performed, verdict.fit.harmony, verdict.fit.rhythm]
            scored.setdefault(case.kind, []).append([float(score) for score in scores])
    names = ("edited", "fits", "performed", "harmony", "rhythm")
    return {kind: dict(zip(names, np.nanmean(rows, axis=0).tolist(), strict=True)) for kind, rows in scored.items()}


if __name__ == "__main__":
    cli.run(main)
