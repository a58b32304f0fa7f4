"""What the page shows, as HTML: how far a job is, the backing, and the takes side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from riff.app.jobs import Job
from riff.app.songs import Upload
from riff.metrics.edit import MIN_BACKING_KEPT, Verdict


def clock(seconds: float) -> str:
    """75.5 as 1:15.5, 75 as 1:15."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    whole, tenth = divmod(rest, 10)
    return f"{minutes}:{whole:02d}" + (f".{tenth}" if tenth else "")


def song_line(upload: Upload) -> str:
    """One line on a song."""
    channels = {1: "mono", 2: "stereo"}.get(upload.channels, f"{upload.channels} channels")
    facts = f"{clock(round(upload.duration_s))} &middot; {upload.sample_rate / 1000:g} kHz &middot; {channels}"
    return f'<p class="song"><strong>{escape(upload.name)}</strong> <span>{facts}</span></p>'


def status_line(text: str, kind: str = "", share: float | None = None) -> str:
    """One line on what is going on.

    Args:
        kind: `error`, or nothing. share: of the work that is done, [0, 1]; None for no bar.
    """
    bar = "" if share is None else f'<progress max="1" value="{share:.3f}"></progress>'
    role = "alert" if kind == "error" else "status"
    return f'<div class="state {kind}" role="{role}">{bar}<span>{escape(text)}</span></div>' if text else ""


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
    heading = f"<h4>{clock(start_s)} to {clock(end_s)} without its vocal</h4>"
    how = "from the song's own stems" if separator == "stems" else f"taken apart by {separator}"
    link = f'<a href="{escape(sound)}" download="accompaniment.wav">accompaniment.wav</a>'
    return (
        f'<figure class="card">{heading}{_picture(picture, "spectrogram of the accompaniment")}'
        f'<audio controls preload="metadata" src="{escape(sound)}"></audio>'
        f"<figcaption>{escape(how)}; high is up, dark is loud &middot; {link}</figcaption></figure>"
    )


def take_card(title: str, lines: Sequence[str], sounds: Mapping[str, str], picture: str, downloads: Mapping[str, str]) -> str:
    """A take.

    Args:
        lines: of small print. sounds: addresses by their names. picture: address. downloads: addresses by the files' names.
    """
    players = "".join(
        f'<label>{escape(name)}<audio controls preload="metadata" src="{escape(address)}"></audio></label>'
        for name, address in sounds.items()
    )
    links = " ".join(
        f'<a href="{escape(address)}" download="{escape(name)}">{escape(_ending(name))}</a>' for name, address in downloads.items()
    )
    small = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return (
        f'<figure class="card take"><h4>{escape(title)}</h4>{_picture(picture, f"spectrogram of {title}")}{players}'
        f'<figcaption>{small}<p class="downloads">Download {links}</p></figcaption></figure>'
    )


def judged(verdict: Verdict) -> str:
    """What the score of edits says of a take, and what to try where it is not good."""
    if verdict.performed:
        return "A vocal was found in it."
    if verdict.scores.backing_kept < MIN_BACKING_KEPT:
        return "The model strayed from the backing: try another seed, or more strength."
    return "No clear vocal was found: try another seed, or the best of more."


def takes_page(cards: Sequence[str]) -> str:
    """Takes side by side, as many as there is room for."""
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _picture(address: str, words: str) -> str:
    return f'<img src="{escape(address)}" alt="{escape(words)}: time to the right, pitch upwards, dark is loud">'


def _ending(name: str) -> str:
    """`song, take 1, mix.wav` as `mix.wav`."""
    return name.rsplit(", ", 1)[-1]
