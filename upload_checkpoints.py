"""python upload_checkpoints.py 3 USER/NAME

Upload what training left to a model repository on the Hugging Face hub: the image log of version 3, its newest
checkpoint and configuration, and the final pipeline. Running it again sends only what changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("version", metavar="VERSION", type=int, help="number of the training run, N in version_N")
    parser.add_argument("repo_id", metavar="REPO_ID", help="USER/NAME on the hub; made if it is missing")
    parser.add_argument("--lightning_logs", type=Path, default=Path("lightning_logs"), help="folder of the training runs")
    parser.add_argument("--image_log", type=Path, default=Path("image_log"), help="folder of the samples drawn while training")
    parser.add_argument(
        "--model", type=Path, help="folder of the final pipeline (default: where the run left it, or models/riff-cnet-final)"
    )
    parser.add_argument("--base", help="base model for the model card to name, instead of what the run's files say")
    parser.add_flag("private", default=False, help="make the repository private")
    parser.add_flag("dry_run", default=False, help="list what would go, and contact nobody")
    parser.add_argument("--token", help="token of the hub, instead of HF_TOKEN or `hf auth login`")
    args = parser.parse_args(argv)

    from riff import hub

    hub.check_repo_id(args.repo_id)
    model = args.model or hub.result_of(args.lightning_logs / f"version_{args.version}")
    if args.model is None and not model.exists():
        print(f"{model} is not there, so only the log and the checkpoint go")
        model = None
    files = hub.run_files(args.repo_id, args.version, args.lightning_logs, args.image_log, model, args.base)
    if args.dry_run:
        for path, content in files.items():
            note = "  (if the repository has none)" if path == hub.CARD else ""
            print(f"{hub.size(content):>15,}  {path}{note}")
        print(f"would go to {args.repo_id}: {hub.total_size(files)}")
        return
    message = f"Upload version {args.version}"
    print(hub.publish(args.repo_id, files, hub.find_token(args.token), message=message, private=args.private))


if __name__ == "__main__":
    main()
