"""Who has what: a folder for every open page, whose files go to its own visitor alone and are gone when it is closed."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path

from riff.app.jobs import Job
from riff.app.songs import Part, Upload
from riff.errors import OptionError, RiffError
from riff.files import inside, make_folder

FILES = "/files/"  # what a session's files are fetched under
MOST_PARTS = 3  # that are kept taken apart: half a minute of stereo is 32 MB
MOST_PAINTED = 20  # parts whose painted edges are kept
MOST_UPLOADS = 3  # of a visitor that no page has opened
FORGOTTEN_S = 24 * 3600.0  # after which what nobody has asked for is taken for left behind


@dataclass
class Session:
    """One open page.

    Attributes:
        visitor: whose it is. folder: of its files.
        parts: taken apart, by (start, end) in seconds, the latest last. takes: cards that the page shows, the latest drawn first.
        painted: edges that were painted, as data URLs, by the name of their part, the latest last.
        drawn: how many takes there were. asked: when the page last wanted something.
    """

    visitor: str
    folder: Path
    song: Upload | None = None
    parts: OrderedDict[tuple[float, float], Part] = field(default_factory=OrderedDict)
    takes: list[str] = field(default_factory=list)
    painted: OrderedDict[str, str] = field(default_factory=OrderedDict)
    drawn: int = 0
    job: Job | None = None
    asked: float = field(default_factory=time.time)

    def address(self, path: Path) -> str:
        """Where the page fetches one of its files."""
        return f"{FILES}{self.folder.name}/{path.name}"

    def keep_part(self, part: Part) -> None:
        self.parts[part.start_s, part.end_s] = part
        while len(self.parts) > MOST_PARTS:
            self.parts.popitem(last=False)

    def keep_painted(self, part: str, url: str | None) -> None:
        """Keep the edges painted for a part, or forget them where they were put back."""
        self.painted.pop(part, None)
        if url:
            self.painted[part] = url
        while len(self.painted) > MOST_PAINTED:
            self.painted.popitem(last=False)

    def take_song(self, upload: Upload) -> Upload:
        """Move an upload into the folder and forget all that belonged to the song before."""
        self.parts.clear()
        self.painted.clear()
        self.takes.clear()
        for old in self.folder.iterdir():
            old.unlink()
        self.drawn, self.song = 0, replace(upload, path=Path(shutil.move(upload.path, self.folder / upload.path.name)))
        return self.song


class Sessions:
    """The open pages of a server.

    Attributes:
        uploads: where files are that no page has taken yet. keeps: whether anything stays for good.

    Args:
        root: a folder of the server's own, with `uploads` in it. keep: where the sessions' folders stay for good (default: they
            are under the root and go).
    """

    def __init__(self, root: Path, keep: Path | None = None) -> None:
        self.uploads, self.keeps = make_folder(root / "uploads"), keep is not None
        self._folders = make_folder(keep or root / "sessions")
        self._sessions: dict[tuple[str, str], Session] = {}  # by visitor and page
        self._lock = threading.RLock()

    def of(self, visitor: str, page: str) -> Session:
        """The session of a page, which begins with the first call.

        Args:
            visitor: from `visitor_of`. page: a name that the browser gave it, which says nothing of who is asking.
        """
        self._forget()
        with self._lock:
            if (visitor, page) not in self._sessions:
                folder = self._folders / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(8)}"
                folder.mkdir(mode=0o700)
                self._sessions[visitor, page] = Session(visitor, folder)
            session = self._sessions[visitor, page]
            session.asked = time.time()
            return session

    def close(self, visitor: str, page: str) -> None:
        """A page was closed: what it waits for is stopped, and its files go, or stay if they are to be kept."""
        with self._lock:
            session = self._sessions.pop((visitor, page), None)
            if session is None:
                return
            if not any(other.visitor == visitor for other in self._sessions.values()):
                shutil.rmtree(self.uploads / visitor, ignore_errors=True)
        if session.job is None or session.job.future.done():
            self._clear(session)
        else:
            session.job.stop()
            session.job.future.add_done_callback(lambda _: self._clear(session))

    def _clear(self, session: Session) -> None:
        if not self.keeps or session.song is None:
            shutil.rmtree(session.folder, ignore_errors=True)

    def close_all(self) -> None:
        """The server ends."""
        for visitor, page in list(self._sessions):
            self.close(visitor, page)

    def find(self, visitor: str, address: str) -> Path:
        """The file of this visitor that lies at an address.

        Raises:
            RiffError: there is none, or it is somebody else's.
        """
        folder, _, name = address.removeprefix(FILES).partition("/")
        with self._lock:
            owned = [one.folder for one in self._sessions.values() if one.visitor == visitor and one.folder.name == folder]
        path = inside(owned[0], name) if owned else None
        if path is None or not path.is_file():
            raise RiffError("no such file")
        return path

    def take_upload(self, visitor: str, path: Path) -> Path:
        """Move a file that has just come in to where only its visitor reaches it."""
        own = make_folder(self.uploads / visitor)
        for old in sorted(own.iterdir(), key=lambda one: one.stat().st_mtime)[: -MOST_UPLOADS + 1]:
            shutil.rmtree(old, ignore_errors=True)
        folder = own / secrets.token_hex(8)
        folder.mkdir()
        return Path(shutil.move(path, folder / path.name))

    def lend(self, visitor: str, path: Path) -> Path:
        """A copy of a file of ours, as if the visitor had given it."""
        folder = make_folder(self.uploads / visitor) / secrets.token_hex(8)
        folder.mkdir()
        return Path(shutil.copy(path, folder))

    def own_upload(self, visitor: str, path: str) -> Path:
        """An upload of this visitor's, by its path.

        Raises:
            OptionError: it is not theirs, or there is none.
        """
        upload = Path(path).resolve()
        if not visitor or not upload.is_relative_to((self.uploads / visitor).resolve()) or not upload.is_file():
            raise OptionError("this upload is not there any more; drop the song again")
        return upload

    def _forget(self) -> None:
        """Clear away what was left behind: by pages whose end nobody noticed, and by uploads without a page."""
        long_ago = time.time() - FORGOTTEN_S
        for (visitor, page), session in list(self._sessions.items()):
            if session.asked < long_ago:
                self.close(visitor, page)
        with self._lock:
            present = {session.visitor for session in self._sessions.values()}
            for folder in self.uploads.iterdir():
                if folder.name not in present and folder.stat().st_mtime < long_ago:
                    shutil.rmtree(folder, ignore_errors=True)


def visitor_of(secret: str) -> str:
    """A visitor's name on the server, which does not give away the secret that the browser holds."""
    return hashlib.sha256(secret.encode()).hexdigest()[:32]
