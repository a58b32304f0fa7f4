"""An upload, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from riff.errors import RiffError
from riff.files import CARD
from riff.hub.files import Files, part_of, size
from riff.hub.upload import MakeCard, Uploaded, find_secrets, upload


def publish(repo_id: str, files: Files, token: str, **options: Any) -> Uploaded:
    """`upload` files, with its options, and print what became of them.

    Raises:
        RiffError: all went up but what looks like a secret; and as `upload` does.
    """
    done = upload(repo_id, files, token, **options)
    for line in summary(done, options.get("repo_type", "model")):
        print(line)
    refuse_secrets(done.secrets)
    return done


def summary(done: Uploaded, repo_type: str) -> Iterable[str]:
    """A line for each part of an upload, and one for the whole."""
    parts: dict[str, list[str]] = {}
    for path in done.files:
        parts.setdefault(part_of(path) if repo_type == "model" else "data", []).append(path)
    parts.pop("card", None)
    for part, paths in sorted(parts.items()):
        new = [path for path in paths if path in done.new]
        num_bytes = sum(done.files[path] for path in new)
        yield f"{part}: {len(new)} new or changed ({num_bytes:,} bytes), {len(paths) - len(new)} there already"
    if done.card:
        yield f"card: {done.card}"
    word = "uploaded to" if done.is_changed else "nothing new for"
    sent = "" if done.sent is None else f", {done.sent:,} bytes of large files sent"
    yield f"{word} {done.url}{' (private)' if done.private else ''}: {total_size(done.files)}{sent}"


def total_size(sizes: Mapping[str, int]) -> str:
    return f"{len(sizes)} files, {sum(sizes.values()):,} bytes"


def announce(repo_id: str, files: Files, card: MakeCard) -> None:
    """Print what `publish` would send to a repository that has nothing yet, and contact nobody.

    Raises:
        RiffError: after that, where something looks like a secret.
    """
    secrets = find_secrets(files)
    going = {path: content for path, content in files.items() if path not in secrets}
    sizes = {path: size(content) for path, content in going.items()}
    sizes.setdefault(CARD, len(card(repo_id, {*going, CARD}).encode()))
    for path, num_bytes in sizes.items():
        print(f"{num_bytes:>15,}  {path}{'  (unless somebody has edited the one there)' if path == CARD else ''}")
    print(f"would go to {repo_id}: {total_size(sizes)}")
    refuse_secrets(secrets)


def refuse_secrets(secrets: Mapping[str, str]) -> None:
    """Raise RiffError where something looks like a secret, which names all of it."""
    if secrets:
        names = ", ".join(f"{path} ({what})" for path, what in sorted(secrets.items()))
        count = "1 file looks" if len(secrets) == 1 else f"{len(secrets)} files look"
        raise RiffError(f"{count} like a secret and was left out: {names}; take it out of there, then run the same command again")
