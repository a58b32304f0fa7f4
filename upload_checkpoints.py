"""python upload_checkpoints.py 3 USER/NAME

Upload what training left to a model repository on the Hugging Face hub: the image log of version 3, its newest
checkpoint and configuration, and the final pipeline. Running it again sends only what changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli

MODEL = Path("models/riff-cnet-final")


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("version", metavar="VERSION", type=int, help="number of the training run, N in version_N")
    parser.add_argument("repo_id", metavar="REPO_ID", help="USER/NAME on the hub; made if it is missing")
    parser.add_argument("--lightning_logs", type=Path, default=Path("lightning_logs"), help="folder of the training runs")
    parser.add_argument("--image_log", type=Path, default=Path("image_log"), help="folder of the samples drawn while training")
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the final pipeline; the default may be missing")
    parser.add_argument("--base", help="base model for the model card to name, instead of what the run's files say")
    parser.add_flag("private", default=False, help="make the repository private")
    parser.add_flag("dry_run", default=False, help="list what would go, and contact nobody")
    parser.add_argument("--token", help="token of the hub, instead of HF_TOKEN or `hf auth login`")
    args = parser.parse_args(argv)

    from riff import hub

    hub.check_repo_id(args.repo_id)
    model = args.model if args.model != MODEL or MODEL.exists() else None
    if model is None:
        print(f"{MODEL} is not there, so only the log and the checkpoint go")
    files = hub.collect(args.version, args.lightning_logs, args.image_log, model)
    run = args.lightning_logs / f"version_{args.version}"
    files.setdefault(hub.CARD, hub.run_card(args.repo_id, run, model, args.base).encode())
    total = f"{len(files)} files, {sum(map(hub.size, files.values())):,} bytes"

    if args.dry_run:
        for path, content in files.items():
            note = "  (if the repository has none)" if path == hub.CARD else ""
            print(f"{hub.size(content):>15,}  {path}{note}")
        print(f"would go to {args.repo_id}: {total}")
        return
    url, changed = hub.upload(
        args.repo_id, files, hub.find_token(args.token), private=args.private, message=f"Upload version {args.version}"
    )
    print(f"uploaded to {url}: {total}" if changed else f"nothing new for {url}: {total}")


if __name__ == "__main__":
    cli.run(main)
