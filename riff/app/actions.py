"""What the page's buttons do: a visitor's requests become jobs, whose results become updates of the page."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from riff.app.cards import backing_card, clock, progress_line, status_line
from riff.app.engine import Engine, TakeRequest, description, edges_of
from riff.app.jobs import Job, Pace, Stopped, Worker
from riff.app.live import LIVE_STEPS, LiveTake
from riff.app.painted_edges import check_painted_edges, read_painted_edges
from riff.app.sessions import Session, Sessions
from riff.app.songs import Limits, Part, Region, Separation, Upload, fit_part, receive, windows_of
from riff.app.takes import LONGEST_NAME, Take, save_previews, save_take, takes_page
from riff.app.tunes import HUM, MIDI, NO_FILE, NO_NOTES, Key, melody_choice, read_roll, roll_of
from riff.audio.io import write_audio
from riff.errors import AudioError, OptionError
from riff.files import atomic_path
from riff.sampling.melody import NONE, TuneGuide
from riff.sampling.mixback import full_scale_gain
from riff.sampling.windows import guided_steps
from riff.spectrogram.edges import save_edges
from riff.tagging.label import NO_VOICE, SURE, listen
from riff.tagging.tags import has_weights

EdgesValue = dict[str, Any] | None  # of static/edges.js, which documents its keys
POLL_S = 0.15  # between two checks of a job's progress
MOST_KEPT = 30  # takes on a page


class PageUpdate(NamedTuple):
    """Changes of the page; None leaves a component as it is.

    Attributes:
        busy: whether a job is waiting or running. edges: value of static/edges.js. backing, takes: HTML.
        suggestion: of a prompt, empty for none. tune: value of static/notes.js. live: value of static/live.js.
    """

    status: str
    busy: bool = False
    backing: str | None = None
    edges: EdgesValue = None
    takes: str | None = None
    suggestion: str | None = None
    tune: str | None = None
    live: str | None = None


Show = Callable[[PageUpdate], object]


class Actions:
    """The actions of all visitors of a server."""

    def __init__(self, engine: Engine, separation: Separation, sessions: Sessions, limits: Limits) -> None:
        self.engine, self.sessions, self.limits = engine, sessions, limits
        self._separation, self._worker, self._pace = separation, Worker(), Pace()

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

    def beats(self, session: Session) -> list[float] | None:
        """Times of the beats of the session's song, as in `Upload`; None without any.

        Raises:
            OptionError: there is no song. AudioError: it cannot be read any more.
        """
        return _song(session).beats

    def prepare(
        self,
        session: Session,
        start_s: float | None,
        end_s: float | None,
        canny: tuple[int, int],
        edges: EdgesValue = None,
        melody: str = NONE,
    ) -> AsyncGenerator[PageUpdate, None]:
        """Separate a part; show its accompaniment and its edges, painted ones where the visitor painted some.

        Args:
            edges: as for `generate`. melody: as `melody_choice`.
        """
        region = self._region(session, start_s, end_s)
        _keep_painted(session, edges)

        def work(job: Job, show: Show) -> None:
            part = self._part(job, session, region)
            show(self._show_part(session, part, canny)._replace(tune=self.notes(session, melody)))
            if has_weights():
                job.begin("Listening to the song")
                show(PageUpdate("", suggestion=suggestion(part)))

        return self._run(session, work, lambda: _painted_elsewhere(session, region))

    def shown(self, session: Session, canny: tuple[int, int]) -> PageUpdate:
        """What a reloaded page shows of its session again: the part that was worked on last, and the takes."""
        part = session.parts.get(session.region.name) if session.region else None
        update = self._show_part(session, part, canny) if part else PageUpdate("")
        return update._replace(takes=self.takes(session))

    def last_melody(self, session: Session) -> str:
        """The source of the notes of the session's part that were changed or shown last, `none` without any."""
        region = session.region and session.region.name
        return next((melody for name, melody in reversed(session.tunes) if name == region), NONE)

    def notes(self, session: Session, melody: str) -> str:
        """Value of static/notes.js: the notes that are kept for the session's part and the source of a melody."""
        if session.region is None:
            return ""
        key = session.region.name, melody
        return roll_of(key, session.tunes.get(key), session.parts.get(key[0]))

    def keep_notes(self, session: Session, roll: str | None) -> Key | None:
        """Keep notes that the visitor changed or closed, with their part and the source of their melody, which are returned.

        Args:
            roll: value of static/notes.js.

        Raises:
            DataError: they are incomplete.
        """
        shown = read_roll(roll) if roll else None
        if shown is None:
            return None
        session.keep_tune(*shown)
        return shown[0]

    def melody(self, session: Session, choice: str, upload: str | None) -> str:
        """The source of a `Tune` that the page calls `choice`; a visitor's file is kept with the session.

        Args:
            upload: path of the visitor's file; without one the last one serves whose notes are kept.

        Raises:
            OptionError: there is no file.
        """
        if choice not in (HUM, MIDI):
            return choice
        if upload:
            return str(session.keep_melody(choice, self.sessions.find_upload(session.visitor, upload)))
        if choice in session.melodies and any(melody == choice for _, melody in session.tunes):
            return str(session.melodies[choice])
        raise OptionError(NO_FILE[choice])

    def show_tune(
        self,
        session: Session,
        start_s: float | None,
        end_s: float | None,
        request: TakeRequest,
        canny: tuple[int, int],
        roll: str | None,
    ) -> AsyncGenerator[PageUpdate, None]:
        """Show the tune of a part as notes; where they are shown already, those of its source again, or another composed tune.

        Args:
            request: melody, prompt and seed. roll: value of static/notes.js.
        """
        region = self._region(session, start_s, end_s)
        key = region.name, melody_choice(request.melody)
        is_shown = self.keep_notes(session, roll) == key and key in session.tunes
        remarks: list[str] = []

        def work(job: Job, show: Show) -> None:
            had_part = region.name in session.parts
            part = self._part(job, session, region)
            if not had_part:
                show(self._show_part(session, part, canny))
            if key not in session.tunes or is_shown:
                job.begin("Finding the notes of the melody")
                tune = self.engine.tune(part, replace(request, seed=None) if is_shown else request)
                session.keep_tune(key, tuple(tune.notes))
                remarks.append(tune.remark)
            show(PageUpdate("", tune=self.notes(session, key[1])))

        return self._run(session, work, lambda: status_line("; ".join(filter(None, remarks))))

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
        self,
        session: Session,
        start_s: float | None,
        end_s: float | None,
        request: TakeRequest,
        edges: EdgesValue,
        roll: str | None = None,
    ) -> AsyncGenerator[PageUpdate, None]:
        """Generate takes of a part; each is shown when it is done.

        Args:
            edges: value of static/edges.js: the part whose edges are on the page, and the edges if they were painted on. They
                are kept with that part, and control every take of it.
            roll: value of static/notes.js. Notes that are shown for this part are what its takes sing.
        """
        region, request, is_on_page = self._ask(session, start_s, end_s, request, edges, roll)
        return self._generate(session, region, request.each_take(), is_on_page)

    def _ask(
        self,
        session: Session,
        start_s: float | None,
        end_s: float | None,
        request: TakeRequest,
        edges: EdgesValue,
        roll: str | None,
    ) -> tuple[Region, TakeRequest, bool]:
        """The part of a request for takes, the request with the notes to sing, and whether the page shows that part already."""
        region = self._region(session, start_s, end_s)
        _keep_painted(session, edges)
        self.keep_notes(session, roll)
        melody = melody_choice(request.melody)
        request = replace(request, notes=session.tunes.get((region.name, melody), ()))
        if (region.name, melody) in session.tunes and not request.notes:
            raise OptionError(NO_NOTES)
        is_on_page = edges is not None and edges.get("part") == region.name and region.name in session.parts
        return region, request, is_on_page

    def play(
        self,
        session: Session,
        start_s: float | None,
        end_s: float | None,
        request: TakeRequest,
        edges: EdgesValue,
        roll: str | None = None,
    ) -> AsyncGenerator[PageUpdate, None]:
        """Generate one take of a part from left to right; each piece of its mix is shown when it is done, and the take at the end.

        Args:
            edges, roll: as for `generate`.
        """
        region, request, is_on_page = self._ask(session, start_s, end_s, request, edges, roll)
        _check_room(session, 1)
        steps = min(request.steps, LIVE_STEPS) if self.engine.device == "cpu" else request.steps
        first = replace(request, steps=steps, best_of=1).each_take()[0]

        def work(job: Job, show: Show) -> None:
            part, painted = self._open(job, show, session, region, first, is_on_page)
            live = session.live = LiveTake(session.folder, part, first)
            try:
                self._play(job, show, session, live, painted)
            except BaseException:
                live.delete()
                show(PageUpdate("", live=""))
                raise
            finally:
                session.live = None
            if live.error:
                raise live.error

        return self._run(session, work, lambda: "")

    def _play(self, job: Job, show: Show, session: Session, live: LiveTake, painted: np.ndarray | None) -> None:
        part, first = live.part, live.request
        job.begin("Preparing")
        stream = self.engine.stream(part, first, painted, job.step)
        job.begin("Generating while it plays", len(stream) * stream.steps)
        for number, piece in enumerate(stream, start=1):
            live.add(piece)
            show(PageUpdate("", live=live.value(session.url)))
            live.follow(lambda settings: self.engine.steer(stream, part, settings))
            job.total = job.done + (len(stream) - number) * stream.steps
        remarks = ["played while it was generated", *live.changes]
        guide = stream.guide if isinstance(stream.guide, TuneGuide) else None
        session.take_count += 1
        number, line = session.take_count, self.engine.prompt(first)
        saved = save_take(session.folder, number, part, stream.take(), live.mix, live.request, line, guide, remarks)
        session.takes.insert(0, saved)
        show(PageUpdate("", takes=self.takes(session)))

    def steer(self, session: Session, settings: TakeRequest) -> None:
        """Change the settings of the take that plays while it is generated, for what is still to come."""
        if live := session.live:
            notes = session.tunes.get((live.part.region.name, melody_choice(settings.melody)), ())
            live.want(replace(settings, notes=notes))

    def vary(self, session: Session, number: int) -> AsyncGenerator[PageUpdate, None]:
        """Generate a take again, with its seed and other strengths."""
        take = self._take(session, number)
        requests = take.request.variations(self.engine.choice(take.request.model).follows_edges)
        return self._generate(session, take.region, requests, is_on_page=True)

    def _generate(
        self, session: Session, region: Region, requests: Sequence[TakeRequest], is_on_page: bool
    ) -> AsyncGenerator[PageUpdate, None]:
        """Generate a take for each request, all by one model.

        Args:
            is_on_page: whether the page shows the part's backing and edges already.
        """
        _check_room(session, len(requests))
        title = requests[0].model
        follows_edges = self.engine.choice(title).follows_edges

        def work(job: Job, show: Show) -> None:
            part, painted_edges = self._open(job, show, session, region, requests[0], is_on_page)
            guides = {one: self.engine.guide(part, one) for one in dict.fromkeys(request.settings for request in requests)}
            samplers = {one: self.engine.sampler(part, one, painted_edges, guide) for one, guide in guides.items()}
            prompt = self.engine.prompt(requests[0])
            line = prompt if painted_edges is None else f"{prompt}, along painted edges"
            job.begin("Generating", sum(request.best_of * samplers[request.settings].num_steps for request in requests))
            for number, request in enumerate(requests):
                if len(requests) > 1:
                    job.stage = f"Generating take {number + 1} of {len(requests)}"
                sampler, guide = samplers[request.settings], guides[request.settings]
                with self._pace.measure(f"steps of {title}", request.best_of * sampler.num_steps * windows_of(region)):
                    assert request.seed is not None  # `each_take` has chosen it
                    take, mix = self.engine.take(part, sampler, request.seed, request.best_of, job.step)
                    session.take_count += 1
                    saved = save_take(session.folder, session.take_count, part, take, mix, request, line, guide)
                session.takes.insert(number, saved)
                show(PageUpdate("", takes=self.takes(session)))

        return self._run(session, work, lambda: _painted_elsewhere(session, region) if follows_edges else "")

    def _open(
        self, job: Job, show: Show, session: Session, region: Region, request: TakeRequest, is_on_page: bool
    ) -> tuple[Part, np.ndarray | None]:
        """The part, shown unless it is on the page, and the painted edges that its takes follow; their model is loaded."""
        part = self._part(job, session, region)
        if not is_on_page:
            notes = self.notes(session, melody_choice(request.melody))
            show(self._show_part(session, part, request.canny)._replace(tune=notes))
        edges, painted = None, session.painted.get(region.name)
        if painted and self.engine.choice(request.model).follows_edges:
            edges = read_painted_edges(painted, part.backing.pixels.shape)
        job.begin("Loading the model")
        if not self.engine.is_loaded(request.model):
            with self._pace.measure(f"loading {request.model}"):
                self.engine.load(request.model)
        return part, edges

    def wait_s(self, session: Session, start_s: float | None, end_s: float | None, request: TakeRequest) -> float | None:
        """How long a request will probably take on this machine, without the queue; None where that was never measured.

        Raises:
            OptionError: times that are no part of the song.
        """
        if session.song is None:
            return None
        region = fit_part(start_s, end_s, session.song.duration_s, self.limits)
        steps = request.steps if request.melody == NONE else guided_steps(request.steps, request.melody_strength)
        takes = request.takes * request.best_of
        wait_s = self._pace.seconds(f"steps of {request.model}", takes * steps * windows_of(region))
        if not self.engine.is_loaded(request.model):
            wait_s += self._pace.seconds(f"loading {request.model}")
        if region.name not in session.parts:
            wait_s += self._pace.seconds("separation", region.end_s - region.start_s)
        return None if math.isnan(wait_s) else wait_s

    def rename(self, session: Session, number: int, name: str) -> None:
        """Name a take; an empty name restores the first one."""
        self._take(session, number).name = name.strip()[:LONGEST_NAME] or f"Take {number}"

    def star(self, session: Session, number: int, starred: bool) -> None:
        self._take(session, number).starred = starred

    def delete(self, session: Session, number: int) -> None:
        """Delete a take and its files."""
        take = self._take(session, number)
        session.takes.remove(take)
        for file in take.files:
            file.unlink(missing_ok=True)

    def settings(self, session: Session, number: int) -> TakeRequest:
        """What generates a take again. The notes that it sang are shown for its part again."""
        take = self._take(session, number)
        session.keep_tune((take.region.name, melody_choice(take.request.melody)), take.request.notes or None)
        return take.request

    def _take(self, session: Session, number: int) -> Take:
        take = next((take for take in session.takes if take.number == number), None)
        if take is None:
            raise OptionError("this take is not there any more")
        return take

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
        session.region = fit_part(start_s, end_s, _song(session).duration_s, self.limits)
        return session.region

    def _part(self, job: Job, session: Session, region: Region) -> Part:
        """The separated part; it is separated once."""
        if region.name not in session.parts:
            assert session.song is not None  # `_region` has checked
            job.begin("Removing the vocal")
            with self._pace.measure("separation", region.end_s - region.start_s):
                part = self._separation.open_part(session.song, region, session.folder, self.engine.device)
            session.keep_part(part)
        return session.parts[region.name]

    def _show_part(self, session: Session, part: Part, canny: tuple[int, int]) -> PageUpdate:
        sound, image = (session.folder / f"accompaniment-{part.region.name}{suffix}" for suffix in (".wav", ".png"))
        accompaniment = part.song.accompaniment * full_scale_gain(part.song.accompaniment)  # as loud as in the mixes
        write_audio(sound, accompaniment, part.song.sample_rate, subtype="FLOAT")
        with atomic_path(image) as temporary:
            Image.fromarray(part.backing.pixels).save(temporary)
        preview = save_previews(session.folder, part)["backing"]
        card = backing_card(part.region, session.url(preview), session.url(sound), session.url(image), part.separator)
        return PageUpdate("", backing=card, edges=self._edges(session, part, canny))

    def _edges(self, session: Session, part: Part, canny: tuple[int, int]) -> EdgesValue:
        name, edges = part.region.name, edges_of(part, canny)
        path = session.folder / f"edges-{name}-{canny[0]}-{canny[1]}.png"
        save_edges(path, edges)
        urls = {"edges": session.url(path), "backing": session.url(session.folder / f"accompaniment-{name}.png")}
        size = {"width": edges.shape[1], "height": edges.shape[0]}
        return {"part": name, **size, **urls, "painted": session.painted.get(name)}

    def takes(self, session: Session) -> str:
        """The takes of a session as HTML."""
        return takes_page(session.takes, session.song.name if session.song else "", session.url)


def _check_room(session: Session, takes: int) -> None:
    """Refuse more takes than a page keeps.

    Raises:
        OptionError: with these it would be more.
    """
    if len(session.takes) + takes > MOST_KEPT:
        raise OptionError(f"this page keeps {MOST_KEPT} takes; delete some that you do not need")


def _song(session: Session) -> Upload:
    """The session's song.

    Raises:
        OptionError: there is none.
    """
    if session.song is None:
        raise OptionError("there is no song yet, or this page was away for too long; drop one first")
    return session.song


def suggestion(part: Part) -> str:
    """A prompt of the words that are surely heard in a part, empty without any."""
    try:
        heard = listen(part.song.vocals, part.song.accompaniment, part.song.sample_rate)
    except AudioError:  # silent, or too short
        return ""
    sure = {kind: word for kind, (word, confidence) in heard.items() if confidence >= SURE and word != NO_VOICE}
    return description(sure) if sure else ""


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
