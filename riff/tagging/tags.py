"""Tags of a recording by name, and where the networks' weights come from."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import torch
from filelock import FileLock

from riff.audio.tensorflow_checkpoint import read_checkpoint
from riff.errors import AudioError, ModelError, Unavailable
from riff.files import atomic_folder, make_folder
from riff.tagging.musicnn import MSD_TAGS, MTT_TAGS, Musicnn, log_mel_patches
from riff.wheels import fetch_from_wheel, is_offline

# The package's own checkpoints (ISC licence). It is never installed: it wants numpy below 1.17.
WHEEL = "musicnn==0.1.0"
WHEEL_SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
NETWORKS = {"MTT_musicnn": MTT_TAGS, "MSD_musicnn": MSD_TAGS}
PARTS = ("index", "data-00000-of-00001")


class Tags(NamedTuple):
    """How well each tag fits a recording, in [0, 1]; low numbers are the rule: compare with another recording's.

    Attributes:
        mtt: MagnaTagATune's tags, of what is heard: guitar, female vocal, no vocals, fast. msd: the Million Song Dataset's, of what
            it is called: indie rock, heavy metal, Hip-Hop, sad.
    """

    mtt: dict[str, float]
    msd: dict[str, float]


def tag(waveform: np.ndarray, sample_rate: int, folder: Path | None = None) -> Tags:
    """The tags of a recording, means over its 3 s patches.

    Args:
        waveform: float32, shape (channels, samples), of 3 s at least.
        folder: of the weights (default: the user's cache; they are fetched once).

    Raises:
        AudioError: too short, or silent. ModelError: no weights and no way to get them.
    """
    if not np.any(waveform):
        raise AudioError("is silent; there is nothing to tag")
    patches = torch.from_numpy(log_mel_patches(waveform, sample_rate))
    found = (network(patches).mean(dim=0).tolist() for network in load_networks(folder or default_folder()))
    return Tags(*(dict(zip(names, values, strict=True)) for names, values in zip(NETWORKS.values(), found, strict=True)))


@cache
def load_networks(folder: Path) -> tuple[Musicnn, ...]:
    """Both networks, fetched if they are not there.

    Raises:
        ModelError: they cannot be fetched, or are damaged.
    """
    if not all((folder / file).is_file() for file in _files().values()):
        download(folder)
    return tuple(Musicnn(read_checkpoint(folder / name), tags, folder / name).eval() for name, tags in NETWORKS.items())


def download(folder: Path, requirement: str = WHEEL, sha256: str = WHEEL_SHA256) -> None:
    """Fetch the weights (21 MB) out of their wheel, whole or not at all.

    Raises:
        ModelError: offline, or another file than it should be.
    """
    if is_offline():
        raise ModelError(f"musicnn's weights are not in {folder}, and HF_HUB_OFFLINE forbids to download them")
    make_folder(folder.parent)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if all((folder / file).is_file() for file in _files().values()):
            return
        try:
            with atomic_folder(folder) as temporary:
                fetch_from_wheel(requirement, sha256, _files(), temporary)
        except Unavailable as error:
            raise ModelError(
                f"musicnn's weights cannot be fetched from the package index ({error}); with a network, run "
                "python tools/fetch_weights.py --tagger"
            ) from error


def default_folder() -> Path:
    return pooch.os_cache("riff-cnet") / "musicnn"


def _files() -> dict[str, str]:
    """Path inside the wheel -> name in the cache."""
    return {f"musicnn/{name}/.{part}": f"{name}.{part}" for name in NETWORKS for part in PARTS}
