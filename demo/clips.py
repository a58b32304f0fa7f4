"""Spectrogram images of synthesised songs with their prompts, kept as one memory-mapped array."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from demo.instructions import instructions
from demo.world.compose import compose
from riff.cli import progress_bar
from riff.files import atomic_path, make_folder, write_json
from riff.spectrogram.image import waveform_to_image
from riff.spectrogram.params import CLIP_FRAMES, CLIP_SAMPLES, STANDARD

CLIPS_PER_SONG = 4  # the mix twice, its vocals alone, its backing alone
SONG_SECONDS = 11.0


@dataclass(frozen=True)
class Clips:
    """images: uint8, shape (clips, 512, 512); prompts: what is heard in each."""

    images: np.ndarray
    prompts: list[str]


def load_or_make_clips(folder: Path, seed: int, num_clips: int, num_workers: int) -> Clips:
    """The first `num_clips` clips of a catalogue `seed`, four a song; made once, then read from `folder`."""
    name = f"clips-seed{seed}-{num_clips}"
    array, prompts = folder / f"{name}.npy", folder / f"{name}.json"
    if not prompts.exists():
        make_folder(folder)
        songs = range(num_clips // CLIPS_PER_SONG)
        texts: list[str] = []
        with atomic_path(array) as temporary:
            shape = (num_clips, STANDARD.n_mels, CLIP_FRAMES)
            images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            with ProcessPoolExecutor(num_workers) as pool:
                results = pool.map(partial(_song_clips, seed), songs, chunksize=8)
                for i, (pixels, prompts_of_song) in enumerate(progress_bar(results, total=len(songs), desc="clips", unit="song")):
                    images[i * CLIPS_PER_SONG : (i + 1) * CLIPS_PER_SONG] = pixels
                    texts += prompts_of_song
            images.flush()
        write_json(prompts, texts)
    return Clips(np.load(array, mmap_mode="r"), json.loads(prompts.read_text()))


def _song_clips(seed: int, index: int) -> tuple[np.ndarray, list[str]]:
    import torch

    torch.set_num_threads(1)
    song = compose(seed, index, SONG_SECONDS)
    mix, vocals = song.mixture, song.stems["vocals"]
    last = mix.shape[1] - CLIP_SAMPLES
    parts = ((mix, 0), (mix, last), (vocals, last), (mix - vocals, 0))
    images = [waveform_to_image(torch.from_numpy(part[:, start : start + CLIP_SAMPLES])).pixels for part, start in parts]
    return np.stack(images), prompts_of(song.prompt, song.facts, song.name)


def prompts_of(prompt: str, facts: Mapping[str, object], name: str) -> list[str]:
    """One for each clip of a song. The vocals alone are asked for as an edit model is asked: it begins with these words."""
    return [prompt, prompt, *instructions(facts, name, 1), f"Generate a {facts['style']} backing without vocals"]
