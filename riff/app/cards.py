"""What the page shows, as HTML: progress, the accompaniment, and takes side by side."""

from __future__ import annotations

from riff.app.jobs import Job
from riff.app.songs import Region, Upload
from riff.metrics.edit import MIN_BACKING_KEPT, Verdict
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


def backing_card(region: Region, sound: str, image: str, separator: str) -> str:
    """Player and spectrogram of the accompaniment.

    Args:
        sound, image: URLs. separator: as in `Part`.
    """
    sources = {"stems": "from the song's own stems", "none": "the song as it is"}
    source = sources.get(separator, f"separated by {separator}")
    return str(_HTML.backing(region.name, " to ".join(map(clock, region)), sound, image, source))


def verdict_line(verdict: Verdict) -> str:
    """Whether a vocal was found that fits the backing, and what to try if not."""
    if verdict.performed and verdict.fit.known:
        return "A vocal was found in it, and it fits the backing."
    if verdict.performed:
        return "A vocal was found in it. The backing has no chords or beats by which to tell whether it fits."
    if verdict.scores.is_edit:
        return "A vocal was found in it, but it does not fit the backing: try another seed, or the best of more."
    if verdict.scores.backing_kept < MIN_BACKING_KEPT:
        return "The model strayed from the backing: try another seed, or more strength."
    return "No clear vocal was found: try another seed, or the best of more."
