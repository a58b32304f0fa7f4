"""Clips with known parts from a folder of songs with stems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from riff.data.records import DEFAULT_PROMPT, prompt_of, read_prompts
from riff.errors import AudioError
from riff.experiments.control import TrueClip
from riff.pairs.clip_images import to_standard_rate
from riff.pairs.control_pairs import PairSettings, usable_clips
from riff.pairs.songs import list_stem_songs
from riff.separation.stems import read_stems
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

Choose = Callable[[np.ndarray, np.ndarray], list[int]]  # vocals and accompaniment at 44.1 kHz -> first samples of clips
Describe = Callable[[np.ndarray], str]  # the clip's vocals, float32 (channels, samples) -> what is asked for


def first_with_vocal(vocals: np.ndarray, accompaniment: np.ndarray) -> list[int]:
    """The first clip that has a vocal, if any."""
    return usable_clips(vocals, vocals + accompaniment, PairSettings())[0][:1]


def clips_of_folder(
    folder: Path, choose: Choose = first_with_vocal, describe: Describe = lambda vocals: DEFAULT_PROMPT
) -> list[TrueClip]:
    """Clips of the songs of a folder in MUSDB18's layouts, in the songs' order.

    Args:
        choose: which clips of a song (default: the first with a vocal).
        describe: the prompt of a clip whose song has none in the folder's `prompt_file.json`.

    Raises:
        AudioError: no such folder, songs that cannot be read, or no clip in any.
    """
    songs = list_stem_songs(folder, "")
    prompts = read_prompts(folder / "prompt_file.json") if (folder / "prompt_file.json").exists() else {}
    clips = []
    for song in songs:
        parts, rate = read_stems(song.path)
        vocals, accompaniment = (to_standard_rate(part, rate) for part in (parts.vocals, parts.accompaniment))
        for start in choose(vocals, accompaniment):
            part = slice(start, start + CLIP_SAMPLES)
            voice, band = np.ascontiguousarray(vocals[:, part]), np.ascontiguousarray(accompaniment[:, part])
            prompt = prompt_of(song.name, prompts) or describe(voice)
            name = f"{song.plain_name} {start / STANDARD.sample_rate:.0f} s"
            clips.append(TrueClip(name, prompt, voice + band, band))
    if not clips:
        raise AudioError(f"{folder}: no song there has 5.11 s with a vocal; give a folder of songs that are sung")
    return clips
