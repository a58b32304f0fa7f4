"""python upload_checkpoints.py 3 USER/NAME

Upload a training run to a model repository on the Hugging Face hub: the image log of version 3, its newest checkpoint and
configuration, and the final pipeline, with a model card. Running it again sends only what changed, and resumes an interrupted
upload. Files that look like secrets are left out, and texts are uploaded with ~ in place of home folders. A card that nobody
edited is rewritten each time, with the --report given then.

    python upload_checkpoints.py 3 USER/NAME --what model log --private
    python upload_checkpoints.py 3 USER/NAME --report outputs/evaluation --revision steps-5000
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from riff import cli
from riff.cli.errors import named_flag, naming

WHAT = ("model", "log", "checkpoint", "all")


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("version", metavar="VERSION", type=cli.whole(0), help="number of the training run, N in version_N")
    add("repo_id", metavar="REPO_ID", help="USER/NAME on the hub; created if it is missing")
    parts = "the final pipeline, the samples and losses of the training, the newest checkpoint with its configuration"
    add("--what", nargs="+", default=["all"], choices=WHAT, help=f"what to upload: {parts}; always with a model card")
    add("--lightning_logs", type=Path, default=Path("lightning_logs"), help="folder of the training runs")
    add("--image_log", type=Path, default=Path("image_log"), help="folder of the samples generated during training")
    add("--model", type=Path, help="folder of the final pipeline (default: where the run wrote it, or models/riff-cnet-final)")
    add("--base", help="base model that the model card names, instead of the one in the run's files")
    add(
        "--report",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="for the card: --output of tools/evaluate_samples.py on this model",
    )
    add("--revision", metavar="BRANCH", help="branch to upload to, created if it is missing (default: main)")
    parser.add_flag(
        "private",
        default=None,
        help="the repository is private, or with --no-private public (default: unchanged, and public for a new one)",
    )
    parser.add_flag("dry_run", default=False, help="list what would be uploaded, without contacting the hub")
    add("--token", help="token of the hub, instead of HF_TOKEN or `hf auth login`")
    return parser.parse_args(argv)


@cli.command
@naming(report="--report", model="--model", lightning_logs="--lightning_logs")
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)

    from riff.errors import OptionError
    from riff.hub.card import read_run_card
    from riff.hub.client import check_repo_id, find_token
    from riff.hub.files import ALL, MODEL, collect, final_model
    from riff.hub.publish import announce, publish
    from riff.training.run_dir import read_config

    check_repo_id(args.repo_id)
    run, model, needs_model = args.lightning_logs / f"version_{args.version}", args.model, bool({ALL, MODEL} & set(args.what))
    try:
        model = model or final_model(run)  # the card describes it even if it is not uploaded
    except OptionError:
        if needs_model:
            raise
    if args.model and needs_model:
        with named_flag("--model "):
            check_type(args.model, read_config(run))
    if model is None and needs_model:
        print("the run's final pipeline was not found, so it is left out; name its folder with --model")
    files = collect(args.version, args.lightning_logs, args.image_log, model, args.what)
    card = read_run_card(args.repo_id, run, model, args.base, args.report, args.revision)
    if args.dry_run:
        announce(args.repo_id, files, card.text)
        return
    options = {"card": card.text, "private": args.private, "revision": args.revision}
    done = publish(args.repo_id, files, find_token(args.token), message=f"Upload version {args.version}", **options)
    for command in card.commands(done.repo_id, done.files):
        print(f"load it with: {command}")


def check_type(model: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a model that a run of these settings cannot have made.

    Raises:
        ModelError: what it is instead.
    """
    from riff.hub.card import is_edit
    from riff.models.model_types import CONTROL, EDIT, model_type_of

    model_type_of(model, *([EDIT if is_edit(settings) else CONTROL] if settings else []))


if __name__ == "__main__":
    main()
