"""What the page shows, as HTML: progress, the accompaniment, and takes side by side."""

from __future__ import annotations

from riff.app.jobs import Job
from riff.app.songs import Region, Upload
from riff.metrics.edit import Verdict
from riff.report.page import macros

_HTML = macros("cards.html")


def clock(seconds: float, decimals: int = 1) -> str:
    """75.5 as 1:15.5, 75 as 1:15."""
    minutes, rest = divmod(round(seconds, decimals), 60)
    text = f"{rest:0{3 + decimals}.{decimals}f}"
    return f"{minutes:.0f}:{text.rstrip('0').rstrip('.') if '.' in text else text}"


def song_line(upload: Upload) -> str:
    """Name, duration and format of a song."""
    channels = {1: "mono", 2: "stereo"}.get(upload.channels, f"{upload.channels} channels")
    facts = (clock(round(upload.duration_s)), f"{upload.sample_rate / 1000:g} kHz", channels)
    return str(_HTML.song(upload.name, facts))


def status_line(text: str, kind: str = "", share: float | None = None) -> str:
    """The status of the page; empty without text.

    Args:
        kind: CSS class, `error` or empty. share: of the work that is done, [0, 1]; None for no progress bar.
    """
    return str(_HTML.status(text, kind, share)) if text else ""


def progress_line(job: Job, place: int) -> str:
    """Progress of a job, or how many jobs are before it."""
    if job.stopping:
        return status_line("Stopping …")
    if place:
        jobs = "1 job is" if place == 1 else f"{place} jobs are"
        return status_line(f"Waiting: {jobs} before yours, which then starts by itself.", share=0.0)
    if not job.total:
        return status_line(f"{job.stage or 'Starting'} …", share=0.0)
    left = job.seconds_left
    time_left = "" if left is None else f", about {max(1, round(left))} s left"
    return status_line(f"{job.stage}: step {job.done} of {job.total}{time_left}", share=job.done / job.total)


def wait_line(seconds: float | None) -> str:
    """How long generating will probably take; None where nothing like it was measured yet."""
    if seconds is None:
        return str(_HTML.hint("How long it takes is known after the first take here; until then the progress tells."))
    wait = f"{max(5, 5 * round(seconds / 5))} seconds" if seconds < 100 else f"{round(seconds / 60)} minutes"
    return str(_HTML.hint(f"This will take about {wait} here, after whoever is before you."))


def backing_card(region: Region, preview: str, sound: str, image: str, separator: str) -> str:
    """Player and spectrogram of the accompaniment.

    Args:
        preview, sound, image: URLs of what is played, of the file to keep, and of the spectrogram. separator: as in `Part`.
    """
    sources = {
        "stems": "from the song's own stems",
        "none": "the song as it is",
        "repet": "separated by repet, which has no trained weights: some of the voice stays",
    }
    source = sources.get(separator, f"separated by {separator}")
    return str(_HTML.backing(region.name, " to ".join(map(clock, region)), preview, sound, image, source))


def verdict_line(verdict: Verdict, has_melody: bool) -> str:
    """Whether a vocal was found that fits the backing, and what to try if not. has_melody: whether it was sung from one."""
    if verdict.shortcoming:
        more = "another seed or the best of more" if has_melody else "another seed, the best of more, or a composed melody"
        return f"{verdict.shortcoming.capitalize()}: try {more}."
    return f"A vocal was found in it; fits the backing: {verdict.fit_text}."
