"""image -> audio -> image on synthesised songs: error in grey levels and seconds a clip, against the plain way.

    python benchmarks/round_trip.py --num_songs 10

The plain way is librosa's Griffin-Lim at 44.1 kHz (4,410-point windows, 32 iterations) after a pseudo-inverse of the mel
filterbank. Riffusion's is least squares for every frame and 32 rounds of Griffin-Lim at 17,640 points. All are timed in this
one run, on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from riff import cli


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--num_songs", type=cli.whole(1), default=10, help="songs of the evaluation catalogue")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/round_trip.json"), help="where the figures go")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from functools import partial

    import numpy as np
    import torch

    from demo.evaluation import demo_clips
    from riff.spectrogram.image import image_to_waveform, waveform_to_image

    torch.set_num_threads(1)
    images = [waveform_to_image(torch.from_numpy(clip.mix)) for clip in demo_clips(3, args.num_songs)]
    ways: dict[str, Callable] = {
        f"{rounds} iterations{', random start' * (not propagate)}": partial(
            image_to_waveform, iterations=rounds, propagate=propagate
        )
        for propagate in (True, False)
        for rounds in (16, 32, 64, 128)
    }
    ways["librosa, 32 iterations"] = plain_way
    ways["Riffusion, 32 iterations"] = riffusion_way
    results = {}
    for name, way in ways.items():
        way(images[0])  # filters and plans are made once
        began = time.perf_counter()
        sounds = [way(image) for image in images]
        seconds = (time.perf_counter() - began) / len(images)
        errors = [np.abs(redrawn(sound, image) - image.pixels).mean() for sound, image in zip(sounds, images, strict=True)]
        results[name] = {"seconds": seconds, "grey_levels": float(np.mean(errors)), "worst": float(np.max(errors))}
        print(f"{name:30} {seconds:6.2f} s a clip  {np.mean(errors):5.2f} grey levels (worst {np.max(errors):.2f})")
    cli.write_manifest(args.output, vars(args), results=results)


def redrawn(sound, image):  # type: ignore[no-untyped-def]
    """The sound's image against the same maximum, as integers."""
    from riff.spectrogram.image import mel_to_image
    from riff.spectrogram.mel import waveform_to_mel

    return mel_to_image(waveform_to_mel(sound), max_value=image.max_value).pixels.astype(int)


def plain_way(image):  # type: ignore[no-untyped-def]
    """librosa's Griffin-Lim on a pseudo-inverted mel spectrogram."""
    import librosa
    import numpy as np
    import torch

    from riff.spectrogram.image import image_to_mel
    from riff.spectrogram.mel import mel_filterbank
    from riff.spectrogram.params import STANDARD

    fine = np.maximum(0, np.linalg.pinv(mel_filterbank(STANDARD, 4_001).numpy()) @ image_to_mel(image).numpy())
    magnitude = np.zeros((2_206, fine.shape[1]), np.float32)
    magnitude[: len(fine[::4])] = fine[::4]  # rows 10 Hz apart
    sound = librosa.griffinlim(magnitude, n_iter=32, hop_length=441, n_fft=4_410, random_state=0)
    return torch.from_numpy(sound)


def riffusion_way(image):  # type: ignore[no-untyped-def]
    """Least squares over all 8,821 bins, what is negative cut off, and the fast Griffin-Lim algorithm on the padded transform."""
    import torch

    from riff.spectrogram.image import image_to_mel
    from riff.spectrogram.mel import mel_filterbank
    from riff.spectrogram.params import STANDARD

    bins, samples = STANDARD.n_fft // 2 + 1, STANDARD.clip_samples(image.pixels.shape[1])
    magnitude = torch.linalg.lstsq(mel_filterbank(STANDARD, bins), image_to_mel(image), driver="gels").solution.relu()
    window = torch.hann_window(STANDARD.win_length)
    sizes = (STANDARD.n_fft, STANDARD.hop_length, STANDARD.win_length, window)
    angles = torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(0)) * (2 * torch.pi)
    spectrum, previous = torch.polar(magnitude, angles), torch.zeros((), dtype=torch.complex64)
    for _ in range(32):
        sound = torch.istft(spectrum, *sizes, length=samples)
        consistent = torch.stft(sound, *sizes, pad_mode="reflect", return_complex=True)
        spectrum = consistent - 0.99 / 1.99 * previous
        spectrum = magnitude * spectrum / spectrum.abs().clamp_min(1e-16)
        previous = consistent
    return torch.istft(spectrum, *sizes, length=samples)


if __name__ == "__main__":
    cli.run(main)
