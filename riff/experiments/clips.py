"""Clips whose vocal and accompaniment are known, which models are evaluated on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from riff.data.records import DEFAULT_PROMPT, prompt_of, read_prompts
from riff.errors import AudioError
from riff.metrics.images import edge_scores, gradient_correlation, vocal_region
from riff.metrics.sounds import chroma_cosine, onset_correlation
from riff.models.encoders import through_autoencoder
from riff.pairs.clip_images import to_standard_rate
from riff.pairs.control_pairs import PairSettings, usable_clips
from riff.pairs.songs import list_stem_songs
from riff.separation.song import Song
from riff.separation.stems import read_stems
from riff.spectrogram.edges import canny_edges
from riff.spectrogram.image import SpectrogramImage, image_to_waveform, waveform_to_image
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

Choose = Callable[[np.ndarray, np.ndarray], list[int]]  # vocals and accompaniment at 44.1 kHz -> first samples of clips
Describe = Callable[[np.ndarray], str]  # a clip's vocals, float32 (channels, samples) -> its prompt


@dataclass(frozen=True, eq=False)
class ReferenceClip:
    """A clip whose vocal and accompaniment are known, as audio and, computed when first asked for, as images.

    Attributes:
        prompt: that is true of the mix. mix, accompaniment: float32, shape (channels, samples) at 44.1 kHz.
        instruction: for an edit model to add the vocal; empty to make it of the prompt.
        sound_iterations: of Griffin-Lim, for every sound that is compared.
    """

    name: str
    prompt: str
    mix: np.ndarray
    accompaniment: np.ndarray
    instruction: str = ""
    sound_iterations: int = 64

    @property
    def vocal(self) -> np.ndarray:
        return self.mix - self.accompaniment

    @property
    def song(self) -> Song:
        return Song(self.mix, self.vocal, self.accompaniment, STANDARD.sample_rate, -np.inf)

    @cached_property
    def mix_image(self) -> SpectrogramImage:
        return waveform_to_image(torch.from_numpy(self.mix))

    @cached_property
    def accompaniment_image(self) -> SpectrogramImage:
        return waveform_to_image(torch.from_numpy(self.accompaniment))

    @cached_property
    def edges(self) -> np.ndarray:
        """Of the accompaniment: uint8, shape (n_mels, frames), 0 or 255."""
        return canny_edges(self.accompaniment_image.pixels)

    @cached_property
    def outside(self) -> np.ndarray:
        """bool, shape (n_mels, frames), False in the region of the vocal."""
        return ~vocal_region(self.accompaniment_image, self.mix_image)

    @cached_property
    def accompaniment_sound(self) -> np.ndarray:
        return self.sound_of(self.accompaniment_image)

    def sound_of(self, image: SpectrogramImage) -> np.ndarray:
        """Reconstruct an image's sound for comparison with another image's: float32, shape (samples,).

        The initial phases are random for all images, so that no image gains from phases that suit it.
        """
        return image_to_waveform(image, self.sound_iterations, propagate=False).numpy()

    def score(self, image: SpectrogramImage) -> dict[str, float]:
        """Compare an image with the accompaniment: edges and gradients outside the vocal's region, chroma and onsets of sounds.

        Both sounds are reconstructed from images.
        """
        edge = edge_scores(canny_edges(image.pixels), self.edges, tolerance=1, mask=self.outside)
        return {
            "edge_f1": edge.f1,
            "edge_precision": edge.precision,
            "edge_recall": edge.recall,
            "gradient_correlation": gradient_correlation(image.pixels, self.accompaniment_image.pixels, self.outside),
            **self.score_sound(image),
        }

    def score_sound(self, image: SpectrogramImage) -> dict[str, float]:
        """Compare an image's reconstructed sound with the accompaniment's."""
        sounds = (self.sound_of(image), self.accompaniment_sound, image.params.sample_rate)
        return {"chroma_cosine": chroma_cosine(*sounds), "onset_correlation": onset_correlation(*sounds)}


def reconstructed(vae: Any, image: SpectrogramImage) -> SpectrogramImage:
    """An image through a model's autoencoder and back, at its level: no sample of the model can be closer to it."""
    return SpectrogramImage(through_autoencoder(vae, image.pixels), image.max_value)


def first_with_vocal(vocals: np.ndarray, accompaniment: np.ndarray) -> list[int]:
    """The first sample of the first clip with a vocal, if any."""
    return usable_clips(vocals, vocals + accompaniment, PairSettings())[0][:1]


def clips_of_folder(
    folder: str | Path, choose: Choose = first_with_vocal, describe: Describe = lambda vocals: DEFAULT_PROMPT
) -> list[ReferenceClip]:
    """Clips of the songs of a folder in MUSDB18's layouts, in the songs' order.

    Args:
        choose: which clips of a song (default: the first with a vocal).
        describe: the prompt of a clip whose song has none in the folder's `prompt_file.json`.

    Raises:
        AudioError: no such folder, songs that cannot be read, or no clip in any.
    """
    folder = Path(folder)
    songs = list_stem_songs(folder)
    prompts = read_prompts(folder / "prompt_file.json") if (folder / "prompt_file.json").exists() else {}
    clips = []
    for song in songs:
        parts, rate = read_stems(song.path)
        vocals, accompaniment = (to_standard_rate(part, rate) for part in (parts.vocals, parts.accompaniment))
        for start in choose(vocals, accompaniment):
            part = slice(start, start + CLIP_SAMPLES)
            vocal, backing = (np.ascontiguousarray(stem[:, part]) for stem in (vocals, accompaniment))
            prompt = prompt_of(song.name, prompts) or describe(vocal)
            name = f"{song.plain_name} {start / STANDARD.sample_rate:.0f} s"
            clips.append(ReferenceClip(name, prompt, vocal + backing, backing))
    if not clips:
        raise AudioError(f"{folder}: no song there has 5.11 s with a vocal; give a folder of songs with vocals")
    return clips
