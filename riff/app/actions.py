"""What the page's buttons do: a visitor's requests become jobs, and jobs become what is shown."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from riff.app.cards import backing_card, clock, judged, progress_line, status_line, take_card, takes_page
from riff.app.engine import Engine, TakeRequest, edges_of
from riff.app.jobs import Job, Stopped, Worker
from riff.app.painted_edges import check_painted_edges, read_painted_edges
from riff.app.sessions import Session, Sessions
from riff.app.songs import Limits, Part, Separation, Upload, fit_part, receive
from riff.audio.io import write_audio
from riff.errors import OptionError
from riff.files import atomic_path
from riff.report.song_page import lowered_line, save_take_files
from riff.sampling.mixback import Mix, full_scale_gain
from riff.sampling.song import SongTake
from riff.seeds import seed_after
from riff.spectrogram.edges import save_edges

Painted = dict[str, Any] | None
LOOK_S = 0.15  # between two looks at how far a job is
MOST_SHOWN = 12  # takes that a page keeps


class Shown(NamedTuple):
    """What changes on the page; None stays as it is.

    Attributes:
        busy: whether something is being made. edges: what static/edges.js is given.
    """

    status: str
    busy: bool = False
    backing: str | None = None
    edges: dict[str, Any] | None = None
    takes: str | None = None


class Actions:
    """For all visitors of a server."""

    def __init__(self, engine: Engine, separation: Separation, sessions: Sessions, limits: Limits) -> None:
        self.engine, self.sessions, self.limits = engine, sessions, limits
        self._separation, self._worker = separation, Worker()

    def open_song(self, session: Session, path: Path) -> Upload:
        """Take a song in; what belonged to the one before is gone.

        Args:
            path: of the upload, which is moved.

        Raises:
            AudioError: it cannot be used, and is gone. OptionError: something is still being made of the one before.
        """
        if session.job is not None and not session.job.future.done():
            raise OptionError("something is still being made of the song before; cancel it or wait")
        try:
            return session.take_song(receive(path, self.limits))
        finally:
            path.unlink(missing_ok=True)

    async def prepare(
        self, session: Session, start_s: float | None, end_s: float | None, canny: tuple[int, int], painted: Painted = None
    ) -> AsyncGenerator[Shown, None]:
        """Take the vocal out of a part, and show what is left and its edges: those painted for it, if somebody did.

        Args:
            painted: as for `draw`.
        """
        region = self._region(session, start_s, end_s)
        _keep(session, painted)
        shown: list[Shown] = []

        def work(job: Job) -> None:
            shown.append(self._show_part(session, self._part(job, session, region), canny))

        async with aclosing(self._follow(session, work)) as looks:
            async for progress in looks:
                yield progress
        yield shown[0] if shown else Shown(status_line("Cancelled."))

    def edges(
        self, session: Session, start_s: float | None, end_s: float | None, canny: tuple[int, int], painted: Painted = None
    ) -> Shown:
        """The edges of a part at other thresholds, if it was separated already. Painted ones stay, which is said.

        Args:
            painted: as for `draw`.
        """
        if session.song is None:
            return Shown("")
        _keep(session, painted)
        part = session.parts.get(fit_part(start_s, end_s, session.song.duration_s, self.limits))
        if part is None:
            return Shown("")
        kept = "The painted edges stay. Start over, below them, shows those of the new thresholds."
        return Shown(status_line(kept if _name(part) in session.painted else ""), edges=self._edges(session, part, canny))

    async def draw(
        self, session: Session, start_s: float | None, end_s: float | None, request: TakeRequest, painted: Painted
    ) -> AsyncGenerator[Shown, None]:
        """Sing a part anew; every take is shown when it is there.

        Args:
            painted: what static/edges.js says: which part its edges belong to, and the edges if somebody changed them. They are
                kept with that part, and followed whenever it is sung.
        """
        region = self._region(session, start_s, end_s)
        _keep(session, painted)
        shows = painted.get("part") if painted and region in session.parts else None
        follows_edges, seed = self.engine.choice(request.model).follows_edges, request.first_seed
        fresh: list[Shown] = []

        def work(job: Job) -> None:
            part = self._part(job, session, region)
            if shows != _name(part):
                fresh.append(self._show_part(session, part, request.canny))
            edges = None
            if follows_edges and _name(part) in session.painted:
                edges = read_painted_edges(session.painted[_name(part)], part.backing.pixels.shape)
            job.begin("Loading the model")
            painter = self.engine.painter(part, request, edges)
            job.begin("Singing", request.takes * request.best_of * painter.num_steps)
            for number in range(request.takes):
                if request.takes > 1:
                    job.stage = f"Singing take {number + 1} of {request.takes}"
                take, mix = self.engine.take(part, painter, seed_after(seed, number), request.best_of, job.step)
                words = f"{request.prompt or painter.model.default_prompt}{', along painted edges' if edges is not None else ''}"
                session.takes.insert(number, self._card(session, part, take, mix, request, words))
                del session.takes[MOST_SHOWN:]

        count = session.drawn
        async with aclosing(self._follow(session, work)) as looks:
            async for progress in looks:
                news = fresh.pop() if fresh else progress
                takes = takes_page(session.takes) if session.drawn > count else None
                count = session.drawn
                yield progress._replace(backing=news.backing, edges=news.edges, takes=takes)
        done = session.job is not None and session.job.finished
        news = fresh.pop() if fresh else Shown("")
        part = session.parts.get(region)
        note = _painted_elsewhere(session, part) if part and follows_edges else ""
        yield Shown(
            note if done else status_line("Cancelled."),
            False,
            news.backing,
            news.edges,
            takes_page(session.takes) if session.drawn > count else None,
        )

    def stop(self, session: Session) -> None:
        """Let what is being made end at its next step."""
        if session.job is not None:
            session.job.stop()

    def close(self) -> None:
        """The server ends: nothing goes on, and nothing is left."""
        self._worker.close()
        self.sessions.close_all()

    async def _follow(self, session: Session, work: Callable[[Job], object]) -> AsyncGenerator[Shown, None]:
        """Do the work in its turn and tell how far it is; whoever stops listening stops the work.

        Raises:
            Exception: whatever the work raised, but not that it was stopped.
        """
        if session.job is not None and not session.job.future.done():
            raise OptionError("this page is being sung for already; cancel that or wait")
        job = session.job = self._worker.submit(work)
        try:
            said = ""
            while not job.future.done():
                line = progress_line(job, self._worker.place(job))
                if line != said:
                    yield Shown(line, busy=True)
                    said = line
                await asyncio.sleep(LOOK_S)
        finally:
            job.stop()
        error = None if job.future.cancelled() else job.future.exception()
        if error is not None and not isinstance(error, Stopped):
            raise error

    def _region(self, session: Session, start_s: float | None, end_s: float | None) -> tuple[float, float]:
        if session.song is None:
            raise OptionError("there is no song yet, or this page was away for too long; drop one first")
        return fit_part(start_s, end_s, session.song.duration_s, self.limits)

    def _part(self, job: Job, session: Session, region: tuple[float, float]) -> Part:
        """A part taken apart, once."""
        if region not in session.parts:
            assert session.song is not None  # `_region` has looked
            job.begin("Taking the vocal out")
            session.keep_part(self._separation.open_part(session.song, *region, session.folder, self.engine.device))
        return session.parts[region]

    def _show_part(self, session: Session, part: Part, canny: tuple[int, int]) -> Shown:
        sound, picture = (session.folder / f"accompaniment-{_name(part)}{suffix}" for suffix in (".wav", ".png"))
        heard = part.song.accompaniment * full_scale_gain(part.song.accompaniment)  # as it is in the mixes
        write_audio(sound, heard, part.song.sample_rate, subtype="FLOAT")
        with atomic_path(picture) as temporary:
            Image.fromarray(part.backing.pixels).save(temporary)
        card = backing_card(part.start_s, part.end_s, session.address(sound), session.address(picture), part.separator)
        return Shown(_painted_elsewhere(session, part), False, card, self._edges(session, part, canny))

    def _edges(self, session: Session, part: Part, canny: tuple[int, int]) -> dict[str, Any]:
        edges = edges_of(part, canny)
        path = session.folder / f"edges-{_name(part)}-{canny[0]}-{canny[1]}.png"
        save_edges(path, edges)
        backing = session.folder / f"accompaniment-{_name(part)}.png"
        addresses = {"edges": session.address(path), "backing": session.address(backing)}
        size = {"width": edges.shape[1], "height": edges.shape[0]}
        return {"part": _name(part), **size, **addresses, "painted": session.painted.get(_name(part))}

    def _card(self, session: Session, part: Part, take: SongTake, mix: Mix, request: TakeRequest, words: str) -> str:
        assert session.song is not None  # of which this is a part
        session.drawn += 1
        saved = save_take_files(session.folder, f"-{session.drawn}", take, mix)
        files = {"mix.wav": saved.sounds["mix"], "vocal.wav": saved.sounds["vocal"]}
        files["spectrogram.png"] = session.folder / f"spectrogram-{session.drawn}.png"
        lines = [words, f"{request.model}, seed {take.seed}, {clock(part.start_s)} to {clock(part.end_s)}", judged(take.verdict)]
        lines += [lowered_line(mix.song_gain_db)] if mix.song_gain_db < 0 else []
        return take_card(
            f"Take {session.drawn}",
            lines,
            {name: session.address(path) for name, path in saved.sounds.items()},
            session.address(saved.overview),
            {f"{session.song.name}, take {session.drawn}, {name}": session.address(path) for name, path in files.items()},
        )


def _keep(session: Session, painted: Painted) -> None:
    """Keep what was painted with the part that it was painted for, whichever part is chosen now.

    Raises:
        DataError: it did not arrive whole.
    """
    if painted and "painted" in painted and re.fullmatch(r"\d{1,9}-\d{1,9}", str(painted.get("part"))):
        session.keep_painted(painted["part"], painted["painted"] and check_painted_edges(painted["painted"]))


def _painted_elsewhere(session: Session, part: Part) -> str:
    """Which other parts have painted edges, as a status line; empty where none has, or where this one has some too."""
    others = [name for name in session.painted if name != _name(part)]
    if not others or _name(part) in session.painted:
        return ""
    places = ", ".join(" to ".join(clock(int(time) / 1000) for time in name.split("-")) for name in others)
    return status_line(f"These are this part's own edges. Painted ones are kept for {places}: choose that part again to see them.")


def _name(part: Part) -> str:
    """A part in the names of its files: where it begins and ends, in milliseconds."""
    return f"{round(part.start_s * 1000)}-{round(part.end_s * 1000)}"
