"""Where Spleeter's weights lie, and how they get there: Deezer's release archive, checked and unpacked whole or not at all."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pooch
import requests

from riff.errors import ModelError
from riff.files import atomic_folder

RELEASE = "https://github.com/deezer/spleeter/releases/download/v1.4.0"
# SHA-256 of RELEASE/NAME.tar.gz, as in RELEASE/checksum.json.
CHECKSUMS = {
    "2stems": "f3a90b39dd2874269e8b05a48a86745df897b848c61f3958efc80a39152bd692",
    "4stems": "3adb4a50ad4eb18c7c4d65fcf4cf2367a07d48408a5eb7d03cd20067429dfaa8",
    "5stems": "25a1e87eb5f75cc72a4d2d5467a0a50ac75f05611f877c278793742513cc7218",
}
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


def download(name: str, folder: Path, release: str = RELEASE, checksums: dict[str, str] = CHECKSUMS) -> None:
    """Get a model's archive, check it, and unpack it to `folder`.

    Raises:
        ModelError: no network, no such archive, or another checksum; says how to do it by hand.
    """
    url = f"{release}/{name}.tar.gz"
    by_hand = f"fetch {url} by hand and unpack it in {folder}, or take --separator repet, which needs no weights"
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        raise ModelError(f"Spleeter's weights are not in {folder}, and HF_HUB_OFFLINE forbids to download them; {by_hand}")
    pooch.get_logger().setLevel("WARNING")  # the progress bar says enough
    with atomic_folder(folder, FILES) as temporary:
        try:
            archive = pooch.retrieve(
                url,
                known_hash=f"sha256:{checksums[name]}",
                fname="archive.tar.gz",
                path=temporary,
                downloader=pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT_S),
            )
            _unpack(Path(archive), temporary)
        except requests.ConnectionError as error:
            raise ModelError(f"Spleeter's weights cannot be downloaded (no connection); {by_hand}") from error
        except requests.RequestException as error:
            raise ModelError(f"Spleeter's weights cannot be downloaded ({_reason(error)}); {by_hand}") from error
        except (ValueError, tarfile.TarError, EOFError) as error:
            raise ModelError(f"{url}: not the archive that it should be ({_reason(error)}); try again, or {by_hand}") from error
        Path(archive).unlink()


def _unpack(archive: Path, folder: Path) -> None:
    """Take the checkpoint's files, and nothing else, out of an archive."""
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            content = tar.extractfile(member) if name in FILES and member.isfile() else None
            if content is not None:
                with open(folder / name, "wb") as file:
                    shutil.copyfileobj(content, file)
    missing = [file for file in NEEDED if not (folder / file).is_file()]
    if missing:
        raise tarfile.TarError(f"holds no {missing[0]}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
