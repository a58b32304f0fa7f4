"""The page to listen to: what `make_listening_page.py` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image

from demo.world.compose import compose
from riff.audio.io import resample, to_channels
from riff.files import atomic_path
from riff.report.page import write_page
from riff.report.report import Take, Version
from riff.report.song_page import with_tune
from riff.sampling.levels import without_clipping
from riff.sampling.melody import COMPOSE, Tune, TuneGuide
from riff.sampling.rendering import backing_image, render_mix
from riff.sampling.song import SongModel, SongSampler, generate_take
from riff.separation.song import Song
from riff.spectrogram.edges import canny_edges

FOLDER = "listen"  # of sounds and images, beside the page
CATALOGUE = 3  # which no model was trained on
OPUS_RATE = 48_000  # Hz
BITS_PER_SECOND = {1: 32_000, 2: 56_000}  # by channels
IMAGE_QUALITY = 40  # of WebP, percent
INTRO = "A new vocal for a song, over its own backing, from a few words: here are the songs, their backings, and what came out."


class Example:
    """A song of the page. Its sounds and images are written when they are added.

    Args:
        folder: for the files. name: with which their names begin.
    """

    def __init__(self, folder: Path, name: str, heading: str, song: Song) -> None:
        self.name, self.heading, self.song, self.seconds = name, heading, song, round(song.duration_s, 1)
        self.versions: list[Version] = []
        self.images: list[Take] = []
        self._stem, self._sample_rate = folder / name, song.sample_rate

    def add_sound(self, name: str, label: str, made: str, waveform: np.ndarray) -> None:
        """Add a version; float32, shape (channels, samples)."""
        self.versions.append(Version(label, made, self._path(f"{name}.ogg")))
        write_opus(self.versions[-1].audio, waveform, self._sample_rate)

    def add_image(self, name: str, caption: str, pixels: np.ndarray) -> None:
        """Add a spectrogram or an edge map; uint8, shape (height, width), or (height, width, 3)."""
        self.images.append(Take(caption, self._path(f"{name}.webp")))
        with atomic_path(self._path(f"{name}.webp")) as temporary:
            lines = pixels.ndim == 2 and len(np.unique(pixels)) <= 2  # they are sharp, and small without loss
            Image.fromarray(pixels).save(temporary, format="WEBP", quality=IMAGE_QUALITY, lossless=lines)

    def _path(self, ending: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}-{ending}")


def write_listening_page(output: Path, examples: Sequence[Example], seed: int, steps: int) -> Path:
    """Write OUTPUT/listen.html and return its path.

    Args:
        seed, steps: with which all takes were generated.
    """
    return write_page(
        output / "listen.html",
        "listen.html",
        title="Listen to riff-cnet",
        intro=INTRO,
        examples=examples,
        seed=seed,
        steps=steps,
        command="python demo/make_listening_page.py",
    )


def make_example(
    output: Path,
    models: Mapping[str, SongModel],
    tunes: Mapping[str, Tune],
    number: int,
    seconds: float,
    seed: int,
    whole: bool = False,
    tuned: bool = False,
) -> Example:
    """A song with new vocals by every model and, unless it is a whole song, the vocals alone.

    Args:
        tunes: with which models take part beside what they sing freely if `tuned`, or in place of it in a whole song.
    """
    composed = compose(CATALOGUE, number, seconds)
    vocals = composed.stems["vocals"]
    song = Song(composed.mixture, vocals, composed.mixture - vocals, composed.sample_rate, -np.inf)
    style = f"{composed.facts['style']}, {composed.facts['tempo']:.0f} beats a minute"
    name, heading = ("whole-song", f"A whole song: {style}") if whole else (composed.name, style.capitalize())
    example = Example(output / FOLDER, name, heading, song)
    example.add_sound("song", "The song", "with its own vocal", song.waveform)
    example.add_sound("backing", "The backing", "the song without its vocal", song.accompaniment)
    backing = backing_image(song)
    example.add_image("backing", "the backing", backing.pixels)
    example.add_image("edges", "the backing's edges, which a ControlNet follows", canny_edges(backing.pixels))
    alone = [("true", "The song's own vocal, alone", "for comparison", vocals)]
    for name, model in models.items():
        prompt = model.prompt_for(composed.prompt)
        made = f"{'ControlNet' if model.follows_edges else 'edit model'}, “{prompt}”, seed {seed}"
        if not whole:
            waveform = _add_take(example, name, made, model, SongSampler(model, backing, prompt), seed)
            alone.append((name, f"The vocal by {name}, alone", made, waveform - song.accompaniment))
        if whole or tuned:
            guide = TuneGuide(tunes[name], song, backing, model.target, prompt)
            _add_take(example, name, made, model, SongSampler(model, backing, prompt, guide=guide), seed, guide)
    for name, label, made, waveform in [] if whole else alone:
        example.add_sound(f"{name}-vocal", label, made, to_channels(waveform, 1))
    return example


def _add_take(
    example: Example, name: str, made: str, model: SongModel, sampler: SongSampler, seed: int, guide: TuneGuide | None = None
) -> np.ndarray:
    """Add a take's mix and its spectrogram to an example; returns the mix, float32, shape (channels, samples)."""
    take = generate_take(sampler, seed)
    mix = render_mix(example.song, take.output, model.target).mix
    what = "the mix that {} generated" if model.target == "mix" else "the backing with the vocal that {} generated"
    caption, image = what.format(name), take.after.pixels
    if guide:
        made += f", --melody {COMPOSE} --melody_strength {guide.strength:g}"
        caption, image = f"{caption} from a composed tune, in red", with_tune(take.after, guide.tune(seed).contour)
    ending, label = (f"{name}-tune", f"New vocal by {name}, with a composed tune") if guide else (name, f"New vocal by {name}")
    example.add_sound(ending, label, f"{made}; fits the backing: {take.verdict.fit_text}", mix)
    example.add_image(ending, caption, image)
    return mix


def write_opus(path: Path, waveform: np.ndarray, sample_rate: int) -> None:
    """Write OGG Opus, the same bytes for the same samples: libsndfile would put a random number into the file.

    Args:
        waveform: float32, shape (channels, samples); lowered where it would clip.
    """
    samples = without_clipping(resample(waveform, sample_rate, OPUS_RATE))
    layout = "stereo" if len(samples) == 2 else "mono"
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="ogg", options={"fflags": "+bitexact"}) as file:
        stream = file.add_stream("libopus", rate=OPUS_RATE, layout=layout)
        stream.bit_rate = BITS_PER_SECOND[len(samples)]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T.reshape(1, -1)), format="flt", layout=layout)
        frame.sample_rate = OPUS_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
