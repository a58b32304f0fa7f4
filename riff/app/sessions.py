"""Open pages and their files: a folder per page, readable by its own visitor alone and deleted when the page closes.

Gradio deletes a `gr.State` an hour after its page closed and files by age, calls `unload` without any state, and gives an upload
to everyone who knows its path, which two visitors with the same file share.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from riff.app.jobs import Job
from riff.app.live import LiveTake
from riff.app.songs import Part, Region, Upload
from riff.app.takes import Take
from riff.app.tunes import Key
from riff.audio.notes import Note
from riff.errors import OptionError, RiffError
from riff.files import inside, make_folder

K = TypeVar("K")
T = TypeVar("T")
FILES = "/files/"  # URL prefix of a session's files
MOST_PARTS = 3  # separated parts in memory: half a minute of stereo is 32 MB
MOST_PAINTED = 20  # parts whose painted edges are kept
MOST_TUNES = 40  # of which the notes are kept
MOST_UPLOADS = 3  # per visitor, before a page opens them
RELOAD_S = 15.0  # after its page was closed, in which a reloaded page takes a session over
ABANDONED_S = 24 * 3600.0  # without a request, after which a page or upload counts as abandoned


@dataclass
class Session:
    """One open page.

    Attributes:
        visitor: identifier of its visitor. folder: of its files.
        parts: separated parts by region name, newest last. takes: on the page, newest request first.
        painted: painted edges as data URLs by region name, newest last.
        tunes: notes that are shown, for each part and source of a melody, newest last. melodies: files with a melody, by source.
        region: that was worked on last. take_count: takes generated so far. live: the take that plays while it is generated.
        last_used: time of the page's last request.
    """

    visitor: str
    folder: Path
    song: Upload | None = None
    region: Region | None = None
    parts: OrderedDict[str, Part] = field(default_factory=OrderedDict)
    takes: list[Take] = field(default_factory=list)
    painted: OrderedDict[str, str] = field(default_factory=OrderedDict)
    tunes: OrderedDict[Key, tuple[Note, ...]] = field(default_factory=OrderedDict)
    melodies: dict[str, Path] = field(default_factory=dict)
    take_count: int = 0
    job: Job | None = None
    live: LiveTake | None = None
    last_used: float = field(default_factory=time.time)

    @property
    def busy(self) -> bool:
        """Whether a job of this page is waiting or running."""
        return self.job is not None and not self.job.future.done()

    def url(self, path: Path) -> str:
        """URL of a file of this session."""
        return f"{FILES}{self.folder.name}/{path.name}"

    def keep_part(self, part: Part) -> None:
        _keep_newest(self.parts, part.region.name, part, MOST_PARTS)

    def keep_painted(self, region_name: str, url: str | None) -> None:
        """Keep the edges painted for a part; None removes them."""
        if url:
            _keep_newest(self.painted, region_name, url, MOST_PAINTED)
        else:
            self.painted.pop(region_name, None)

    def keep_tune(self, key: Key, notes: tuple[Note, ...] | None) -> None:
        """Keep the notes of a tune; None removes them."""
        if notes is None:
            self.tunes.pop(key, None)
        else:
            _keep_newest(self.tunes, key, notes, MOST_TUNES)

    def keep_melody(self, source: str, upload: Path) -> Path:
        """Copy a file with a melody into the folder, where it stays for its takes to be repeated; returns the copy.

        The notes of another file from this source are no longer kept.
        """
        copy = self.folder / f"melody-{upload.parent.name}{upload.suffix.lower()}"
        if self.melodies.get(source) != copy:
            shutil.copy(upload, copy)
            self.melodies[source] = copy
            for key in [key for key in self.tunes if key[1] == source]:
                del self.tunes[key]
        return copy

    def replace_song(self, upload: Upload) -> Upload:
        """Move an upload into the folder and delete everything of the previous song."""
        self.region = None
        self.parts.clear()
        self.painted.clear()
        self.tunes.clear()
        self.melodies.clear()
        self.takes.clear()
        for old in self.folder.iterdir():
            old.unlink()

        def moved(path: Path) -> Path:
            return Path(shutil.move(path, self.folder / path.name))

        preview = upload.preview and moved(upload.preview)
        self.take_count, self.song = 0, replace(upload, path=moved(upload.path), preview=preview)
        return self.song


def _keep_newest(entries: OrderedDict[K, T], name: K, entry: T, most: int) -> None:
    entries[name] = entry
    entries.move_to_end(name)
    while len(entries) > most:
        entries.popitem(last=False)


class Sessions:
    """The open pages of a server.

    Attributes:
        uploads: folder of uploads that no page has opened yet. keeps: whether sessions' folders stay.

    Args:
        root: temporary folder of the server. keep: folder in which sessions stay (default: below the root, and deleted).
        reload_s: seconds for which the session of a closed page can be reopened.
    """

    def __init__(self, root: Path, keep: Path | None = None, reload_s: float = RELOAD_S) -> None:
        self._reload_s = reload_s
        self._closed: dict[tuple[str, str], tuple[Session, threading.Timer]] = {}
        self.uploads, self.keeps = make_folder(root / "uploads"), keep is not None
        self._folders = make_folder(keep or root / "sessions")
        self._sessions: dict[tuple[str, str], Session] = {}  # by visitor and page
        self._lock = threading.RLock()

    def get(self, visitor: str, page: str) -> Session:
        """The session of a page, created by the first call.

        Args:
            visitor: from `visitor_id`. page: Gradio's session hash; the browser chooses it, so it identifies nobody.
        """
        self._remove_abandoned()
        with self._lock:
            if (visitor, page) not in self._sessions:
                folder = self._folders / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(8)}"
                folder.mkdir(mode=0o700)
                self._sessions[visitor, page] = Session(visitor, folder)
            session = self._sessions[visitor, page]
            session.last_used = time.time()
            return session

    def close(self, visitor: str, page: str) -> None:
        """Close a page: stop its job; delete its files, unless they are kept or a reloaded page reopens it soon."""
        with self._lock:
            session = self._sessions.pop((visitor, page), None)
            if session is None:
                return
            if session.job is not None:
                session.job.stop()
            timer = threading.Timer(self._reload_s, self._forget, (visitor, page))
            timer.daemon = True
            self._closed[visitor, page] = session, timer
        if self._reload_s:
            timer.start()
        else:
            self._forget(visitor, page)

    def reopen(self, visitor: str, previous: str, page: str) -> Session | None:
        """The session of a page that was closed a moment ago, as that of another page; None if there is none."""
        with self._lock:
            if (visitor, previous) not in self._closed:
                return None
            session, timer = self._closed.pop((visitor, previous))
            timer.cancel()
            if unused := self._sessions.pop((visitor, page), None):
                self._delete(unused)
            self._sessions[visitor, page] = session
            session.last_used = time.time()
            return session

    def is_open(self, visitor: str, page: str) -> bool:
        return (visitor, page) in self._sessions

    def _forget(self, visitor: str, page: str) -> None:
        with self._lock:
            if (visitor, page) not in self._closed:
                return  # reopened
            session, _ = self._closed.pop((visitor, page))
            present = [*self._sessions.values(), *(session for session, _ in self._closed.values())]
            if not any(other.visitor == visitor for other in present):
                shutil.rmtree(self.uploads / visitor, ignore_errors=True)
        if session.job is None:
            self._delete(session)
        else:
            session.job.future.add_done_callback(lambda _: self._delete(session))

    def _delete(self, session: Session) -> None:
        if not self.keeps or session.song is None:
            shutil.rmtree(session.folder, ignore_errors=True)

    def close_all(self) -> None:
        self._reload_s = 0
        for visitor, page in list(self._sessions):
            self.close(visitor, page)
        for visitor, page in list(self._closed):
            self._closed[visitor, page][1].cancel()
            self._forget(visitor, page)

    def find_file(self, visitor: str, url: str) -> Path:
        """The file of this visitor at a URL.

        Raises:
            RiffError: there is none, or it is another visitor's.
        """
        folder, _, name = url.removeprefix(FILES).partition("/")
        with self._lock:
            own = [session.folder for session in self._sessions.values() if session.visitor == visitor]
        path = next((inside(candidate, name) for candidate in own if candidate.name == folder), None)
        if path is None or not path.is_file():
            raise RiffError("no such file")
        return path

    def claim_upload(self, visitor: str, path: Path) -> Path:
        """Move a new upload to its visitor's own folder."""
        own = make_folder(self.uploads / visitor)
        for old in sorted(own.iterdir(), key=lambda folder: folder.stat().st_mtime)[: -MOST_UPLOADS + 1]:
            shutil.rmtree(old, ignore_errors=True)
        return Path(shutil.move(path, make_folder(own / secrets.token_hex(8)) / path.name))

    def copy_upload(self, visitor: str, path: Path) -> Path:
        """Copy a file of the server, as if the visitor had uploaded it."""
        return Path(shutil.copy(path, make_folder(self.uploads / visitor / secrets.token_hex(8))))

    def find_upload(self, visitor: str, path: str) -> Path:
        """An upload of this visitor by its path.

        Raises:
            OptionError: there is none, or it is another visitor's.
        """
        upload = Path(path).resolve()
        if not visitor or not upload.is_relative_to((self.uploads / visitor).resolve()) or not upload.is_file():
            raise OptionError("this upload is not there any more; add the file again")
        return upload

    def _remove_abandoned(self) -> None:
        """Close pages whose end went unnoticed and delete uploads without a page."""
        oldest = time.time() - ABANDONED_S
        for (visitor, page), session in list(self._sessions.items()):
            if session.last_used < oldest:
                self.close(visitor, page)
        with self._lock:
            present = {session.visitor for session in self._sessions.values()}
            for folder in self.uploads.iterdir():
                if folder.name not in present and folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)


def visitor_id(secret: str) -> str:
    """Identifier of a visitor, from which the secret in the browser's cookie cannot be computed."""
    return hashlib.sha256(secret.encode()).hexdigest()[:32]
