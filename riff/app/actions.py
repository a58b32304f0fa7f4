"""What the page's buttons do: a visitor's requests become jobs, whose results become updates of the page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from PIL import Image

from riff.app.cards import backing_card, clock, progress_line, status_line, take_card, takes_page, verdict_line
from riff.app.engine import Engine, TakeRequest, edges_of
from riff.app.jobs import Job, Stopped, Worker
from riff.app.painted_edges import check_painted_edges, read_painted_edges
from riff.app.sessions import Session, Sessions
from riff.app.songs import Limits, Part, Region, Separation, Upload, fit_part, receive
from riff.audio.io import write_audio
from riff.errors import OptionError
from riff.files import atomic_path
from riff.report.song_page import lowered_line, save_take_files
from riff.sampling.edit import ScoredTake
from riff.sampling.mixback import Mix, full_scale_gain
from riff.seeds import seed_after
from riff.spectrogram.edges import save_edges

EdgesValue = dict[str, Any] | None  # of static/edges.js, which documents its keys
POLL_S = 0.15  # between two checks of a job's progress
MOST_SHOWN = 12  # takes on a page


class PageUpdate(NamedTuple):
    """Changes of the page; None leaves a component as it is.

    Attributes:
        busy: whether a job is waiting or running. edges: value of static/edges.js. backing, takes: HTML.
    """

    status: str
    busy: bool = False
    backing: str | None = None
    edges: EdgesValue = None
    takes: str | None = None


Show = Callable[[PageUpdate], object]


class Actions:
    """The actions of all visitors of a server."""

    def __init__(self, engine: Engine, separation: Separation, sessions: Sessions, limits: Limits) -> None:
        self.engine, self.sessions, self.limits = engine, sessions, limits
        self._separation, self._worker = separation, Worker()

    def open_song(self, session: Session, path: Path) -> Upload:
        """Replace the session's song by an upload.

        Args:
            path: of the upload, which is moved.

        Raises:
            AudioError: the song is unusable; the upload is deleted. OptionError: a job of the previous song is not done.
        """
        if session.busy:
            raise OptionError("a vocal of the previous song is still being generated; cancel it or wait")
        try:
            return session.replace_song(receive(path, self.limits))
        finally:
            path.unlink(missing_ok=True)

    def prepare(
        self, session: Session, start_s: float | None, end_s: float | None, canny: tuple[int, int], edges: EdgesValue = None
    ) -> AsyncGenerator[PageUpdate, None]:
        """Separate a part; show its accompaniment and its edges, painted ones where the visitor painted some.

        Args:
            edges: as for `generate`.
        """
        region = self._region(session, start_s, end_s)
        _keep_painted(session, edges)

        def work(job: Job, show: Show) -> None:
            show(self._show_part(session, self._part(job, session, region), canny))

        return self._run(session, work, lambda: _painted_elsewhere(session, region))

    def edges(
        self, session: Session, start_s: float | None, end_s: float | None, canny: tuple[int, int], edges: EdgesValue = None
    ) -> PageUpdate:
        """The edges of a part at other thresholds, if it is separated already. Painted edges stay; the status says so.

        Args:
            edges: as for `generate`.
        """
        if session.song is None:
            return PageUpdate("")
        _keep_painted(session, edges)
        region = self._region(session, start_s, end_s)
        if region.name not in session.parts:
            return PageUpdate("")
        kept = "The painted edges stay. Start over, below them, shows those of the new thresholds."
        status = status_line(kept if region.name in session.painted else "")
        return PageUpdate(status, edges=self._edges(session, session.parts[region.name], canny))

    def generate(
        self, session: Session, start_s: float | None, end_s: float | None, request: TakeRequest, edges: EdgesValue
    ) -> AsyncGenerator[PageUpdate, None]:
        """Generate takes of a part; each is shown when it is done.

        Args:
            edges: value of static/edges.js: the part whose edges are on the page, and the edges if they were painted on. They
                are kept with that part, and control every take of it.
        """
        region = self._region(session, start_s, end_s)
        _keep_painted(session, edges)
        follows_edges, seed = self.engine.choice(request.model).follows_edges, request.first_seed
        is_on_page = edges is not None and edges.get("part") == region.name and region.name in session.parts

        def work(job: Job, show: Show) -> None:
            part = self._part(job, session, region)
            if not is_on_page:
                show(self._show_part(session, part, request.canny))
            painted_edges, painted = None, session.painted.get(region.name)
            if follows_edges and painted:
                painted_edges = read_painted_edges(painted, part.backing.pixels.shape)
            job.begin("Loading the model")
            painter = self.engine.painter(part, request, painted_edges)
            prompt = request.prompt or painter.model.default_prompt
            title = prompt if painted_edges is None else f"{prompt}, along painted edges"
            job.begin("Generating", request.takes * request.best_of * painter.num_steps)
            for number in range(request.takes):
                if request.takes > 1:
                    job.stage = f"Generating take {number + 1} of {request.takes}"
                take, mix = self.engine.take(part, painter, seed_after(seed, number), request.best_of, job.step)
                session.takes.insert(number, self._card(session, part, take, mix, request, title))
                del session.takes[MOST_SHOWN:]
                show(PageUpdate("", takes=takes_page(session.takes)))

        return self._run(session, work, lambda: _painted_elsewhere(session, region) if follows_edges else "")

    def stop(self, session: Session) -> None:
        """Stop the session's job at its next step."""
        if session.job is not None:
            session.job.stop()

    def close(self) -> None:
        """Stop all jobs and close all sessions."""
        self._worker.close()
        self.sessions.close_all()

    async def _run(
        self, session: Session, work: Callable[[Job, Show], object], note: Callable[[], str]
    ) -> AsyncGenerator[PageUpdate, None]:
        """Queue a job; yield its place or progress, and what it shows. Closing the generator stops the job.

        Args:
            note: the status when the job has finished.

        Raises:
            Exception: whatever the job raised, except `Stopped`.
        """
        if session.busy:
            raise OptionError("this page is generating already; cancel that or wait")
        updates: SimpleQueue[PageUpdate] = SimpleQueue()
        job = session.job = self._worker.submit(lambda job: work(job, updates.put))
        try:
            status = ""
            while not job.future.done():
                line = progress_line(job, self._worker.place(job))
                while not updates.empty():
                    yield updates.get()._replace(status=line, busy=True)
                if line != status:
                    yield PageUpdate(line, busy=True)
                    status = line
                await asyncio.sleep(POLL_S)
        finally:
            job.stop()
        while not updates.empty():
            yield updates.get()
        error = None if job.future.cancelled() else job.future.exception()
        if error is not None and not isinstance(error, Stopped):
            raise error
        yield PageUpdate(note() if job.finished else status_line("Cancelled."))

    def _region(self, session: Session, start_s: float | None, end_s: float | None) -> Region:
        if session.song is None:
            raise OptionError("there is no song yet, or this page was away for too long; drop one first")
        return fit_part(start_s, end_s, session.song.duration_s, self.limits)

    def _part(self, job: Job, session: Session, region: Region) -> Part:
        """The separated part; it is separated once."""
        if region.name not in session.parts:
            assert session.song is not None  # `_region` has checked
            job.begin("Removing the vocal")
            session.keep_part(self._separation.open_part(session.song, region, session.folder, self.engine.device))
        return session.parts[region.name]

    def _show_part(self, session: Session, part: Part, canny: tuple[int, int]) -> PageUpdate:
        sound, image = (session.folder / f"accompaniment-{part.region.name}{suffix}" for suffix in (".wav", ".png"))
        accompaniment = part.song.accompaniment * full_scale_gain(part.song.accompaniment)  # as loud as in the mixes
        write_audio(sound, accompaniment, part.song.sample_rate, subtype="FLOAT")
        with atomic_path(image) as temporary:
            Image.fromarray(part.backing.pixels).save(temporary)
        card = backing_card(part.region, session.url(sound), session.url(image), part.separator)
        return PageUpdate("", backing=card, edges=self._edges(session, part, canny))

    def _edges(self, session: Session, part: Part, canny: tuple[int, int]) -> EdgesValue:
        name, edges = part.region.name, edges_of(part, canny)
        path = session.folder / f"edges-{name}-{canny[0]}-{canny[1]}.png"
        save_edges(path, edges)
        urls = {"edges": session.url(path), "backing": session.url(session.folder / f"accompaniment-{name}.png")}
        size = {"width": edges.shape[1], "height": edges.shape[0]}
        return {"part": name, **size, **urls, "painted": session.painted.get(name)}

    def _card(self, session: Session, part: Part, take: ScoredTake, mix: Mix, request: TakeRequest, title: str) -> str:
        assert session.song is not None  # the part is of it
        session.take_count += 1
        number = session.take_count
        saved = save_take_files(session.folder, f"-{number}", take, mix)
        files = {"mix.wav": saved.sounds["mix"], "vocal.wav": saved.sounds["vocal"]}
        files["spectrogram.png"] = session.folder / f"spectrogram-{number}.png"
        times = " to ".join(map(clock, part.region))
        lines = [title, f"{request.model}, seed {take.seed}, {times}", verdict_line(take.verdict)]
        lines += [lowered_line(mix.song_gain_db)] if mix.song_gain_db < 0 else []
        return take_card(
            f"Take {number}",
            lines,
            {name: session.url(path) for name, path in saved.sounds.items()},
            session.url(saved.overview),
            {f"{session.song.name}, take {number}, {name}": session.url(path) for name, path in files.items()},
        )


def _keep_painted(session: Session, edges: EdgesValue) -> None:
    """Keep painted edges with the part they were painted for, whichever part is selected now.

    Raises:
        DataError: they are incomplete.
    """
    if edges and "painted" in edges and re.fullmatch(r"\d{1,9}-\d{1,9}", str(edges.get("part"))):
        session.keep_painted(edges["part"], edges["painted"] and check_painted_edges(edges["painted"]))


def _painted_elsewhere(session: Session, region: Region) -> str:
    """A status line that names the other parts with painted edges; empty without any, or where this part has some too."""
    if not session.painted or region.name in session.painted:
        return ""
    places = ", ".join(" to ".join(clock(int(time) / 1000) for time in name.split("-")) for name in session.painted)
    return status_line(f"These are this part's own edges. Painted ones are kept for {places}: choose that part again to see them.")
