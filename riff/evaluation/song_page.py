"""The page of a song that was sung anew: players, pictures, levels, and the proof that the backing is untouched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from riff.evaluation.report import Cell, Report, Take
from riff.evaluation.song_takes import SongTake
from riff.files import atomic_path
from riff.sampling.mixback import Mix

OVERVIEW_WIDTH = 4_000  # pixels: a browser shows no picture of an hour at 10 ms a pixel


@dataclass(frozen=True)
class SungTake:
    """A take with its files. sounds: mix and vocal, by name. overview: its picture, no wider than a page can show."""

    take: SongTake
    mix: Mix
    sounds: Mapping[str, Path]
    overview: Path

    def to_json(self) -> dict:
        """What the manifest says of it."""
        scores = {name: None if np.isnan(value) else value for name, value in self.take.verdict.scores._asdict().items()}
        levels = {"gain_db": self.mix.gain_db, "headroom_db": self.mix.headroom_db, "null_test_db": self.mix.null_db}
        files = {name: str(path) for name, path in self.sounds.items()}
        return {"seed": self.take.seed, "performed": self.take.verdict.performed, **levels, "files": files, "scores": scores}


def save_overview(path: Path, pixels: np.ndarray) -> Path:
    """Write a spectrogram's picture, squeezed where it is wider than 4,000 pixels; uint8, shape (n_mels, frames)."""
    if pixels.shape[1] > OVERVIEW_WIDTH:
        pixels = cv2.resize(pixels, (OVERVIEW_WIDTH, pixels.shape[0]), interpolation=cv2.INTER_AREA)
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary)
    return path


def write_song_page(
    folder: Path,
    song: str,
    prompt: str,
    accompaniment: Path,
    sung: Sequence[SungTake],
    seconds: Mapping[str, float],
    duration_s: float,
) -> Path:
    """Write `index.html` under `folder`.

    Args:
        seconds: that each stage took. duration_s: of the song.
    """
    report = Report(f"{song}, sung anew", f"{prompt}: the accompaniment's own samples and a vocal that a model painted.")
    rows: list[list[Cell]] = []
    for one in sung:
        said = "heard" if one.take.verdict.performed else "not heard"
        levels = [one.mix.gain_db, one.mix.headroom_db, one.mix.null_db]
        rows.append([f"seed {one.take.seed}", said, one.take.verdict.score, *levels])
    note = (
        "Whether a vocal is heard, and its score, are judged from the pictures, without a network. The null test is the largest "
        "sample of mix - gain * vocal - accompaniment, in dB of full scale: about -140 is rounding, -200 nothing at all. Where "
        "the sum would clip, the mix as a whole is lowered by the headroom; with regions, the vocal is."
    )
    report.table(["take", "vocal", "score", "gain, dB", "headroom, dB", "null test, dB"], rows, note=note)
    report.takes([Take("accompaniment", audio=accompaniment)])
    for one in sung:
        report.section(f"Seed {one.take.seed}")
        report.takes([Take(name, audio=path) for name, path in one.sounds.items()])
        report.takes([Take("spectrogram of the whole", one.overview)])
    report.section("Time")
    times: list[list[Cell]] = [
        [stage, spent, spent / duration_s] for stage, spent in {**seconds, "all": sum(seconds.values())}.items()
    ]
    report.table(["stage", "seconds", "seconds a second of the song"], times)
    return report.write(folder / "index.html")
