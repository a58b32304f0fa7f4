"""Turn spectrogram images into sound: this project's, and Riffusion's own.

    python tools/image_to_audio.py sample-0.png
    python tools/image_to_audio.py riffusion-images --output sounds --max_value 30e6

IMAGE is a file or a folder of PNG, JPEG or WebP files; each becomes NAME.wav beside it, or in --output. How an image was made, and
how loud it is, is read from its EXIF tags. Riffusion's maxima are of 16-bit samples: one above 32,768, which no sound in [-1, 1]
has, is divided by 32,768. An image without tags is taken as Riffusion does, in its standard definition with a maximum of 30e6.
Of a stereo image the green and blue channels are left and right. A sound that would clip is lowered, and its level is said.

Files that are there are left alone. An image that cannot be read is named, the others are done, and the exit status is 2.
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
    add("--output", type=Path, metavar="DIR", help="folder for the sounds (default: beside the images)")
    add("--max_value", type=float, help="mel value of black, on either scale (default: as the image says, else 30e6)")
    parser.add_flag("stereo", default=None, help="green and blue are left and right (default: as the image says)")
    add("--griffin_lim_iterations", type=int, default=16, help="rounds of phase reconstruction")
    parser.add_seed()
    parser.add_overwrite("sounds that are there")
    args = parser.parse_args(argv)
    if args.max_value is not None and not 0 < args.max_value < math.inf:
        parser.error(f"argument --max_value: {args.max_value} must be above 0")
    if args.griffin_lim_iterations < 0:
        parser.error(f"argument --griffin_lim_iterations: {args.griffin_lim_iterations} must be 0 or more")
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from riff.errors import DataError, RiffError

    first_of: dict[Path, Path] = {}
    failed = 0
    for image in find_images(args.image):
        sound = (args.output or image.parent) / f"{image.stem}.wav"
        try:
            if first_of.setdefault(sound, image) != image:
                raise DataError(f"{image}: its sound would replace that of {first_of[sound]}; rename one of them")
            print(convert(image, sound, args))
        except RiffError as error:
            cli.warn(f"error: {error}")
            failed += 1
    return cli.EXIT_FAILURE if failed else 0


def find_images(places: Sequence[Path]) -> list[Path]:
    """The images of these files and folders, each once, a folder's in the order of their names.

    Raises:
        DataError: there is no image.
    """
    from riff.errors import DataError

    images: list[Path] = []
    for place in places:
        images += sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES) if place.is_dir() else [place]
    if not images:
        raise DataError(f"{places[0]}: holds no images ({', '.join(SUFFIXES)}); name a file, or another folder")
    return list(dict.fromkeys(images))


def convert(image: Path, sound: Path, args: cli.argparse.Namespace) -> str:
    """Write an image's sound; returns what there is to say of it.

    Raises:
        RiffError: the image cannot be read, or the sound is there already.
    """
    from dataclasses import replace

    import numpy as np

    from riff.audio.io import write_audio
    from riff.spectrogram.image import image_to_waveform, load_channels
    from riff.spectrogram.params import unit_maximum

    cli.check_new_files([sound], [image], args.overwrite)
    channels, is_known = load_channels(image, args.stereo)
    if args.max_value is not None:
        channels = [replace(channel, max_value=unit_maximum(args.max_value)) for channel in channels]
    waveform = np.stack([image_to_waveform(channel, args.griffin_lim_iterations, args.seed).numpy() for channel in channels])
    peak = float(np.abs(waveform).max(initial=0.0))
    lowered = max(1.0, peak / HIGHEST_PEAK)
    rate = channels[0].params.sample_rate
    write_audio(sound, waveform / lowered, rate)
    said = [f"{waveform.shape[1] / rate:.2f} s", "silent" if peak == 0 else f"peak {20 * math.log10(peak):+.1f} dB"]
    if lowered > 1:
        said.append(f"lowered by {20 * math.log10(lowered):.1f} dB so that it does not clip")
    if not is_known and args.max_value is None:
        said.append("level not known, the image holds no maximum (--max_value)")
    return f"{sound}: {', '.join(said)}"


if __name__ == "__main__":
    main()
