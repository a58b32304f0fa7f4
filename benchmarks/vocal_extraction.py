"""The vocal extracted from a spectrogram image in several ways, against the true vocal of synthesised songs.

    python benchmarks/vocal_extraction.py --num_songs 10

The image is the true one (`true`), or the true one through a model's autoencoder, which blurs as every sample of a model does
(`autoencoded`): of the mix, from which the vocal is extracted, or of the vocal alone. `vocal` is the mean difference to the true
vocal's image and `mix` that of accompaniment and vocal together to the true mix's (grey levels, lower is better); `log-mel`
is the same for the sounds, in dB. `SI-SDR` depends on phases, which an image does not hold; `rest` is the energy where nobody
sings relative to that where somebody does (dB). The rows marked * are what riff/sampling/rendering.py does. Also printed: the
loudness of the true vocals relative to their accompaniment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from riff import cli

CATALOGUE = 4
FIRST_SONG = 3  # the constants of riff/sampling/rendering.py were chosen on the three before
SECONDS = 12.0
FRAMES = 1_024  # of the song's middle: two images of a model's width
ROUNDS = (0, 16, 64)
MEASURES = {
    "vocal": "grey_levels",
    "log-mel": "log_mel_l1",
    "mix": "mix_grey_levels",
    "SI-SDR": "si_sdr",
    "rest": "rest_db",
    "s": "seconds",
}


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--num_songs", type=cli.whole(1), default=10, help="songs whose vocals are extracted")
    parser.add_argument("--loudness_songs", type=cli.whole(1), default=40, help="songs whose vocals' loudness is measured")
    parser.add_argument("--base", default="mini", help="base model whose autoencoder blurs")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/vocal_extraction.json"), help="where the figures go"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    import numpy as np
    import torch

    from riff.models.loading import load_base

    torch.set_num_threads(1)
    vae = load_base(args.base).vae
    rows: dict[str, dict[str, list]] = {}
    for index in range(args.num_songs):
        song = Song(FIRST_SONG + index, vae)
        for source in ("true", "autoencoded"):
            for way, extract in ways(song, source).items():
                began = time.process_time()
                sound = extract()
                seconds = time.process_time() - began
                rows.setdefault(source, {}).setdefault(way, []).append([*song.score(sound), seconds])
        print(f"song {index + 1} of {args.num_songs}", flush=True)
    results = {}
    for source, measured in rows.items():
        print(f"{source + ' images':48}" + "".join(f"{measure:>9}" for measure in MEASURES))
        results[source] = {
            way: dict(zip(MEASURES.values(), np.mean(row, axis=0).tolist(), strict=True)) for way, row in measured.items()
        }
        for way, row in results[source].items():
            print(f"{way:48}" + "".join(f"{value:9.2f}" for value in row.values()))
    loudness = vocal_loudness(args.loudness_songs)
    quartiles = f"quartiles {loudness['25 %']:.2f}, {loudness['75 %']:.2f}"
    print(f"true vocals over their accompaniment: {loudness['median']:.2f} LU ({quartiles})")
    cli.write_manifest(args.output, vars(args), results=results, vocal_loudness_lu=loudness)


class Song:
    """A song of which everything is known, in mono at 44.1 kHz.

    Attributes:
        vocal, backing: float32, shape (samples,).
        images: by source (true or autoencoded) and target, at their levels.
    """

    def __init__(self, index: int, vae: Any) -> None:
        import numpy as np
        import torch

        from demo.world.compose import compose
        from riff.models.encoders import through_autoencoder
        from riff.sampling.levels import match_level
        from riff.spectrogram.image import SpectrogramImage, waveform_to_image
        from riff.spectrogram.params import STANDARD

        def blurred(pixels: Any) -> Any:
            return np.concatenate([through_autoencoder(vae, half) for half in np.split(pixels, 2, axis=1)], axis=1)

        song = compose(CATALOGUE, index, SECONDS)
        first = STANDARD.sample_rate  # a second in
        part = slice(first, first + STANDARD.clip_samples(FRAMES))
        self.vocal, mix = (torch.from_numpy(wave[:, part].mean(axis=0)) for wave in (song.stems["vocals"], song.mixture))
        self.backing = mix - self.vocal
        self.vocal_image, self.mix_image = waveform_to_image(self.vocal), waveform_to_image(mix)
        self.images = {
            ("true", "mix"): self.mix_image,
            ("true", "vocals"): self.vocal_image,
            ("autoencoded", "mix"): match_level(blurred(self.mix_image.pixels), waveform_to_image(self.backing)),
            ("autoencoded", "vocals"): SpectrogramImage(blurred(self.vocal_image.pixels), self.vocal_image.max_value),
        }

    def score(self, sound: Any) -> list[float]:
        """The measures but the last."""
        import numpy as np

        from riff.metrics.images import grey_difference
        from riff.metrics.sounds import si_sdr
        from riff.metrics.spectra import log_mel_l1
        from riff.spectrogram.image import mel_to_image
        from riff.spectrogram.mel import waveform_to_mel
        from riff.spectrogram.params import STANDARD

        heard, true = waveform_to_mel(sound), waveform_to_mel(self.vocal)
        vocal = mel_to_image(heard, max_value=self.vocal_image.max_value)
        together = mel_to_image(waveform_to_mel(self.backing + sound), max_value=self.mix_image.max_value)
        energy, known = (mel.square().sum(dim=0).numpy() for mel in (heard, true))
        rest = energy[known < 1e-4 * known.max()].mean() / energy[known > 1e-2 * known.max()].mean()
        return [
            grey_difference(vocal.pixels, self.vocal_image.pixels),
            log_mel_l1(sound.numpy(), self.vocal[: len(sound)].numpy(), STANDARD.sample_rate),
            grey_difference(together.pixels, self.mix_image.pixels),
            si_sdr(sound.numpy(), self.vocal.numpy()),
            float(10 * np.log10(rest)),
        ]


def ways(song: Song, source: str) -> dict[str, Callable[[], Any]]:
    """name -> the vocal, float32 (samples,)."""
    import torch

    from riff.sampling.rendering import added_vocal, vocal_waveform
    from riff.spectrogram.image import image_to_mel
    from riff.spectrogram.mel import waveform_to_mel
    from riff.spectrogram.phase import mel_to_waveform

    mix, vocal = (image_to_mel(song.images[source, target]) for target in ("mix", "vocals"))
    backing = waveform_to_mel(song.backing)

    def kept(target: str, rounds: int) -> Any:
        image, accompaniment = song.images[source, target], song.backing.numpy()[None]
        return torch.from_numpy(vocal_waveform(image, accompaniment, image.params.sample_rate, target, rounds))

    def mix_phases(rounds: int) -> Any:
        started = mel_to_waveform(mix, iterations=rounds, start=song.backing, propagate=False)
        return mel_to_waveform(added_vocal(mix, backing), iterations=0, start=started)

    def alone(excess: Callable[[], Any], rounds: int, propagate: bool) -> Any:
        return mel_to_waveform(excess(), iterations=rounds, propagate=propagate)

    excesses = {
        "mix - backing": lambda: (mix - backing).clamp_min(0),
        "Wiener mask": lambda: mix * (1 - (backing / mix.clamp_min(1e-9)) ** 2).clamp_min(0),
        "mix^2 - backing^2": lambda: (mix**2 - backing**2).clamp_min(0).sqrt(),
        "mix^2 - 2 backing^2": lambda: (mix**2 - 2 * backing**2).clamp_min(0).sqrt(),
        "mix^2 - 2 neighbourhood^2": lambda: unsmoothed_excess(mix, backing),
    }
    found: dict[str, Callable[[], Any]] = {
        "mix: its sound less the backing's, 16": lambda: mel_to_waveform(mix, iterations=16, start=song.backing) - song.backing
    }
    found |= {f"mix: {name}, propagated, 16": partial(alone, excess, 16, True) for name, excess in excesses.items()}
    for rounds in ROUNDS:
        smoothed = partial(added_vocal, mix, backing)
        found[f"mix: the same smoothed, random phases, {rounds}"] = partial(alone, smoothed, rounds, False)
        found[f"mix: the same smoothed, propagated, {rounds}"] = partial(alone, smoothed, rounds, True)
        found[f"mix: smoothed, backing's phases, {rounds}"] = partial(mix_phases, rounds)
        found[f"mix: smoothed, backing's and propagated, {rounds} *"] = partial(kept, "mix", rounds)
        found[f"vocals: random phases, {rounds}"] = partial(alone, lambda: vocal, rounds, False)
        found[f"vocals: propagated, {rounds} *"] = partial(kept, "vocals", rounds)
    return found


def unsmoothed_excess(mix: Any, backing: Any) -> Any:
    import torch

    loudest = torch.nn.functional.max_pool2d(backing[None], 3, 1, 1)[0]
    return (mix**2 - 2 * loudest**2).clamp_min(0).sqrt()


def vocal_loudness(count: int) -> dict[str, float]:
    """LU of the true vocals over their accompaniment, where they sing: the median and the quartiles over the songs."""
    import numpy as np

    from demo.world.compose import compose
    from riff.audio.loudness import loudness_against

    measured = []
    for index in range(count):
        song = compose(CATALOGUE, index, SECONDS)
        vocal = song.stems["vocals"]
        measured.append(loudness_against(vocal, song.mixture - vocal, song.sample_rate))
    low, middle, high = np.quantile([value for value in measured if value is not None], [0.25, 0.5, 0.75])
    return {"25 %": float(low), "median": float(middle), "75 %": float(high)}


if __name__ == "__main__":
    cli.run(main)
