"""What the notebooks show and ask: sounds with their pictures, a song of one's own, a place in Google Drive."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image

from riff.audio.io import resample, to_channels
from riff.errors import OptionError
from riff.sampling.clip import without_clipping
from riff.spectrogram.image import waveform_to_image
from riff.spectrogram.params import STANDARD
from riff.spectrogram.sheet import contact_sheet

# By what the notebooks call it: the model that its authors published, for a GPU, and the small one in the repository.
MODELS = {
    "control": ("zachary-shah/riffusion-cnet-v2", "models/riff-cnet-mini"),
    "edit": ("zachary-shah/riff-pix2pix-v1", "models/riff-pix2pix-mini"),
}
DRIVE = Path("/content/drive")


def choose_model(name: str, kind: str, device: str) -> str:
    """The model that a form's field means.

    Args:
        name: `auto` is the published model on a GPU and the small one on a CPU; `published` and `mini` are said outright; anything
            else is a folder, a checkpoint or a hub id. kind: of `MODELS`.
    """
    published, mini = MODELS[kind]
    if name == "auto":
        name = "mini" if device == "cpu" else "published"
    return {"published": published, "mini": mini}.get(name, name)


def choose_song(path: str, upload: bool) -> Path:
    """The song that the form names or, in Colab, one that is uploaded now.

    Raises:
        OptionError: an upload was asked for and there is none.
    """
    if not upload:
        return Path(path)
    try:
        from google.colab import files
    except ImportError as error:
        raise OptionError("only Colab takes uploads; untick the box, and name a file of this machine") from error
    uploaded = list(files.upload())
    if not uploaded:
        raise OptionError("nothing was uploaded; choose a file, or untick the box")
    return Path(uploaded[0])


def show_image(title: str, pixels: np.ndarray) -> None:
    """Show a picture, uint8, shape (height, width), under its title."""
    from IPython.display import Markdown, display

    display(Markdown(f"**{title}**"), Image.fromarray(pixels))


def show_sheet(pictures: Mapping[str, np.ndarray], path: Path) -> None:
    """Write pictures one below the other, each under its caption, as `contact_sheet` does, and show the sheet."""
    from IPython.display import Image as Shown
    from IPython.display import display

    contact_sheet(list(pictures.values()), list(pictures), path, columns=1)
    display(Shown(str(path)))


def show_sound(title: str, waveform: np.ndarray, sample_rate: int, pixels: np.ndarray | None = None) -> None:
    """Show a sound's picture under its title, and a player.

    Args:
        waveform: float32, shape (channels, samples); where it would clip, it is played softer.
        pixels: uint8, shape (height, width) (default: the sound's spectrogram).
    """
    from IPython.display import Audio, display

    if pixels is None:
        mono = resample(to_channels(waveform, 1), sample_rate, STANDARD.sample_rate)
        pixels = waveform_to_image(torch.from_numpy(mono[0])).pixels
    show_image(title, pixels)
    file = BytesIO()  # IPython would store it raw, and as loud as it goes
    soundfile.write(file, without_clipping(waveform).T, sample_rate, format="FLAC", subtype="PCM_16")
    player = Audio(data=file.getvalue())
    player.mimetype = "audio/flac"
    display(player)


def copy_to_drive(folder: Path) -> Path:
    """Copy a folder to Google Drive, after asking for leave; returns where it lies there.

    Raises:
        OptionError: not in Colab.
    """
    try:
        from google.colab import drive
    except ImportError as error:
        raise OptionError(f"only Colab reaches Google Drive; the results lie in {folder}") from error
    drive.mount(str(DRIVE))
    copy = DRIVE / "MyDrive" / "riff-cnet" / folder.name
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    return copy
