"""Can the windows be found again in a whole song? What changes at their borders, against clips glued end to end.

    python benchmarks/seams.py --num_songs 10 --seconds 60
    python benchmarks/seams.py --model models/riff-pix2pix-mini --num_songs 10 --seconds 60

Songs are synthesised (a catalogue that no model is trained on). Each is sampled twice over its accompaniment: in windows that are
denoised together, and as clips of 512 frames, each sampled alone and brought to its accompaniment's level, end to end. A figure is
how much more changes at borders than elsewhere (riff.metrics.seams): 1 is no seam, but for the rhythm that the true mixes
have at the same places. `grid` is every 512 frames, `starts` is where a window begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from riff import cli
from riff.devices import choose_device

CATALOGUE = 4
AddVocal = Callable[[Any, Any, int], Any]  # an accompaniment's image, its song, and a seed -> the image with a vocal


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--model", default="models/riff-cnet-mini", help="folder or hub id of a control or an edit model")
    add("--base", help="base to use instead of the one that --model names")
    add("--num_songs", type=cli.whole(1), default=10, help="how many songs")
    add("--seconds", type=cli.real(above=0), default=60.0, help="length of a song; what is left over 512 frames is cut off")
    add("--steps", type=cli.DENOISING_STEPS, help="denoising steps (default: the model's recommendation, else 20)")
    add("--overlap", type=cli.real(0, below=1), default=0.5, help="share of a window that the next one covers as well")
    add("--output", type=Path, default=Path("benchmarks/results/seams.json"), help="where the figures go")
    parser.add_device()
    parser.add_seed()
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from riff.errors import OptionError
    from riff.sampling.windows import WindowLayout
    from riff.spectrogram.params import CLIP_FRAMES, STANDARD

    frames = STANDARD.num_frames(round(args.seconds * STANDARD.sample_rate)) // CLIP_FRAMES * CLIP_FRAMES
    if frames < 2 * CLIP_FRAMES:
        raise OptionError(f"--seconds {args.seconds}: give 10.3 or more")
    layout = WindowLayout(overlap=args.overlap)
    add_vocal, factor, sampling = load_painter(args, layout)
    curves, seconds = draw_and_measure(args, frames, add_vocal)
    grid, starts = range(CLIP_FRAMES, frames, CLIP_FRAMES), layout.starts(frames, factor)[1:]
    results = {
        "true mix, grid": ratios(curves["true mix"], grid),
        "true mix, starts": ratios(curves["true mix"], starts),
        "windows, grid": ratios(curves["windows"], grid),
        "windows, starts": ratios(curves["windows"], starts),
        "glued clips, grid": ratios(curves["glued clips"], grid),
    }
    print(f"{'':18}" + "".join(f"{measure:>10}" for measure in results["true mix, grid"]))
    for name, found in results.items():
        print(f"{name:18}" + "".join(f"{one['ratio']:10.2f}" for one in found.values()))
    print(f"seconds a song: {seconds['windows']:.0f} in windows, {seconds['glued clips']:.0f} in clips")
    cli.write_manifest(args.output, vars(args), sampling=sampling, frames=frames, results=results, seconds_a_song=seconds)


def draw_and_measure(args: cli.argparse.Namespace, frames: int, add_vocal: AddVocal) -> tuple[dict[str, list], dict[str, float]]:
    """The `SeamCurves` of every song by the way in which it was sampled, and the seconds that a song took."""
    from demo.world.compose import compose
    from riff.metrics.seams import seam_curves
    from riff.spectrogram.params import CLIP_FRAMES

    ways = {"windows": frames, "glued clips": CLIP_FRAMES}
    curves: dict[str, list] = {"true mix": [], **{way: [] for way in ways}}
    seconds = dict.fromkeys(ways, 0.0)
    for index in cli.progress_bar(range(args.num_songs), desc="songs", unit="song"):
        song = compose(CATALOGUE, index, args.seconds)
        backing = song.mixture - song.stems["vocals"]
        curves["true mix"].append(seam_curves(image_of(song.mixture, 0, frames).pixels))
        for way, width in ways.items():
            began = time.perf_counter()
            pieces = [add_vocal(image_of(backing, start, width), song, args.seed + start) for start in range(0, frames, width)]
            curves[way].append(seam_curves(glued(pieces).pixels))
            seconds[way] += (time.perf_counter() - began) / args.num_songs
    return curves, seconds


def ratios(curves: Sequence[Any], borders: Sequence[int]) -> dict[str, dict[str, Any]]:
    """By measure: the change at borders over the change elsewhere, of all songs together and of each."""
    from riff.metrics.seams import SeamCurves, border_ratio

    found = {}
    for measure in SeamCurves._fields:
        of_songs = [getattr(one, measure) for one in curves]
        by_song = [border_ratio([curve], [borders]) for curve in of_songs]
        found[measure] = {"ratio": border_ratio(of_songs, [borders] * len(of_songs)), "by_song": by_song}
    return found


def image_of(waveform: Any, start: int, frames: int) -> Any:
    """The image of some frames of a song, against its own maximum."""
    import torch

    from riff.spectrogram.image import waveform_to_image
    from riff.spectrogram.params import STANDARD

    first = start * STANDARD.hop_length
    return waveform_to_image(torch.from_numpy(waveform[:, first : first + STANDARD.clip_samples(frames)]))


def glued(pieces: Sequence[Any]) -> Any:
    """Spectrogram images end to end as one, each at its own level."""
    import torch

    from riff.spectrogram.image import image_to_mel, mel_to_image

    return mel_to_image(torch.cat([image_to_mel(piece) for piece in pieces], dim=1))


def load_painter(args: cli.argparse.Namespace, layout: Any) -> tuple[AddVocal, int, dict[str, Any]]:
    """What paints, its frames a latent column, and how it samples."""
    from demo.instructions import HELD_OUT_TEMPLATES, instructions
    from riff.models.encoders import latent_factor
    from riff.sampling.levels import mix_image
    from riff.sampling.song import SongSampler, load_song_model

    model = load_song_model(args.model, args.base, choose_device(args.device), steps=args.steps)

    def add_vocal(backing, song, seed):  # type: ignore[no-untyped-def]
        prompt = song.prompt if model.follows_edges else instructions(song.facts, song.name, 1, HELD_OUT_TEMPLATES)[0]
        painter = SongSampler(model, backing, prompt, layout=layout)
        return mix_image(painter.sample(seed), backing, model.target)

    return add_vocal, latent_factor(model.pipeline), asdict(model.options)


if __name__ == "__main__":
    cli.run(main)
