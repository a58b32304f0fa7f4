"""The page of a song with a new vocal: players, spectrograms and levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import cv2
import librosa
import numpy as np
from PIL import Image

from riff.audio.io import plain_name, write_audio
from riff.files import atomic_path
from riff.report.page import Cell
from riff.report.report import Report, Take, Version
from riff.sampling.edit import ScoredTake, best_take
from riff.sampling.mixback import Mix
from riff.spectrogram.image import SpectrogramImage, save_image
from riff.spectrogram.mel import band_of

OVERVIEW_WIDTH = 4_000  # pixels: browsers cannot display an hour at 10 ms a pixel
MADE = {"mix": "the new vocal over the accompaniment", "vocal": "the new vocal alone"}
TUNE_COLOUR = (220, 30, 40)  # red
NOTE = (
    "Whether a vocal is heard and fits the backing's chords and beats, and its score, are judged from the spectrograms, without a "
    "neural network. The files add up: "
    "every sample of the mix is that of accompaniment.wav plus that of the vocal, and none exceeds full scale. The gain is the "
    "vocal's; where the sum would exceed full scale, a limiter lowers the vocal alone for some milliseconds."
)


@dataclass(frozen=True)
class RenderedTake:
    """A take with its levels and files.

    Attributes:
        sounds: mix and vocal, by name. midi: its notes, by name. overview: image of at most `OVERVIEW_WIDTH` pixels.
    """

    take: ScoredTake
    gain_db: float
    limited_db: float
    sounds: Mapping[str, Path]
    overview: Path
    midi: Mapping[str, Path]

    def to_json(self) -> dict:
        """Its entry in the manifest."""
        verdict = self.take.verdict
        levels = {"gain_db": self.gain_db, "limited_db": self.limited_db}
        files = {name: path.name for name, path in self.sounds.items()}
        files |= {f"{name} notes": path.name for name, path in self.midi.items()}
        judged = {"performed": verdict.performed, "score": verdict.score, "fit": verdict.fit.to_json()}
        return {"seed": self.take.seed, **judged, **levels, "files": files, "scores": verdict.scores.to_json()}


def save_take_files(
    folder: Path,
    ending: str,
    take: ScoredTake,
    mix: Mix,
    subtype: str = "FLOAT",
    midi: Mapping[str, Path] = MappingProxyType({}),
    tune: np.ndarray | None = None,
) -> RenderedTake:
    """Write mix, vocal and spectrogram image of a take, and its overview for the page.

    Args:
        ending: of the files' names, before the suffix. subtype: of the WAV files, as in `write_audio`.
        midi: files of its notes, for the page. tune: as in `with_tune`, for the overview.
    """
    sounds = {name: folder / f"{name}{ending}.wav" for name in ("mix", "vocal")}
    for name, waveform in (("mix", mix.mix), ("vocal", mix.vocal)):
        write_audio(sounds[name], waveform, mix.sample_rate, subtype)
    save_image(folder / f"spectrogram{ending}.png", take.after)
    overview = folder / f"overview{ending}.png"
    pixels = take.after.pixels if tune is None else with_tune(take.after, tune)
    if pixels.shape[1] > OVERVIEW_WIDTH:
        pixels = cv2.resize(pixels, (OVERVIEW_WIDTH, pixels.shape[0]), interpolation=cv2.INTER_AREA)
    with atomic_path(overview) as temporary:
        Image.fromarray(pixels).save(temporary)
    return RenderedTake(take, mix.gain_db, mix.limited_db, sounds, overview, midi)


def with_tune(image: SpectrogramImage, contour: np.ndarray) -> np.ndarray:
    """A spectrogram image with a tune over it, as a line at its pitch: uint8, shape (n_mels, frames, 3).

    Args:
        contour: float64, shape (frames,), MIDI numbers, NaN in rests.
    """
    rgb = np.repeat(image.pixels[:, :, None], 3, axis=2)
    frames = np.flatnonzero(np.isfinite(contour))
    bands = np.round(band_of(librosa.midi_to_hz(contour[frames]), image.params)).astype(int)
    for offset in (-1, 0, 1):
        rgb[np.clip(len(rgb) - 1 - bands + offset, 0, len(rgb) - 1), frames] = TUNE_COLOUR
    return rgb


def lowered_line(song_gain_db: float) -> str:
    """The note on a song that exceeds full scale by itself."""
    return f"the song exceeds full scale without the new vocal: all of it is {-song_gain_db:.1f} dB softer than the file"


def write_song_page(
    folder: Path,
    name: str,
    song: Path,
    prompt: str,
    shown: Sequence[RenderedTake],
    seconds: Mapping[str, float],
    duration_s: float,
    song_gain_db: float = 0.0,
) -> Path:
    """Write `index.html` under `folder`, where accompaniment.wav lies, the best take by its score first.

    Args:
        name: file name of the song. song: its copy in the folder.
        seconds: by stage. duration_s: of the song. song_gain_db: gain of accompaniment and vocals.
    """
    report = Report(
        f"{plain_name(name)}, with a new vocal",
        f"{prompt}: the accompaniment's own samples, and a vocal that a model generated.",
    )
    report.text("Begin with a mix and change to the song while it plays. Listen for whether the new vocal keeps time and key.")
    several, best = len(shown) > 1, best_take([one.take for one in shown])
    shown = sorted(shown, key=lambda one: one.take is not best)
    mixes, vocals = (
        [Version(f"{name}, seed {one.take.seed}" if several else name, MADE[name], one.sounds[name]) for one in shown]
        for name in ("mix", "vocal")
    )
    before = [
        Version("song", "as it was", song),
        Version("accompaniment", "the song without its vocal", folder / "accompaniment.wav"),
    ]
    versions = [mixes[0], *before, *mixes[1:], *vocals]
    report.player("the song, before and after", versions, duration_s)
    for rendered in shown:
        tuned = ", and in red the tune" if "tune" in rendered.midi else ""
        report.takes([Take(f"spectrogram of the mix, seed {rendered.take.seed}{tuned}", rendered.overview)])
        for name, path in rendered.midi.items():
            report.link(path, f"{name} as MIDI, seed {rendered.take.seed}" if several else f"{name} as MIDI")
    report.section("Levels and scores")
    rows: list[list[Cell]] = []
    for rendered in shown:
        take, verdict = rendered.take, rendered.take.verdict
        heard = "heard" if verdict.scores.is_edit else "not heard"
        rows.append([f"seed {take.seed}", heard, verdict.fit_text, verdict.score, rendered.gain_db, rendered.limited_db])
    lowered = f" Here {lowered_line(song_gain_db)}." if song_gain_db < 0 else ""
    report.table(["take", "vocal", "fits the backing", "score", "gain, dB", "limited by, dB"], rows, note=NOTE + lowered)
    report.section("Time")
    stages = {**seconds, "all": sum(seconds.values())}
    report.table(["stage", "seconds", "of the song"], [[stage, spent, spent / duration_s] for stage, spent in stages.items()])
    return report.write(folder / "index.html")
