"""Event listeners: connects the components of `riff.app.layout` to `riff.app.actions`."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import traceback
from argparse import ArgumentTypeError
from collections.abc import AsyncGenerator, Callable, Iterator, Sized
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from riff.app.actions import Actions, PageUpdate
from riff.app.cards import clock, song_line, status_line, wait_line
from riff.app.engine import TakeRequest, description, parse_seed
from riff.app.gate import visitor_of_request
from riff.app.layout import ANY, DEMO_SONG, Layout, scales_of
from riff.app.sessions import Session
from riff.app.songs import SHORTEST_S
from riff.app.tunes import HUM, MIDI, melody_choice
from riff.cli import seconds, warn
from riff.errors import RiffError
from riff.sampling.melody import NONE, Tune

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
SUGGESTED = "Heard in the song: "  # label of the button that takes the tagger's words
# Times are text, as 0:32 or 1:02.5; both functions keep hundredths of a second.
CLOCK = """const clock = (seconds) => {
  const hundredths = Math.round(100 * seconds), text = ((hundredths % 6000) / 100).toFixed(2).padStart(5, "0");
  return `${Math.floor(hundredths / 6000)}:${text.replace(/\\.?0+$/, "")}`;
};"""
PART_TO_TIMES = f"(song) => {{ {CLOCK} return [clock(song.start), clock(song.end)]; }}"
TIMES_TO_PART = f"""(song, from, to) => {{
  {CLOCK}
  if (!song) return [song, from, to];
  const parse = (text, other) => {{
    const seconds = String(text ?? "").split(":").reduce((total, part) => 60 * total + (part.trim() ? Number(part) : NaN), 0);
    return Number.isFinite(seconds) ? seconds : other;
  }};
  const shortest = Math.min(song.shortest, song.duration);
  const start = Math.min(Math.max(parse(from, song.start), 0), song.duration - shortest);
  const end = Math.min(Math.max(parse(to, song.end), start + shortest), song.duration, start + song.longest);
  return [{{ ...song, start, end }}, clock(start), clock(end)];
}}"""
UNLOAD_S = 3.0
FOR_OPERATOR = re.compile(r"(?<!\S)--[a-z]|\b(pip install|python \S+\.py|hf download)\b")  # commands and their flags
PREVIOUS_PAGE = "(_, low, high) => [sessionStorage.getItem('riff-page'), low, high]"
PLAY_BACKING = """() => {
  const region = document.querySelector("#waveform .region").dataset;
  const backing = document.querySelector(`#backing [data-part="${region.part}"] audio`);
  const sound = backing ?? document.querySelector("#waveform audio");
  sound.currentTime = backing ? 0 : Number(region.start);
  sound.play();
}"""
PAUSE_ALL = '() => document.querySelectorAll("audio").forEach((sound) => sound.pause())'


class Page:
    """Builds the page.

    Args:
        max_megabytes: of an upload, for display; Gradio enforces it.
    """

    def __init__(self, actions: Actions, max_megabytes: float) -> None:
        self._actions, self._max_megabytes = actions, max_megabytes

    def build(self) -> gr.Blocks:
        with gr.Blocks(title="riff-cnet", analytics_enabled=False) as blocks:
            self._on = Layout(list(self._actions.engine.models.values()), self._note())
            self._wire_song()
            self._wire_vocal()
            outputs = [*self._opened_by_reload, self._on.page]
            reloaded = blocks.load(self._reload, [self._on.page, self._on.low, self._on.high], outputs, js=PREVIOUS_PAGE, **QUIET)
            reloaded.then(None, [self._on.page], js="(page) => sessionStorage.setItem('riff-page', page)", **QUIET)
            blocks.unload(self._close)
        return blocks

    def _note(self) -> str:
        kept = "It is kept on this server." if self._actions.sessions.keeps else "It is deleted soon after you close this page."
        most = f"{self._max_megabytes:g} MB and {self._actions.limits.max_minutes:g} minutes"
        return f"WAV, FLAC, OGG, MP3, M4A and others, up to {most}; a .stem.mp4 brings its own backing. {kept}"

    def _wire_song(self) -> None:
        on = self._on
        opened = [on.drop, on.rest, on.song_line, on.waveform, on.start, on.end, on.state]
        cleared = [on.part_row, on.takes, on.edges, on.suggest, on.notes, on.snap, on.file, on.recording]
        on.file.upload(self._open, [on.file], opened + cleared, **QUIET)
        on.recording.stop_recording(self._open, [on.recording], opened + cleared, **QUIET)
        on.demo.click(self._open_demo, None, opened + cleared, **QUIET)
        on.another.click(self._ask, None, [on.drop, on.warning, on.keep], **QUIET)
        on.keep.click(lambda: gr.update(visible=False), None, [on.drop], **QUIET)
        on.waveform.input(None, [on.waveform], [on.start, on.end], js=PART_TO_TIMES, **QUIET)
        typed = [event for number in (on.start, on.end) for event in (number.submit, number.blur)]
        gr.on(typed, None, [on.waveform, on.start, on.end], [on.waveform, on.start, on.end], js=TIMES_TO_PART, **QUIET)
        on.snap.input(self._snap, [on.snap, on.waveform], [on.waveform, on.state], **QUIET)

    def _wire_vocal(self) -> None:
        on = self._on
        self._opened_by_reload = [on.drop, on.rest, on.song_line, on.waveform, on.start, on.end]
        of_melody = [on.melody_strength, on.hum_column, on.midi_column, on.notes_column, on.notes]
        self._opened_by_reload += [on.part_row, on.backing, on.edges, on.takes, on.melody, *of_melody]
        updated = [on.state, on.cancel, on.prepare, on.generate, on.play, on.part_row, on.backing, on.edges, on.takes, on.suggest]
        updated += [on.notes, on.live]
        part = [on.start, on.end, on.low, on.high, on.edges]
        request: list[Any] = [on.model, on.prompt, on.negative_prompt, on.steps, on.scale, on.strength, on.image_scale]
        request += [on.guess_mode, on.seed, on.num_takes, on.best_of, on.melody, on.melody_strength, on.hum, on.midi, on.notes]
        unqueued: dict[str, Any] = {"concurrency_limit": None, **QUIET}  # `Worker` queues the jobs
        on.prepare.click(self._prepare, [*part, on.melody], updated, **unqueued)
        generated = on.generate.click(self._generate, {*part, *request}, updated, **unqueued)
        on.play.click(self._play, {*part, *request}, updated, **unqueued)
        varied = on.takes.vary(self._vary, None, updated, **unqueued)
        decisive: list[Any] = [on.start, on.end, on.model, on.steps, on.num_takes, on.best_of, on.melody, on.melody_strength]
        estimate: dict[str, Any] = {"fn": self._estimate, "inputs": {*decisive}, "outputs": [on.wait], **unqueued}
        gr.on([setting.change for setting in decisive], trigger_mode="always_last", **estimate)
        generated.then(**estimate)
        varied.then(**estimate)
        gr.on([on.cancel.click, on.live.stop], self._stop, None, None, **unqueued)
        of_model = [on.steps, on.scale, on.strength, on.image_scale, on.edge_settings, on.edges_column, on.melody_strength]
        on.model.input(self._select_model, [on.model], of_model, **QUIET)
        words = [*on.words.values()]
        gr.on([word.change for word in words], self._compose_prompt, words, [on.prompt], **QUIET)
        on.suggest.click(lambda label: label.removeprefix(SUGGESTED), [on.suggest], [on.prompt], **QUIET)
        on.melody.input(self._select_melody, [on.melody], of_melody, **QUIET)
        on.midi.upload(self._receive_melody, [on.melody, on.midi], [on.state, on.notes], **QUIET)
        recorded = [on.hum.stop_recording, on.hum.upload]
        gr.on(recorded, self._receive_melody, [on.melody, on.hum], [on.state, on.notes], **QUIET)
        steer: dict[str, Any] = {"fn": self._steer, "inputs": {on.low, on.high, *request}, "outputs": None, **unqueued}
        steering: list[Any] = [
            on.prompt,
            on.negative_prompt,
            on.scale,
            on.strength,
            on.image_scale,
            on.guess_mode,
            on.melody,
            on.melody_strength,
        ]
        gr.on([setting.change for setting in steering], trigger_mode="always_last", **steer)
        on.notes.input(self._keep_notes, [on.notes], None, **QUIET).then(**steer)
        tune = {on.start, on.end, on.low, on.high, on.model, on.prompt, on.seed, on.melody, on.hum, on.midi, on.notes}
        on.notes.find(self._show_tune, tune, updated, **unqueued)
        on.hum.start_recording(None, js=PLAY_BACKING, **QUIET)
        on.hum.stop_recording(None, js=PAUSE_ALL, **QUIET)
        self._settings = [on.model, on.prompt, on.negative_prompt, on.steps, on.scale, on.strength, on.image_scale, on.guess_mode]
        self._settings += [on.low, on.high, on.edge_settings, on.edges_column, on.melody, *of_melody]
        on.takes.act(self._act, None, [on.state, on.takes, on.seed, *self._settings], **QUIET)
        gr.on([on.low.release, on.high.release], self._find_edges, part, [on.state, on.edges], **QUIET)

    def _session(self, request: gr.Request) -> Session:
        return self._actions.sessions.get(visitor_of_request(request.cookies), str(request.session_hash))

    def _ask(self, request: gr.Request) -> list[Any]:
        """Show where to drop another song, with what will be lost by it."""
        with _visitor_errors():
            session = self._session(request)
        made = {"take": session.takes, "painting": session.painted, "melody": session.tunes}
        lost = " and ".join(filter(None, (_count(things, name) for name, things in made.items())))
        warning = (
            f"Another song takes the place of this one. {f'Its {lost} will be deleted: download first what you keep.' * bool(lost)}"
        )
        return [gr.update(visible=True), gr.update(value=status_line(warning, "error" if lost else "")), gr.update(visible=True)]

    def _open(self, path: str | None, request: gr.Request) -> Iterator[list[Any]]:
        sessions = self._actions.sessions
        yield from self._opened(request, lambda visitor: sessions.find_upload(visitor, path or ""))

    def _open_demo(self, request: gr.Request) -> Iterator[list[Any]]:
        yield from self._opened(request, lambda visitor: self._actions.sessions.copy_upload(visitor, DEMO_SONG))

    def _opened(self, request: gr.Request, find: Callable[[str], Path]) -> Iterator[list[Any]]:
        try:
            with _visitor_errors():
                session = self._session(request)
                yield self._show_song(session, find(session.visitor))
        except gr.Error as error:
            yield [*[gr.skip()] * 6, status_line(str(error.message), "error"), *[gr.skip()] * 6, None, None]
            raise

    def _show_song(self, session: Session, path: Path) -> list[Any]:
        self._actions.open_song(session, path)
        hidden = gr.update(visible=False)
        return [*self._song(session), "", hidden, "", None, hidden, "", False, None, None]

    def _song(self, session: Session) -> list[Any]:
        """Values of the components that show a session's song and the part of it that is chosen."""
        upload, longest = session.song, self._actions.limits.max_seconds
        assert upload is not None
        start, end = session.region or upload.first_part
        part = {"start": start, "end": end, "duration": upload.duration_s, "shortest": SHORTEST_S, "longest": longest}
        waveform = {**part, "url": session.url(upload.preview or upload.path), "peaks": upload.peaks, "rate": upload.sample_rate}
        return [gr.update(visible=False), gr.update(visible=True), song_line(upload), waveform, clock(start, 2), clock(end, 2)]

    async def _reload(self, previous: str | None, low: float, high: float, request: gr.Request) -> list[Any]:
        """Show again what a page showed before it was reloaded."""
        sessions, page = self._actions.sessions, str(request.session_hash)
        with _visitor_errors():
            visitor = visitor_of_request(request.cookies)
        deadline = time.monotonic() + UNLOAD_S  # the end of the previous page may come a little later
        while previous and sessions.is_open(visitor, previous) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        session = sessions.reopen(visitor, previous, page) if previous else None
        if session is None or session.song is None:
            return [*[gr.skip()] * len(self._opened_by_reload), page]
        update = self._actions.shown(session, (int(low), int(high)))
        *_, row, backing, edges, takes, _, _, _ = _values(update)
        melody = self._actions.last_melody(session)
        shown = [gr.skip()] * 6 if melody == NONE else [melody, *self._of_melody(session, melody)]
        return [*self._song(session), row, backing, edges, takes, *shown, page]

    def _snap(self, snap: bool, waveform: dict[str, Any], request: gr.Request) -> list[Any]:
        """Let the borders of the part keep to beats, or no longer."""
        with _visitor_errors():
            beats = self._actions.beats(self._session(request)) if snap else None
        found = "No beats were found in this song: the part begins and ends where you put it."
        return [{**waveform, "beats": beats}, status_line(found if snap and not beats else "")]

    def _estimate(self, values: dict[Any, Any], request: gr.Request) -> str:
        """How long the takes that are set up will probably take."""
        on = self._on
        chosen = {"steps": on.steps, "takes": on.num_takes, "best_of": on.best_of, "melody": on.melody}
        try:
            wanted = TakeRequest(
                values[on.model],
                "",
                melody_strength=values[on.melody_strength],
                **{name: values[of] for name, of in chosen.items()},
            )
            times = parse_time(values[on.start]), parse_time(values[on.end])
            return wait_line(self._actions.wait_s(self._session(request), *times, wanted))
        except RiffError:  # which generating shows
            return ""

    async def _prepare(
        self, start: str | None, end: str | None, low: float, high: float, edges: Any, melody: str, request: gr.Request
    ) -> AsyncGenerator[list[Any], None]:
        canny, times = (int(low), int(high)), (parse_time(start), parse_time(end))
        async with aclosing(
            _updates(lambda: self._actions.prepare(self._session(request), *times, canny, _edges(edges), melody))
        ) as updates:
            async for update in updates:
                yield update

    async def _show_tune(self, values: dict[Any, Any], request: gr.Request) -> AsyncGenerator[list[Any], None]:
        on = self._on

        def begin() -> AsyncGenerator[PageUpdate, None]:
            session = self._session(request)
            source, seed = self._melody(values, session), parse_seed(values[on.seed])
            wanted = TakeRequest(values[on.model], (values[on.prompt] or "").strip(), melody=source, seed=seed)
            times, canny = (parse_time(values[on.start]), parse_time(values[on.end])), (int(values[on.low]), int(values[on.high]))
            return self._actions.show_tune(session, *times, wanted, canny, values[on.notes])

        async with aclosing(_updates(begin)) as updates:
            async for update in updates:
                yield update

    def _melody(self, values: dict[Any, Any], session: Session) -> str:
        on, choice = self._on, values[self._on.melody]
        return self._actions.melody(session, choice, {HUM: values[on.hum], MIDI: values[on.midi]}.get(choice))

    def _receive_melody(self, melody: str, path: str, request: gr.Request) -> list[Any]:
        """Take a file with a melody, whose notes are not shown yet. A MIDI file is read: what is left out of it is the status."""
        with _visitor_errors():
            session = self._session(request)
            source = self._actions.melody(session, melody, path)
            remark = Tune(source).file.remark if melody == MIDI else ""
            return [status_line(remark), self._actions.notes(session, melody)]

    def _keep_notes(self, roll: str, request: gr.Request) -> None:
        with _visitor_errors():
            self._actions.keep_notes(self._session(request), roll)

    def _select_melody(self, melody: str, request: gr.Request) -> list[Any]:
        with _visitor_errors():
            return self._of_melody(self._session(request), melody)

    def _of_melody(self, session: Session, melody: str) -> list[Any]:
        """What belongs to the source of a melody: whether its strength, recorder, file and notes are shown, and these notes."""
        shown = (melody != NONE, melody == HUM, melody == MIDI, melody != NONE)
        return [*(gr.update(visible=is_shown) for is_shown in shown), self._actions.notes(session, melody)]

    async def _generate(self, values: dict[Any, Any], request: gr.Request) -> AsyncGenerator[list[Any], None]:
        async with aclosing(_updates(lambda: self._begin(self._actions.generate, values, request))) as updates:
            async for update in updates:
                yield update

    async def _play(self, values: dict[Any, Any], request: gr.Request) -> AsyncGenerator[list[Any], None]:
        async with aclosing(_updates(lambda: self._begin(self._actions.play, values, request))) as updates:
            async for update in updates:
                yield update

    def _begin(
        self, action: Callable[..., AsyncGenerator[PageUpdate, None]], values: dict[Any, Any], request: gr.Request
    ) -> AsyncGenerator[PageUpdate, None]:
        """Begin `generate` or `play` with the settings of the page."""
        on, session = self._on, self._session(request)
        times, wanted = (parse_time(values[on.start]), parse_time(values[on.end])), self._request(values, session)
        return action(session, *times, wanted, _edges(values[on.edges]), values[on.notes])

    def _request(self, values: dict[Any, Any], session: Session) -> TakeRequest:
        """The settings of the page."""
        on = self._on
        return TakeRequest(
            model=values[on.model],
            prompt=(values[on.prompt] or "").strip(),
            negative_prompt=(values[on.negative_prompt] or "").strip(),
            steps=int(values[on.steps]),
            scale=float(values[on.scale]),
            strength=float(values[on.strength]),
            image_scale=float(values[on.image_scale]),
            guess_mode=bool(values[on.guess_mode]),
            seed=parse_seed(values[on.seed]),
            takes=int(values[on.num_takes]),
            best_of=int(values[on.best_of]),
            canny=(int(values[on.low]), int(values[on.high])),
            melody=self._melody(values, session),
            melody_strength=float(values[on.melody_strength]),
        )

    def _steer(self, values: dict[Any, Any], request: gr.Request) -> None:
        """Pass changed settings to the take that plays while it is generated."""
        session = self._session(request)
        if session.live:
            with _visitor_errors():
                self._actions.steer(session, self._request(values, session))

    async def _vary(self, request: gr.Request, event: gr.EventData) -> AsyncGenerator[list[Any], None]:
        async with aclosing(_updates(lambda: self._actions.vary(self._session(request), int(event.take)))) as updates:
            async for update in updates:
                yield update

    def _act(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Change a take, or copy its settings, by the button that was pressed on its card."""
        unchanged: list[Any] = [gr.skip()] * (3 + len(self._settings))
        with _visitor_errors():
            session, number = self._session(request), int(event.take)
            match event.action:
                case "rename":
                    self._actions.rename(session, number, str(event.value))
                case "star":
                    self._actions.star(session, number, bool(event.value))
                case "delete":
                    self._actions.delete(session, number)
                    unchanged[:2] = status_line("Deleted."), self._actions.takes(session)
                case "seed" | "settings" as action:
                    used = self._actions.settings(session, number)
                    unchanged[0] = status_line(f"The seed is {used.seed} now; empty it for another one every time.")
                    unchanged[2] = str(used.seed)
                    if action == "settings":
                        unchanged[3:] = self._set_up(session, used)
        return unchanged

    def _set_up(self, session: Session, used: TakeRequest) -> list[Any]:
        """Values of `self._settings`."""
        edges = self._actions.engine.choice(used.model).follows_edges
        melody = melody_choice(used.melody)
        strength, image_scale = gr.update(value=used.strength, visible=edges), gr.update(value=used.image_scale, visible=not edges)
        values: list[Any] = [used.model, used.prompt, used.negative_prompt, used.steps, used.scale, strength, image_scale]
        values += [used.guess_mode, *used.canny, gr.update(visible=edges), gr.update(visible=edges), melody]
        _, *of_melody = self._of_melody(session, melody)
        return [*values, gr.update(value=used.melody_strength, visible=melody != NONE), *of_melody]

    def _stop(self, request: gr.Request) -> None:
        self._actions.stop(self._session(request))

    def _select_model(self, title: str) -> list[Any]:
        """Set the model's recommended values, and hide the settings that it does not have."""
        choice = self._actions.engine.choice(title)
        edges, scales = choice.follows_edges, scales_of(choice)
        strength, image_scale = gr.update(value=scales[1], visible=edges), gr.update(value=scales[2], visible=not edges)
        hidden = [gr.update(visible=edges), gr.update(visible=edges)]
        return [choice.options.steps, scales[0], strength, image_scale, *hidden, choice.melody_strength]

    def _compose_prompt(self, *chosen: str) -> str:
        """A description of the chosen words."""
        return description({kind: word for kind, word in zip(self._on.words, chosen, strict=True) if word != ANY})

    def _find_edges(
        self, start: str | None, end: str | None, low: float, high: float, edges: Any, request: gr.Request
    ) -> list[Any]:
        with _visitor_errors():
            update = self._actions.edges(
                self._session(request), parse_time(start), parse_time(end), (int(low), int(high)), _edges(edges)
            )
        return [update.status or gr.skip(), json.dumps(update.edges) if update.edges else gr.skip()]

    def _close(self, request: gr.Request) -> None:
        self._actions.sessions.close(visitor_of_request(request.cookies), str(request.session_hash))


def parse_time(text: str | None) -> float | None:
    """Seconds of a time that a visitor typed, None where it is none."""
    try:
        return seconds((text or "").strip())
    except ArgumentTypeError:
        return None


def _count(things: Sized, name: str) -> str:
    """`1 take`, `2 takes`; empty for none."""
    many = f"{name.removesuffix('y')}{'ies' if name.endswith('y') else 's'}"
    return f"{len(things)} {many if len(things) > 1 else name}" if things else ""


async def _updates(begin: Callable[[], AsyncGenerator[PageUpdate, None]]) -> AsyncGenerator[list[Any], None]:
    """Values of the components `updated` of `Page._wire_vocal`, update by update; an error stays on the page as its status."""
    try:
        with _visitor_errors():
            async with aclosing(begin()) as updates:
                async for update in updates:
                    yield _values(update)
    except gr.Error as error:
        yield _values(PageUpdate(status_line(str(error.message), "error")))
        raise


def _edges(value: str | None) -> Any:
    """What the canvas of edges holds, None where it is empty."""
    return json.loads(value) if value else None


def _values(update: PageUpdate) -> list[Any]:
    row = gr.skip() if update.backing is None else gr.update(visible=True)
    edges = None if update.edges is None else json.dumps(update.edges)
    contents = [gr.skip() if value is None else value for value in (update.backing, edges, update.takes)]
    buttons = [gr.update(interactive=not update.busy)] * 3
    suggest = gr.skip()
    if update.suggestion is not None:
        suggest = gr.update(value=SUGGESTED + update.suggestion, visible=bool(update.suggestion))
    players = [gr.skip() if value is None else value for value in (update.tune, update.live)]
    return [update.status, gr.update(visible=update.busy), *buttons, row, *contents, suggest, *players]


@contextmanager
def _visitor_errors() -> Iterator[None]:
    """Show errors that a visitor can cause as one sentence, without the server's paths; log the others."""
    try:
        yield
    except RiffError as error:
        raise gr.Error(visitor_message(error), duration=10, print_exception=False) from None
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        message = "Something went wrong on the server; try again, or tell whoever runs this page"
        raise gr.Error(message, duration=10, print_exception=False) from error


def visitor_message(error: RiffError) -> str:
    """The error's message, with file names but without their folders; what only its operator can mend is left to them."""
    if FOR_OPERATOR.search(str(error)):
        warn(str(error))
        return "This server is not set up for that; tell whoever runs this page"
    message = re.sub(r"(?<![\w:/.])/(?:[^/:;,()'\"]+/)+", "", str(error))
    first_word = message.split(" ", 1)[0]
    return message[:1].upper() + message[1:] if first_word.isalpha() else message  # a file name keeps its case
