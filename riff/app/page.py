"""Event listeners: connects the components of `riff.app.layout` to `riff.app.actions`."""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from riff.app.actions import Actions, PageUpdate
from riff.app.cards import song_line, status_line
from riff.app.engine import TakeRequest, parse_seed
from riff.app.gate import visitor_of_request
from riff.app.layout import CONTROL_PROMPT, DEMO_SONG, EDIT_PROMPT, Layout, prompt_for, scales_of
from riff.app.sessions import Session
from riff.app.songs import SHORTEST_S
from riff.errors import RiffError

FIRST_PART_S = 10.2  # two clips: the initial selection
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
PART_TO_NUMBERS = "(song) => [song.start, song.end]"
NUMBERS_TO_PART = """(song, start, end) => {
  if (!song) return [song, start, end];
  const shortest = Math.min(song.shortest, song.duration);
  start = Math.min(Math.max(start ?? 0, 0), song.duration - shortest);
  end = Math.min(Math.max(end ?? 0, start + shortest), song.duration, start + song.longest);
  return [{ ...song, start, end }, start, end];
}"""


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
            blocks.unload(self._close)
        return blocks

    def _note(self) -> str:
        kept = "It is kept on this server." if self._actions.sessions.keeps else "It is deleted when you close this page."
        most = f"{self._max_megabytes:g} MB and {self._actions.limits.max_minutes:g} minutes"
        return f"WAV, FLAC, OGG, MP3, M4A and others, up to {most}; a .stem.mp4 brings its own backing. {kept}"

    def _wire_song(self) -> None:
        on = self._on
        opened = [on.drop, on.rest, on.song_line, on.waveform, on.start, on.end, on.state]
        cleared = [on.part_row, on.takes, on.edges, on.file, on.recording]
        on.file.upload(self._open, [on.file], opened + cleared, **QUIET)
        on.recording.stop_recording(self._open, [on.recording], opened + cleared, **QUIET)
        on.demo.click(self._open_demo, None, opened + cleared, **QUIET)
        on.another.click(lambda: gr.update(visible=True), None, [on.drop], **QUIET)
        on.waveform.input(None, [on.waveform], [on.start, on.end], js=PART_TO_NUMBERS, **QUIET)
        typed = [event for number in (on.start, on.end) for event in (number.submit, number.blur)]
        gr.on(typed, None, [on.waveform, on.start, on.end], [on.waveform, on.start, on.end], js=NUMBERS_TO_PART, **QUIET)

    def _wire_vocal(self) -> None:
        on = self._on
        updated = [on.state, on.cancel, on.prepare, on.generate, on.part_row, on.backing, on.edges, on.takes]
        part = [on.start, on.end, on.low, on.high, on.edges]
        request = [on.model, on.prompt, on.negative_prompt, on.steps, on.scale, on.strength, on.image_scale]
        request += [on.guess_mode, on.seed, on.num_takes, on.best_of]
        unqueued: dict[str, Any] = {"concurrency_limit": None, **QUIET}  # `Worker` queues the jobs
        on.prepare.click(self._prepare, part, updated, **unqueued)
        on.generate.click(self._generate, {*part, *request}, updated, **unqueued)
        on.cancel.click(self._stop, None, [on.state], **unqueued)
        of_model = [on.prompt, on.scale, on.strength, on.image_scale, on.edge_settings, on.edges_column]
        on.model.input(self._select_model, [on.model, on.prompt], of_model, **QUIET)
        gr.on([on.low.release, on.high.release], self._find_edges, part, [on.state, on.edges], **QUIET)

    def _session(self, request: gr.Request) -> Session:
        return self._actions.sessions.get(visitor_of_request(request.cookies), str(request.session_hash))

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
            yield [*[gr.skip()] * 6, status_line(str(error.message), "error"), *[gr.skip()] * 3, None, None]
            raise

    def _show_song(self, session: Session, path: Path) -> list[Any]:
        upload, longest = self._actions.open_song(session, path), self._actions.limits.max_seconds
        end = min(FIRST_PART_S, upload.duration_s, longest)
        part = {"start": 0.0, "end": end, "duration": upload.duration_s, "shortest": SHORTEST_S, "longest": longest}
        waveform = {**part, "url": session.url(upload.path), "peaks": upload.peaks}
        hidden, cleared = gr.update(visible=False), [gr.update(visible=False), "", None, None, None]
        return [hidden, gr.update(visible=True), song_line(upload), waveform, 0.0, round(end, 2), "", *cleared]

    async def _prepare(
        self, start: float | None, end: float | None, low: float, high: float, edges: Any, request: gr.Request
    ) -> AsyncGenerator[list[Any], None]:
        canny = (int(low), int(high))
        async with aclosing(
            _updates(lambda: self._actions.prepare(self._session(request), start, end, canny, _edges(edges)))
        ) as updates:
            async for update in updates:
                yield update

    async def _generate(self, values: dict[Any, Any], request: gr.Request) -> AsyncGenerator[list[Any], None]:
        on = self._on

        def begin() -> AsyncGenerator[PageUpdate, None]:
            wanted = TakeRequest(
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
            )
            return self._actions.generate(
                self._session(request), values[on.start], values[on.end], wanted, _edges(values[on.edges])
            )

        async with aclosing(_updates(begin)) as updates:
            async for update in updates:
                yield update

    def _stop(self, request: gr.Request) -> str:
        self._actions.stop(self._session(request))
        return status_line("Stopping …")

    def _select_model(self, title: str, prompt: str) -> list[Any]:
        """Set the model's recommended values, and hide the settings that it does not have."""
        choice = self._actions.engine.choice(title)
        edges, scales = choice.follows_edges, scales_of(choice)
        prompt = prompt_for(choice) if prompt in (CONTROL_PROMPT, EDIT_PROMPT, "") else prompt
        strength, image_scale = gr.update(value=scales[1], visible=edges), gr.update(value=scales[2], visible=not edges)
        return [prompt, scales[0], strength, image_scale, gr.update(visible=edges), gr.update(visible=edges)]

    def _find_edges(
        self, start: float | None, end: float | None, low: float, high: float, edges: Any, request: gr.Request
    ) -> list[Any]:
        with _visitor_errors():
            update = self._actions.edges(self._session(request), start, end, (int(low), int(high)), _edges(edges))
        return [update.status or gr.skip(), json.dumps(update.edges) if update.edges else gr.skip()]

    def _close(self, request: gr.Request) -> None:
        self._actions.sessions.close(visitor_of_request(request.cookies), str(request.session_hash))


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
    buttons = [gr.update(interactive=not update.busy)] * 2
    return [update.status, gr.update(visible=update.busy), *buttons, row, *contents]


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
    """The error's message, with file names but without their folders."""
    message = re.sub(r"(?<![\w:/.])/(?:[^/:;,()'\"]+/)+", "", str(error))
    first_word = message.split(" ", 1)[0]
    return message[:1].upper() + message[1:] if first_word.isalpha() else message  # a file name keeps its case
