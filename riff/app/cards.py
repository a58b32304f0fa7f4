"""What the page shows, as HTML: how far a job is, the backing, and the takes side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from riff.app.jobs import Job
from riff.app.songs import Upload
from riff.metrics.edit import MIN_BACKING_KEPT, Verdict
from riff.report.page import macros

_HTML = macros("cards.html")


def clock(seconds: float) -> str:
    """75.5 as 1:15.5, 75 as 1:15."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    whole, tenth = divmod(rest, 10)
    return f"{minutes}:{whole:02d}" + (f".{tenth}" if tenth else "")


def song_line(upload: Upload) -> str:
    """One line on a song."""
    channels = {1: "mono", 2: "stereo"}.get(upload.channels, f"{upload.channels} channels")
    facts = (clock(round(upload.duration_s)), f"{upload.sample_rate / 1000:g} kHz", channels)
    return str(_HTML.song(upload.name, facts))


def status_line(text: str, kind: str = "", share: float | None = None) -> str:
    """One line on what is going on.

    Args:
        kind: `error`, or nothing. share: of the work that is done, [0, 1]; None for no bar.
    """
    return str(_HTML.status(text, kind, share)) if text else ""


def progress_line(job: Job, place: int) -> str:
    """How far a job is, or how many are before it."""
    if job.stopping:
        return status_line("Stopping …")
    if place:
        before = "Someone else's music is" if place == 1 else f"{place} others are"
        return status_line(f"{before} being made before yours. You need not do anything.", share=0.0)
    if not job.total:
        return status_line(f"{job.stage} …" if job.stage else "Starting …", share=0.0)
    left = job.seconds_left
    time_left = "" if left is None else f", about {max(1, round(left))} s left"
    return status_line(f"{job.stage}: step {job.done} of {job.total}{time_left}", share=job.done / job.total)


def backing_card(start_s: float, end_s: float, sound: str, picture: str, separator: str) -> str:
    """The accompaniment to hear and to see.

    Args:
        sound, picture: addresses. separator: that took the vocal out.
    """
    how = "from the song's own stems" if separator == "stems" else f"separated by {separator}"
    return str(_HTML.backing(f"{clock(start_s)} to {clock(end_s)}", sound, picture, how))


def take_card(title: str, lines: Sequence[str], sounds: Mapping[str, str], picture: str, downloads: Mapping[str, str]) -> str:
    """A take.

    Args:
        lines: of small print. sounds: addresses by their names. picture: address. downloads: addresses by the files' names.
    """
    return str(_HTML.take(title, lines, sounds, picture, downloads))


def judged(verdict: Verdict) -> str:
    """What the score of edits says of a take, and what to try where it is not good."""
    if verdict.performed:
        return "A vocal was found in it."
    if verdict.scores.backing_kept < MIN_BACKING_KEPT:
        return "The model strayed from the backing: try another seed, or more strength."
    return "No clear vocal was found: try another seed, or the best of more."


def takes_page(cards: Sequence[str]) -> str:
    """Takes side by side, as many as there is room for."""
    return str(_HTML.takes(cards)) if cards else ""
