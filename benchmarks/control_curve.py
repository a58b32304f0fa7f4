"""When does the control take hold? Edge F1 of the samples that training runs generated for held-out songs, by step.

    python benchmarks/control_curve.py scaled=image_log/version_0 stock=image_log/version_1 --train_data_dir train-data-full

Each run is NAME=FOLDER of an image log. The score is that of tools/evaluate_samples.py, over the whole image (held-out
pairs have no stems to mask the vocal with): compare it with the true mixes' own, the last row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER", help="image logs to compare")
    parser.add_argument("--train_data_dir", type=Path, required=True, help="the pairs that the runs were trained on")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/control_curve.json"), help="where the figures go")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from riff.errors import OptionError

    if not all("=" in run for run in args.runs):
        raise OptionError("write each run as NAME=FOLDER, for example scaled=image_log/version_0")
    curves = {name: curve(Path(folder), args.train_data_dir) for name, folder in (run.split("=", 1) for run in args.runs)}
    for step in sorted({step for points in curves.values() for step in points}):
        print(f"{step:7d}" + "".join(f"{points.get(step, float('nan')):10.3f}" for points in curves.values()))
    best = true_mix_score(Path(args.runs[0].split("=", 1)[1]), args.train_data_dir)
    print(f"true mixes {best:.3f}; columns: {', '.join(curves)}")
    points = {name: list(points.items()) for name, points in curves.items()}
    cli.write_manifest(args.output, vars(args), edge_f1=points, true_mix=best)


def curve(image_log: Path, pairs: Path) -> dict[int, float]:
    """step -> mean edge F1 of that step's samples."""
    from riff.spectrogram.image import load_grey
    from riff.training.run_dir import step_of

    folders = sorted(image_log.glob("step=*"), key=step_of)
    return {int(folder.name[5:]): _mean_score(_clips(folder), pairs, lambda clip: load_grey(clip)) for folder in folders}


def true_mix_score(image_log: Path, pairs: Path) -> float:
    """The same score of the true mixes, untouched."""
    from riff.spectrogram.image import load_grey
    from riff.training.run_dir import step_of

    folder = min(image_log.glob("step=*"), key=step_of)
    return _mean_score(_clips(folder), pairs, lambda clip: load_grey(pairs / "target" / clip.name))


def _clips(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.png")) if not path.stem.endswith("-sheet")]


def _mean_score(clips, pairs, image) -> float:  # type: ignore[no-untyped-def]
    from riff.metrics.images import edge_scores
    from riff.spectrogram.edges import canny_edges
    from riff.spectrogram.image import load_grey

    scores = [edge_scores(canny_edges(image(clip)), load_grey(pairs / "source" / clip.name)).f1 for clip in clips]
    return sum(scores) / len(scores)


if __name__ == "__main__":
    cli.run(main)
