"""Upload files to a repository on the Hugging Face hub: one commit of what it lacks, without anything that looks like a secret."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_url
from huggingface_hub.utils import build_hf_headers, disable_progress_bars, get_session, hf_raise_for_status
from huggingface_hub.utils.logging import set_verbosity_error
from huggingface_hub.utils.sha import git_hash

from riff.errors import OptionError, RiffError
from riff.files import CARD, is_own_card
from riff.hub.client import retry, translate_errors
from riff.hub.files import Files, find_secret, part_of, size, without_home
from riff.network import restore_retries

MakeCard = Callable[[str, Collection[str]], str]  # repository id, paths that it will hold -> text of the README.md


@dataclass
class Uploaded:
    """Result of an upload.

    Attributes:
        url: address of the repository or branch. private: whether only its owner sees it.
        files: path -> bytes, of all uploaded files and those that were there already. new: paths that were added or changed.
        card: what was done with the model card, "" without one. is_changed: whether a commit was made.
    """

    repo_id: str
    url: str
    private: bool
    files: dict[str, int] = field(default_factory=dict)
    new: set[str] = field(default_factory=set)
    card: str = ""
    is_changed: bool = False


def publish(
    repo_id: str,
    files: Files,
    token: str,
    *,
    card: MakeCard | None = None,
    private: bool | None = None,
    revision: str | None = None,
    message: str = "Upload",
    repo_type: str = "model",
    replaces: str | None = None,
) -> Uploaded:
    """Commit files to a repository, which is created if it is missing, and print a summary.

    Only new and changed files are sent; the hub keeps large files of an interrupted upload, so the next call continues it.
    Files that look like secrets are left out. In texts, home folders are replaced by `~`. A README.md in the repository is
    replaced only if this project wrote it and nobody edited it.

    Args:
        card: writes the README.md if `files` has none.
        private: required visibility; None accepts that of an existing repository and creates a public one.
        revision: branch, created if it is missing; None is the main branch.
        repo_type: `model` or `dataset`.
        replaces: path prefix; files of the repository below it that are not in `files` are deleted.

    Raises:
        OptionError: the visibility differs from `private`; the token is refused or may not write there.
        RiffError: the hub cannot be reached or refuses the files; or, after the upload, secrets were left out.
    """
    restore_retries()
    set_verbosity_error()  # `translate_errors` reports what fails for good
    if not sys.stderr.isatty():
        disable_progress_bars()
    secrets = find_secrets(files, token)
    kept: Files = {path: without_home(content) for path, content in files.items() if path not in secrets}
    api = HfApi(token=token)
    with translate_errors(repo_id, api.endpoint):
        done = retry(lambda: _open_repository(api, repo_id, repo_type, private, revision))
        where: dict[str, Any] = {"repo_id": done.repo_id, "repo_type": repo_type, "revision": revision}
        additions = {path: CommitOperationAdd(path, content) for path, content in kept.items()}

        def commit() -> None:
            # Listed anew at each attempt: a commit may have been made although its answer was lost.
            info: Any = api.repo_info(**where, files_metadata=True)
            remote = {file.rfilename: file for file in info.siblings or []}
            final = dict(additions)
            if card is not None and CARD not in final:
                final[CARD] = CommitOperationAdd(CARD, card(done.repo_id, remote.keys() | final.keys()).encode())
            done.card = _settle_card(final, remote.get(CARD), lambda: _read_remote(CARD, token, **where))
            new = [addition for path, addition in final.items() if not _is_same(addition, remote.get(path))]
            stale = [path for path in sorted(remote.keys() - files.keys()) if replaces is not None and path.startswith(replaces)]
            done.files = {path: addition.upload_info.size for path, addition in final.items()}
            done.new |= {addition.path_in_repo for addition in new}
            operations: list[CommitOperationAdd | CommitOperationDelete] = [*new, *map(CommitOperationDelete, stale)]
            done.is_changed |= bool(operations)
            if operations:
                api.create_commit(operations=operations, commit_message=message, **where)

        retry(commit)
    for line in _summary(done, repo_type):
        print(line)
    refuse_secrets(secrets)
    return done


def announce(repo_id: str, files: Files, card: MakeCard) -> None:
    """Print what `publish` would send to an empty repository, without contacting the hub.

    Raises:
        RiffError: after the listing, if a file looks like a secret.
    """
    secrets = find_secrets(files)
    sizes = {path: size(content) for path, content in files.items() if path not in secrets}
    sizes.setdefault(CARD, len(card(repo_id, {*sizes, CARD}).encode()))
    for path, num_bytes in sizes.items():
        print(f"{num_bytes:>15,}  {path}{'  (unless somebody has edited the one there)' if path == CARD else ''}")
    print(f"would go to {repo_id}: {_total_size(sizes)}")
    refuse_secrets(secrets)


def find_secrets(files: Files, *tokens: str) -> dict[str, str]:
    """path -> kind of secret, of the files that look like one."""
    found = {path: find_secret(path.rsplit("/", 1)[-1], content, tokens) for path, content in files.items()}
    return {path: kind for path, kind in found.items() if kind}


def refuse_secrets(secrets: Mapping[str, str]) -> None:
    """Raise a RiffError that names every file that looks like a secret, if there are any."""
    if secrets:
        names = ", ".join(f"{path} ({kind})" for path, kind in sorted(secrets.items()))
        count = "1 file looks" if len(secrets) == 1 else f"{len(secrets)} files look"
        raise RiffError(f"{count} like a secret and was left out: {names}; take it out of there, then run the same command again")


def _open_repository(api: HfApi, repo_id: str, repo_type: str, private: bool | None, revision: str | None) -> Uploaded:
    url = api.create_repo(repo_id, private=private, exist_ok=True, repo_type=repo_type)
    info: Any = api.repo_info(url.repo_id, repo_type=repo_type)
    if private is not None and bool(info.private) != private:
        is_now, wanted = ("private", "public") if info.private else ("public", "private")
        raise OptionError(f"{url.repo_id}: must be {wanted}, but this repository is {is_now}; change it there or choose another")
    if revision is not None:
        api.create_branch(url.repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
    return Uploaded(url.repo_id, str(url) if revision is None else f"{url}/tree/{revision}", bool(info.private))


def _settle_card(final: dict[str, CommitOperationAdd], remote: Any, read: Callable[[], bytes]) -> str:
    """Take the card out of the upload where an edited one is in the repository. Returns what is done with the card."""
    if CARD not in final:
        return ""
    if remote is None:
        return "written"
    if _is_same(final[CARD], remote):
        return "as it was"
    if is_own_card(read().decode(errors="replace")):
        return "refreshed"
    del final[CARD]
    return "edited, so left as it is; delete it there to have a new one written"


def _read_remote(path: str, token: str, **where: Any) -> bytes:
    """A file of the repository, without the library's cache on disk, which may be full."""
    response = get_session().get(hf_hub_url(filename=path, **where), headers=build_hf_headers(token=token), follow_redirects=True)
    hf_raise_for_status(response)
    return response.content


def _is_same(addition: CommitOperationAdd, remote: Any) -> bool:
    """Whether the hub has this content: by SHA-256 for a large file, by git's hash for a small one."""
    if remote is None or remote.size not in (None, addition.upload_info.size):
        return False
    if remote.lfs is not None:
        return bool(remote.lfs.sha256 == addition.upload_info.sha256.hex())
    with addition.as_file() as file:
        return bool(remote.blob_id == git_hash(file.read()))


def _summary(done: Uploaded, repo_type: str) -> Iterable[str]:
    """A line for each part of the upload, for the card, and for the whole."""
    parts: dict[str, list[str]] = {}
    for path in done.files:
        parts.setdefault(part_of(path) if repo_type == "model" else "data", []).append(path)
    parts.pop("card", None)
    for part, paths in sorted(parts.items()):
        sizes = [done.files[path] for path in paths if path in done.new]
        yield f"{part}: {len(sizes)} new or changed ({sum(sizes):,} bytes), {len(paths) - len(sizes)} there already"
    if done.card:
        yield f"card: {done.card}"
    result = "uploaded to" if done.is_changed else "nothing new for"
    yield f"{result} {done.url}{' (private)' if done.private else ''}: {_total_size(done.files)}"


def _total_size(sizes: Mapping[str, int]) -> str:
    return f"{len(sizes)} files, {sum(sizes.values()):,} bytes"
