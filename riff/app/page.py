"""Which part of the page does what. What stands where is in `riff.app.layout`, what is done in `riff.app.actions`."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from riff.app.actions import Actions, Shown
from riff.app.cards import song_line, status_line
from riff.app.engine import TakeRequest
from riff.app.gate import visitor_of_request
from riff.app.layout import DEMO_SONG, FOLLOWING, TOLD, Layout, prompt_for, scales_of
from riff.app.sessions import Session
from riff.app.songs import SHORTEST_S
from riff.errors import RiffError

FIRST_PART_S = 10.2  # two clips
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
    """Builds the page around what a server can do.

    Args:
        max_megabytes: of an upload, which Gradio sees to.
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
        kept = "It is kept on this server." if self._actions.sessions.keeps else "It is gone when you close this page."
        most = f"{self._max_megabytes:g} MB and {self._actions.limits.max_minutes:g} minutes"
        return f"WAV, FLAC, OGG, MP3, M4A and others, up to {most}; a .stem.mp4 brings its own backing. {kept}"

    def _wire_song(self) -> None:
        on = self._on
        opened = [on.drop, on.rest, on.song_line, on.waveform, on.start, on.end, on.state]
        emptied = [on.part_row, on.takes, on.edges, on.file, on.recording]
        on.file.upload(self._open, [on.file], opened + emptied, **QUIET)
        on.recording.stop_recording(self._open, [on.recording], opened + emptied, **QUIET)
        on.demo.click(self._open_demo, None, opened + emptied, **QUIET)
        on.another.click(lambda: gr.update(visible=True), None, [on.drop], **QUIET)
        on.waveform.input(None, [on.waveform], [on.start, on.end], js=PART_TO_NUMBERS, **QUIET)
        typed = [event for number in (on.start, on.end) for event in (number.submit, number.blur)]
        gr.on(typed, None, [on.waveform, on.start, on.end], [on.waveform, on.start, on.end], js=NUMBERS_TO_PART, **QUIET)

    def _wire_vocal(self) -> None:
        on = self._on
        shown = [on.state, on.cancel, on.prepare, on.sing, on.part_row, on.backing, on.edges, on.takes]
        region, canny = [on.start, on.end], [on.low, on.high]
        request: list[Any] = [on.model, on.prompt, on.negative_prompt, on.steps, on.scale, on.strength, on.image_scale]
        request += [on.guess_mode, on.seed, on.num_takes, on.best_of]
        # Whose turn it is, the worker says; Gradio's own queue would only hide that.
        at_once: dict[str, Any] = {"concurrency_limit": None, **QUIET}
        on.prepare.click(self._prepare, [*region, *canny, on.edges], shown, **at_once)
        on.sing.click(self._draw, {on.edges, *region, *canny, *request}, shown, **at_once)
        on.cancel.click(self._stop, None, [on.state], **at_once)
        suited = [on.prompt, on.scale, on.strength, on.image_scale, on.edge_settings, on.edges_column]
        on.model.input(self._suit, [on.model, on.prompt], suited, **QUIET)
        gr.on([on.low.release, on.high.release], self._find_edges, [*region, *canny, on.edges], [on.state, on.edges], **QUIET)

    def _session(self, request: gr.Request) -> Session:
        return self._actions.sessions.of(visitor_of_request(request.cookies), str(request.session_hash))

    def _open(self, path: str | None, request: gr.Request) -> Iterator[list[Any]]:
        sessions = self._actions.sessions
        yield from self._opened(request, lambda visitor: sessions.own_upload(visitor, path or ""))

    def _open_demo(self, request: gr.Request) -> Iterator[list[Any]]:
        yield from self._opened(request, lambda visitor: self._actions.sessions.lend(visitor, DEMO_SONG))

    def _opened(self, request: gr.Request, find: Callable[[str], Path]) -> Iterator[list[Any]]:
        try:
            with _one_sentence():
                session = self._session(request)
                yield self._show_song(session, find(session.visitor))
        except gr.Error as error:
            yield [*[gr.skip()] * 6, status_line(str(error.message), "error"), *[gr.skip()] * 3, None, None]
            raise

    def _show_song(self, session: Session, path: Path) -> list[Any]:
        upload = self._actions.open_song(session, path)
        limits, end = self._actions.limits, min(FIRST_PART_S, upload.duration_s, self._actions.limits.max_seconds)
        part = {"start": 0.0, "end": end, "duration": upload.duration_s, "shortest": SHORTEST_S, "longest": limits.max_seconds}
        waveform = {**part, "url": session.address(upload.path), "peaks": upload.peaks}
        hidden, empty = gr.update(visible=False), [gr.update(visible=False), "", None, None, None]
        return [hidden, gr.update(visible=True), song_line(upload), waveform, 0.0, round(end, 2), "", *empty]

    async def _prepare(
        self, start: float | None, end: float | None, low: float, high: float, painted: Any, request: gr.Request
    ) -> AsyncGenerator[list[Any], None]:
        canny = (int(low), int(high))
        async with aclosing(_said(lambda: self._actions.prepare(self._session(request), start, end, canny, painted))) as said:
            async for shown in said:
                yield _updates(shown)

    async def _draw(self, values: dict[Any, Any], request: gr.Request) -> AsyncGenerator[list[Any], None]:
        on, given = self._on, values

        def begin() -> AsyncGenerator[Shown, None]:
            wanted = TakeRequest(
                given[on.model],
                (given[on.prompt] or "").strip(),
                (given[on.negative_prompt] or "").strip(),
                int(given[on.steps]),
                float(given[on.scale]),
                float(given[on.strength]),
                float(given[on.image_scale]),
                bool(given[on.guess_mode]),
                None if given[on.seed] is None else int(given[on.seed]),
                int(given[on.num_takes]),
                int(given[on.best_of]),
                (int(given[on.low]), int(given[on.high])),
            )
            return self._actions.draw(self._session(request), given[on.start], given[on.end], wanted, given[on.edges])

        async with aclosing(_said(begin)) as said:
            async for shown in said:
                yield _updates(shown)

    def _stop(self, request: gr.Request) -> str:
        self._actions.stop(self._session(request))
        return status_line("Stopping …")

    def _suit(self, title: str, prompt: str) -> list[Any]:
        """What changes with the model: what it recommends, and what it has no use for."""
        choice = self._actions.engine.choice(title)
        edges, scales = choice.follows_edges, scales_of(choice)
        words = prompt_for(choice) if prompt in (FOLLOWING, TOLD, "") else prompt
        strength, image_scale = gr.update(value=scales[1], visible=edges), gr.update(value=scales[2], visible=not edges)
        return [words, scales[0], strength, image_scale, gr.update(visible=edges), gr.update(visible=edges)]

    def _find_edges(
        self, start: float | None, end: float | None, low: float, high: float, painted: Any, request: gr.Request
    ) -> list[Any]:
        with _one_sentence():
            shown = self._actions.edges(self._session(request), start, end, (int(low), int(high)), painted)
        return [shown.status or gr.skip(), shown.edges or gr.skip()]

    def _close(self, request: gr.Request) -> None:
        self._actions.sessions.close(visitor_of_request(request.cookies), str(request.session_hash))


def _updates(shown: Shown) -> list[Any]:
    """What is shown, by component, in the order of `Page._wire_vocal`."""
    row = gr.skip() if shown.backing is None else gr.update(visible=True)
    rest = [gr.skip() if one is None else one for one in (shown.backing, shown.edges, shown.takes)]
    return [shown.status, gr.update(visible=shown.busy), *[gr.update(interactive=not shown.busy)] * 2, row, *rest]


async def _said(begin: Callable[[], AsyncGenerator[Shown, None]]) -> AsyncGenerator[Shown, None]:
    """What is shown one after the other, and an error as a sentence, which stays on the page."""
    try:
        with _one_sentence():
            async with aclosing(begin()) as one_after_the_other:
                async for shown in one_after_the_other:
                    yield shown
    except gr.Error as error:
        yield Shown(status_line(str(error.message), "error"))
        raise


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn what a visitor can cause into its one sentence, without the places of this machine; the rest is for the server's log."""
    try:
        yield
    except RiffError as error:
        raise gr.Error(said_to_visitor(error), duration=10, print_exception=False) from None
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        sentence = "This went wrong, through no fault of yours; try again, or tell whoever runs this page"
        raise gr.Error(sentence, duration=10, print_exception=False) from error


def said_to_visitor(error: RiffError) -> str:
    """An error's sentence, with files named without their folders."""
    sentence = re.sub(r"(?<![\w:/.])/(?:[^/:;,()'\"]+/)+", "", str(error))
    first = sentence.split(" ", 1)[0]
    return sentence[:1].upper() + sentence[1:] if first.isalpha() else sentence  # a file's name keeps its own letters
