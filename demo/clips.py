"""Spectrogram images of synthesised songs with their prompts, kept as one memory-mapped array."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from demo.worlds import CURRENT, compose
from riff.cli import progress_bar
from riff.files import atomic_path, make_folder, write_json
from riff.spectrogram.image import waveform_to_image
from riff.spectrogram.params import CLIP_FRAMES, CLIP_SAMPLES, STANDARD

CLIPS_PER_SONG = 2
SONG_SECONDS = 11.0


@dataclass(frozen=True)
class Clips:
    """images: uint8, shape (clips, 512, 512), of mixes; prompts: one for each."""

    images: np.ndarray
    prompts: list[str]


def load_or_make_clips(folder: Path, seed: int, num_clips: int, num_workers: int, world: int = CURRENT) -> Clips:
    """The first `num_clips` clips of a world's catalogue `seed`, two a song; made once, then read from `folder`."""
    name = f"clips-v{world}-seed{seed}-{num_clips}"
    array, prompts = folder / f"{name}.npy", folder / f"{name}.json"
    if not prompts.exists():
        make_folder(folder)
        songs = range(num_clips // CLIPS_PER_SONG)
        texts: list[str] = []
        with atomic_path(array) as temporary:
            shape = (num_clips, STANDARD.n_mels, CLIP_FRAMES)
            images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            with ProcessPoolExecutor(num_workers) as pool:
                results = pool.map(partial(_song_clips, world, seed), songs, chunksize=8)
                for i, (pixels, prompt) in enumerate(progress_bar(results, total=len(songs), desc="clips", unit="song")):
                    images[i * CLIPS_PER_SONG : (i + 1) * CLIPS_PER_SONG] = pixels
                    texts += [prompt] * CLIPS_PER_SONG
            images.flush()
        write_json(prompts, texts)
    return Clips(np.load(array, mmap_mode="r"), json.loads(prompts.read_text()))


def _song_clips(world: int, seed: int, index: int) -> tuple[np.ndarray, str]:
    import torch

    torch.set_num_threads(1)
    song = compose(world, seed, index, SONG_SECONDS)
    starts = np.linspace(0, song.mixture.shape[1] - CLIP_SAMPLES, CLIPS_PER_SONG).astype(int)
    waves = [torch.from_numpy(song.mixture[:, start : start + CLIP_SAMPLES]) for start in starts]
    return np.stack([waveform_to_image(wave).pixels for wave in waves]), song.prompt
