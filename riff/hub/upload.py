"""Files into a repository on the Hugging Face hub: only what it has not, nothing that looks like a secret, and on after a break."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import file_digest, sha1, sha256
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_url
from huggingface_hub.errors import RevisionNotFoundError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from riff.errors import OptionError
from riff.files import CARD, is_own_card
from riff.hub.errors import retry, translate_errors
from riff.hub.files import Files, size
from riff.hub.privacy import find_secret, without_home
from riff.hub.transfer import CountedAdd, Transfer
from riff.network import ask_patiently

MakeCard = Callable[[str, Collection[str]], str]  # repository's name, paths that it will hold -> text


@dataclass
class Uploaded:
    """What became of an upload.

    Attributes:
        url: where it lies. private: whether only its owner sees it.
        files: path -> bytes, of all that was to go. new: those that the repository had not. secrets: path -> what it looks like.
        card: what became of the model card. sent: bytes that went over the wire for large files, None where that is not known.
        is_changed: whether there is a new commit.
    """

    repo_id: str
    url: str
    private: bool = False
    files: dict[str, int] = field(default_factory=dict)
    new: set[str] = field(default_factory=set)
    secrets: dict[str, str] = field(default_factory=dict)
    card: str = ""
    sent: int | None = None
    is_changed: bool = False


def upload(
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
    """Put files into a repository in one commit, creating it if it is missing.

    Only files that the repository has not are sent; of those, the hub knows the large ones that it holds already from an upload
    that was cut off. What fails in passing is tried again. A README.md that is there is replaced if it is as this project wrote it.
    What looks like a secret stays, and of texts that name a home folder a copy without its name goes.

    Args:
        card: writes the README.md where `files` has none.
        private: the repository must be private, or public; it is made so. None takes it as it is, and makes a public one.
        revision: branch, made if it is missing; None is the main one.
        repo_type: `model` or `dataset`.
        replaces: files of the repository whose paths begin with this, and that are not among `files`, are deleted.

    Raises:
        OptionError: the repository is public or private against `private`; the token is refused; the owner is somebody else.
        RiffError: the hub cannot be reached, or refuses.
    """
    ask_patiently()
    secrets = find_secrets(files, token)
    going: Files = {path: without_home(content) for path, content in files.items() if path not in secrets}
    api = HfApi(token=token)
    repository = _Repository(api, repo_id, repo_type, revision)
    with translate_errors(repo_id, api.endpoint), Transfer() as transfer:
        done = retry(lambda: repository.open(private))

        def attempt() -> None:
            there, ready = repository.files(), dict(going)
            done.card = _settle_card(ready, there, repository, card)
            new = {path: content for path, content in ready.items() if not _is_same(content, there.get(path))}
            stale = sorted(path for path in there.keys() - files.keys() if replaces and path.startswith(replaces))
            # At a second look, a commit whose answer was lost may have been made.
            done.new |= new.keys()
            done.files, done.is_changed = {path: size(content) for path, content in ready.items()}, bool(done.new or stale)
            repository.commit(new, stale, message, transfer)

        retry(attempt)
    done.secrets, done.sent = secrets, transfer.sent
    return done


def find_secrets(files: Files, *tokens: str) -> dict[str, str]:
    """path -> what in the file looks like a secret, of the files where something does."""
    found = {path: find_secret(path.rsplit("/", 1)[-1], content, tokens) for path, content in files.items()}
    return {path: what for path, what in found.items() if what}


class _Repository:
    """A repository of the hub, and a branch of it."""

    def __init__(self, api: HfApi, repo_id: str, repo_type: str, revision: str | None) -> None:
        self._api, self.repo_id, self._type, self._revision = api, repo_id, repo_type, revision

    def open(self, private: bool | None) -> Uploaded:
        """Create it and its branch where they are missing."""
        url = self._api.create_repo(self.repo_id, private=private, exist_ok=True, repo_type=self._type)
        self.repo_id = url.repo_id  # with its owner
        info: Any = self._api.repo_info(self.repo_id, repo_type=self._type)
        if private is not None and bool(info.private) != private:
            is_now, flag = ("private", "--no-private") if info.private else ("public", "--private")
            raise OptionError(f"{self.repo_id}: {flag}, but this repository is {is_now}; change it there or choose another")
        address = str(url)
        if self._revision is not None:
            self._open_branch(self._revision)
            address += f"/tree/{self._revision}"
        return Uploaded(self.repo_id, address, bool(info.private))

    def _open_branch(self, branch: str) -> None:
        try:
            self._api.repo_info(self.repo_id, repo_type=self._type, revision=branch)
        except RevisionNotFoundError:
            self._api.create_branch(self.repo_id, branch=branch, repo_type=self._type, exist_ok=True)

    def files(self) -> dict[str, Any]:
        """path -> what the hub knows of the file there."""
        info: Any = self._api.repo_info(self.repo_id, repo_type=self._type, revision=self._revision, files_metadata=True)
        return {file.rfilename: file for file in info.siblings or []}

    def read(self, path: str) -> bytes:
        """A file's content, past the cache on disk."""
        url = hf_hub_url(self.repo_id, path, repo_type=self._type, revision=self._revision, endpoint=self._api.endpoint)
        response = get_session().get(url, headers=build_hf_headers(token=self._api.token), follow_redirects=True)
        hf_raise_for_status(response)
        return response.content

    def commit(self, new: Mapping[str, Path | bytes], stale: list[str], message: str, transfer: Transfer) -> None:
        """Send these files and delete those paths, in one commit, unless there are none."""
        if not new and not stale:
            return
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CountedAdd(path, content, transfer=transfer) for path, content in new.items()
        ]
        operations += [CommitOperationDelete(path) for path in stale]
        where: dict[str, Any] = {"repo_type": self._type, "revision": self._revision}
        self._api.create_commit(self.repo_id, operations, commit_message=message, **where)


def _settle_card(ready: Files, there: Mapping[str, Any], repository: _Repository, card: MakeCard | None) -> str:
    """Put the card that is to be there among the files, or take it out. Returns what becomes of it."""
    if CARD not in ready:
        if card is None:
            return ""
        ready[CARD] = card(repository.repo_id, there.keys() | ready.keys()).encode()
    if CARD not in there:
        return "written"
    if _is_same(ready[CARD], there[CARD]):
        return "as it was"
    if is_own_card(repository.read(CARD).decode(errors="replace")):
        return "refreshed"
    del ready[CARD]
    return "not this project's words, left alone; delete it there to have a new one written"


def _is_same(content: Path | bytes, there: Any) -> bool:
    """Whether this is what the hub has: by git's hash for a small file, by sha256 for a large one."""
    if there is None or (there.size is not None and there.size != size(content)):
        return False
    if there.lfs is not None:
        return bool(there.lfs.sha256 == _sha256(content))
    data = content if isinstance(content, bytes) else content.read_bytes()
    return bool(there.blob_id == sha1(b"blob %d\0" % len(data) + data).hexdigest())


def _sha256(content: Path | bytes) -> str:
    if isinstance(content, bytes):
        return sha256(content).hexdigest()
    with open(content, "rb") as file:
        return file_digest(file, "sha256").hexdigest()
