"""Convert spectrogram images to audio: this project's, and Riffusion's own.

    python tools/image_to_audio.py sample-0.png
    python tools/image_to_audio.py riffusion-images --output sounds --max_value 30e6

IMAGE is a file or a folder of PNG, JPEG or WebP files; each becomes NAME.wav beside it, or in --output. An image's parameters and
level are read from its EXIF tags. Riffusion's maxima are of 16-bit samples: one above 32,768, which no waveform in [-1, 1] has,
is divided by 32,768. An image without tags is read as Riffusion does: standard parameters and a maximum of 30e6. Green and blue
of a stereo image are left and right. Audio that would clip is lowered and its level is reported.

Existing files are kept. An image that cannot be read is reported, the others are converted, and the exit status is 2.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # from a clone that is not installed

from riff import cli

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
HIGHEST_PEAK = 0.99


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("image", type=Path, nargs="+", metavar="IMAGE", help="images, or folders of them")
    add("--output", type=Path, metavar="DIR", help="folder for the audio (default: beside the images)")
    add("--max_value", type=cli.real(above=0), help="mel value of black, on either scale (default: from the image, else 30e6)")
    parser.add_flag("stereo", default=None, help="green and blue are left and right (default: from the image)")
    parser.add_griffin_lim_iterations()
    parser.add_seed()
    parser.add_overwrite("existing audio")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from riff.errors import DataError

    image_of: dict[Path, Path] = {}
    failed = 0
    for image in find_images(args.image):
        audio = (args.output or image.parent) / f"{image.stem}.wav"
        try:
            if image_of.setdefault(audio, image) != image:
                raise DataError(f"{image}: its audio would replace that of {image_of[audio]}; rename one of them")
            print(convert(image, audio, args))
        except Exception as error:  # of any kind: the other images go on
            cli.warn(f"error: {cli.item_error(image, error)}")
            failed += 1
    return cli.EXIT_FAILURE if failed else 0


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The images among these files and folders, each once, a folder's by name.

    Raises:
        DataError: no image.
    """
    from riff.errors import DataError

    images: list[Path] = []
    for path in paths:
        images += sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    if not images:
        raise DataError(f"{paths[0]}: holds no images ({', '.join(SUFFIXES)}); name a file, or another folder")
    return list(dict.fromkeys(images))


def convert(image: Path, audio: Path, args: cli.argparse.Namespace) -> str:
    """Write an image's audio; returns a line about its length and level.

    Raises:
        RiffError: the image cannot be read, or the audio file exists.
    """
    from dataclasses import replace

    import numpy as np

    from riff.audio.io import write_audio
    from riff.spectrogram.image import image_to_waveform, load_channels
    from riff.spectrogram.params import unit_maximum

    cli.check_new_files([audio], [image], args.overwrite)
    channels, is_known = load_channels(image, args.stereo)
    if args.max_value is not None:
        channels = [replace(channel, max_value=unit_maximum(args.max_value)) for channel in channels]
    waveform = np.stack([image_to_waveform(channel, args.griffin_lim_iterations, args.seed).numpy() for channel in channels])
    peak = float(np.abs(waveform).max(initial=0.0))
    lowered = max(1.0, peak / HIGHEST_PEAK)
    rate = channels[0].params.sample_rate
    write_audio(audio, waveform / lowered, rate)
    facts = [f"{waveform.shape[1] / rate:.2f} s", "silent" if peak == 0 else f"peak {20 * math.log10(peak):+.1f} dB"]
    if lowered > 1:
        facts.append(f"lowered by {20 * math.log10(lowered):.1f} dB so that it does not clip")
    if not is_known and args.max_value is None:
        facts.append("level not known, the image holds no maximum (--max_value)")
    return f"{audio}: {', '.join(facts)}"


if __name__ == "__main__":
    main()
