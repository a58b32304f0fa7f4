"""A folder of musicnn's two networks with random weights, as the tagger looks for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tensorflow_bundle import write_bundle

from riff.tagging.musicnn import expected_shapes
from riff.tagging.tags import NETWORKS


def random_weights(seed: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.uniform(0.5, 1.5, shape).astype(np.float32) / max(1, np.sqrt(np.prod(shape[:-1])))
        for name, shape in expected_shapes(50).items()
    }


def write_networks(cache: Path) -> None:
    """Put the networks where the tagger finds them when XDG_CACHE_HOME is `cache`."""
    for seed, name in enumerate(NETWORKS):
        write_bundle(cache / "riff-cnet" / "musicnn" / name, random_weights(seed))
