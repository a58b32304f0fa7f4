"""How often does the network-free verdict of riff/metrics/edit.py err? On synthesised songs whose parts are known.

    python benchmarks/calibrate_edit.py --num_clips 200

The thresholds were chosen on catalogue 4; catalogue 3 checks them. Nothing is trained on either.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from riff import cli

CHOSEN_ON, CHECKED_ON = 4, 3
SCORES = ("added_energy", "melody", "motion", "backing_kept", "onset_agreement", "edit_score")


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--num_clips", type=cli.whole(1), default=200, help="clips of each of the two catalogues, one a song")
    parser.add_argument("--base", default="mini", help="base model whose autoencoder is tried")
    parser.add_argument("--num_workers", type=cli.PROCESSES, default=2, help="processes")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/calibrate_edit.json"), help="where the figures go")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from riff.metrics import edit

    results = {}
    with ProcessPoolExecutor(args.num_workers) as pool:
        runs = {catalogue: pool.submit(calibrate, catalogue, args.num_clips, args.base) for catalogue in (CHOSEN_ON, CHECKED_ON)}
        for catalogue, run in runs.items():
            results[f"catalogue {catalogue}"] = result = run.result()
            print(f"catalogue {catalogue}, {args.num_clips} clips\n{'':38}{'counted':>12}" + "".join(f"{s:>17}" for s in SCORES))
            for kind, row in result["kinds"].items():
                counted = f"{row['counted']} of {row['clips']}"
                print(f"{kind:38}{counted:>12}" + "".join(f"{row[score]['median']:17.3f}" for score in SCORES))
            print("".join(f"register right, {kind}: {share:.3f}\n" for kind, share in result["register_accuracy"].items()))
    thresholds = {name: getattr(edit, name) for name in dir(edit) if name.startswith("MIN_")}
    cli.write_manifest(args.output, vars(args), thresholds=thresholds, results=results)


def calibrate(catalogue: int, count: int, base: str) -> dict:
    """kind -> how many clips counted as performed and the scores' 2nd, 50th and 98th percentiles; and the register's share."""
    import numpy as np
    import torch

    from demo.edit_cases import edit_cases
    from riff.metrics.edit import melody_of, score_edit
    from riff.metrics.melody import median_pitch, register_obeyed
    from riff.models.encoders import through_autoencoder
    from riff.models.loading import load_base

    cli.quieten_libraries()
    torch.set_num_threads(1)
    vae = load_base(base).vae.to(memory_format=torch.channels_last)
    scored: dict[str, list] = {}
    right: dict[str, list[bool]] = {}
    for clip in edit_cases(catalogue, count, lambda pixels: through_autoencoder(vae, pixels)):
        for case in clip.cases:
            scores = score_edit(case.after, case.before) if case.removal else score_edit(case.before, case.after)
            scored.setdefault(case.kind, []).append(scores)
            if case.kind.startswith("true mix"):
                right.setdefault(case.kind, []).append(bool(register_obeyed(clip.gender, scores.median_note)))
        right.setdefault("vocal alone", []).append(bool(register_obeyed(clip.gender, median_pitch(melody_of(clip.vocal)))))
    kinds: dict[str, dict] = {}
    for kind, rows in scored.items():
        kinds[kind] = {"clips": len(rows), "counted": sum(row.is_edit for row in rows)}
        for score in SCORES:
            low, middle, high = np.quantile([getattr(row, score) for row in rows], [0.02, 0.5, 0.98])
            kinds[kind][score] = {"2 %": float(low), "median": float(middle), "98 %": float(high)}
    return {"kinds": kinds, "register_accuracy": {kind: float(np.mean(values)) for kind, values in right.items()}}


if __name__ == "__main__":
    cli.run(main)
