"""Helpers of the notebooks: what they run on, display of sounds and spectrograms, uploads, downloads, and the page."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image

from riff import cli
from riff.audio.io import resample, to_channels
from riff.errors import OptionError
from riff.sampling.levels import without_clipping
from riff.spectrogram.image import waveform_to_image
from riff.spectrogram.params import STANDARD
from riff.spectrogram.sheet import contact_sheet

# By model type: the published model, for a GPU, and the small one of the repository.
MODELS = {
    "control": ("zachary-shah/riffusion-cnet-v2", "models/riff-cnet-mini"),
    "edit": ("zachary-shah/riff-pix2pix-v1", "models/riff-pix2pix-mini"),
}
DRIVE = Path("/content/drive")


def describe_runtime(device: str) -> str:
    """Whether there is a GPU, and what that means, in plain words.

    Args:
        device: chosen by `riff.devices.choose_device`.
    """
    if device == "cuda":
        return f"GPU: {torch.cuda.get_device_name()}. A take needs seconds; `auto` is the published model, a large download."
    colab = " In Colab: Runtime, Change runtime type, T4 GPU, then run all cells again." if in_colab() else ""
    return f"No CUDA GPU (device {device}): take the small model, `mini`; a take of the published one needs minutes.{colab}"


def in_colab() -> bool:
    return "google.colab" in sys.modules


def choose_model(name: str, model_type: str, device: str) -> str:
    """Folder, checkpoint or hub id for the model field of a notebook's form.

    Args:
        name: `published`, `mini`, `auto` (the published model on a GPU, the small one on a CPU), or a folder, checkpoint or hub id.
        model_type: key of `MODELS`.
    """
    published, mini = MODELS[model_type]
    if name == "auto":
        name = "mini" if device == "cpu" else "published"
    return {"published": published, "mini": mini}.get(name, name)


def choose_song(path: str, upload: bool) -> Path:
    """The song at `path` or, in Colab, an uploaded one.

    Raises:
        OptionError: nothing was uploaded, or this is not Colab.
    """
    if not upload:
        return Path(path)
    try:
        from google.colab import files
    except ImportError as error:
        raise OptionError("only Colab takes uploads; untick the box and give the path of a file") from error
    uploaded = list(files.upload())
    if not uploaded:
        raise OptionError("nothing was uploaded; choose a file, or untick the box")
    return Path(uploaded[0])


def show_image(title: str, pixels: np.ndarray) -> None:
    """Display an image, uint8, shape (height, width), under its title."""
    from IPython.display import Markdown, display

    display(Markdown(f"**{title}**"), Image.fromarray(pixels))


def show_sheet(images: Mapping[str, np.ndarray], path: Path) -> None:
    """Write images by caption into one column with `contact_sheet`, and display it."""
    from IPython.display import Image, display

    contact_sheet(list(images.values()), list(images), path, columns=1)
    display(Image(str(path)))


def show_sound(title: str, waveform: np.ndarray, sample_rate: int, pixels: np.ndarray | None = None) -> None:
    """Display a waveform's spectrogram under its title, and a player.

    Args:
        waveform: float32, shape (channels, samples); scaled down if it would clip.
        pixels: uint8, shape (height, width) (default: computed from the waveform).
    """
    from IPython.display import Audio, display

    if pixels is None:
        mono = resample(to_channels(waveform, 1), sample_rate, STANDARD.sample_rate)
        pixels = waveform_to_image(torch.from_numpy(mono[0])).pixels
    show_image(title, pixels)
    file = BytesIO()  # IPython would store uncompressed samples, normalised to full scale
    soundfile.write(file, without_clipping(waveform).T, sample_rate, format="FLAC", subtype="PCM_16")
    player = Audio(data=file.getvalue())
    player.mimetype = "audio/flac"
    display(player)


def copy_to_drive(folder: Path) -> Path:
    """Copy a folder to Google Drive, which asks for permission; returns the copy.

    Raises:
        OptionError: not in Colab.
    """
    try:
        from google.colab import drive
    except ImportError as error:
        raise OptionError(f"only Colab reaches Google Drive; the results are in {folder}") from error
    drive.mount(str(DRIVE))
    copy = DRIVE / "MyDrive" / "riff-cnet" / folder.name
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    return copy


def download(folder: Path) -> Path:
    """Pack all files of a folder into one zip beside it, which Colab sends to the browser; returns the zip."""
    packed = Path(shutil.make_archive(str(folder), "zip", folder))
    if in_colab():
        from google.colab import files

        files.download(str(packed))
    return packed


def start_app(*flags: str) -> subprocess.Popen[str]:
    """Start the page of `app.py`, with a public address in Colab, and display its address.

    Args:
        flags: of `app.py`.

    Returns:
        Its process, which `terminate` ends.

    Raises:
        OptionError: it did not start; holds its own message.
    """
    from IPython.display import Markdown, display

    share = ["--share"] if in_colab() else []
    command = [sys.executable, str(cli.ROOT / "app.py"), "--port", "0", *share, *flags]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait()
            errors.seek(0)
            raise OptionError((errors.read().strip().splitlines() or ["app.py did not start"])[-1].removeprefix("error: "))
    atexit.register(process.terminate)
    display(Markdown(f"[Open the page]({line.removeprefix('open ').strip()}). It ends with this notebook's runtime."))
    return process
