"""Songs from outside the project to measure on: the example of stempeg, and a user's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pooch

from riff.data.records import prompt_of, read_prompts
from riff.downloads import fetch_from_wheel, fetch_once
from riff.errors import AudioError
from riff.experiments.clips import ReferenceClip
from riff.experiments.musdb import describe_vocal
from riff.pairs.clip_images import to_standard_rate
from riff.pairs.control_pairs import PairSettings, usable_clips
from riff.pairs.songs import list_songs
from riff.separation.separator import SeparationOptions, open_songs
from riff.separation.song import Song, open_song
from riff.separation.stems import stems_beside
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

# The package of MUSDB18's reader holds a song's stems, 6 s of "Falcon 69" by The Easton Ellises. Its terms are MUSDB18's.
WHEEL = "stempeg==0.2.6"
WHEEL_SHA256 = "aa5d5dcdfba10abf0c76b502c00808a6dedd86a14e64b298615249294e522bee"
EXAMPLE = "falcon.stem.mp4"
FILES = {"stempeg/data/The Easton Ellises - Falcon 69.stem.mp4": EXAMPLE}
WHOLE_SONG_S = 20.0


def fetch_example(folder: Path | None = None) -> Path:
    """The folder that holds stempeg's example, downloaded if it is not there (1 MB).

    Args:
        folder: default: in the user's cache.

    Raises:
        ModelError: offline, or the package index cannot be reached or has another file.
    """
    folder = folder or pooch.os_cache("riff-cnet") / "real-songs"
    source = ("the package index", partial(fetch_from_wheel, WHEEL, WHEEL_SHA256, FILES))
    by_hand = f"put any song with stems there as {EXAMPLE}, or give --songs a folder of your own"
    fetch_once("a real song with stems", folder, [EXAMPLE], [source], by_hand)
    return folder


def real_clips(
    folder: Path, options: SeparationOptions, whole: bool = False, warn: Callable[[str], object] = print
) -> list[ReferenceClip]:
    """A clip of every song of a folder, with stems or without; songs without are separated, and their vocal is an estimate.

    Args:
        whole: 20 s at most, from the first clip with a vocal on, instead of 5.11 s.
        warn: called with a line for every song that is left out, and for a separator that is not Spleeter.

    Raises:
        AudioError: no such folder, no song in it, or none that can be used.
    """
    songs = list_songs(folder)
    opener = open_songs(options, [song.path for song in songs], warn)
    file = folder / "prompt_file.json"
    prompts = read_prompts(file) if file.exists() else {}
    clips = []
    for song in songs:
        separated = stems_beside(song.path) is None and options.stems_dir is None
        name = f"{song.plain_name} (separated by {opener.name})" if separated else song.plain_name
        try:
            clips.append(_clip(open_song(song.path, opener), name, prompt_of(song.name, prompts), whole))
        except AudioError as error:
            warn(f"left out: {error}")
    if not clips:
        raise AudioError(f"{folder}: no song there can be used; the reasons are above")
    return clips


def _clip(song: Song, name: str, prompt: str | None, whole: bool) -> ReferenceClip:
    vocals, accompaniment = (to_standard_rate(part, song.sample_rate) for part in (song.vocals, song.accompaniment))
    starts, _ = usable_clips(vocals, vocals + accompaniment, PairSettings())
    if not starts:
        raise AudioError(f"{name}: has no 5.11 s with a vocal")
    length = round(WHOLE_SONG_S * STANDARD.sample_rate) if whole else CLIP_SAMPLES
    vocal, backing = (np.ascontiguousarray(part[:, starts[0] : starts[0] + length]) for part in (vocals, accompaniment))
    return ReferenceClip(name, prompt or describe_vocal(vocal), vocal + backing, backing)
