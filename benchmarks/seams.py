"""Can the windows be found again in a whole song? What changes at their borders, against clips glued end to end.

    python benchmarks/seams.py --num_songs 10 --seconds 60
    python benchmarks/seams.py --model models/riff-pix2pix-mini --num_songs 10 --seconds 60

Songs are synthesised (a catalogue that no model is trained on). Each is drawn twice over its accompaniment: in windows that are
denoised together, and as clips of 512 frames, each drawn alone and brought to its accompaniment's level, end to end. A figure is
how much more changes at borders than elsewhere (riff.evaluation.seams): 1 is no seam, but for the rhythm that the true mixes
have at the same places. `grid` is every 512 frames, `starts` is where a window begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from riff import cli

CATALOGUE = 4


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/riff-cnet-mini"), help="folder of a control or an edit model")
    add("--base", help="base to use instead of the one that --model names")
    add("--num_songs", type=int, default=10, help="how many songs")
    add("--seconds", type=float, default=60.0, help="length of a song; what is left over 512 frames is cut off")
    add("--steps", type=int, default=20, help="denoising steps")
    add("--overlap", type=float, default=0.5, help="share of a window that the next one covers as well")
    add("--output", type=Path, default=Path("benchmarks/results/seams.json"), help="where the figures go")
    parser.add_device()
    parser.add_seed()
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from tqdm import tqdm

    from demo.composition import compose
    from riff.errors import OptionError
    from riff.evaluation.seams import SeamCurves, border_ratio, seam_curves
    from riff.sampling.windows import WindowLayout
    from riff.spectrogram.params import CLIP_FRAMES, STANDARD

    frames = STANDARD.num_frames(round(args.seconds * STANDARD.sample_rate)) // CLIP_FRAMES * CLIP_FRAMES
    if frames < 2 * CLIP_FRAMES or args.num_songs < 1:
        raise OptionError(f"--num_songs {args.num_songs} --seconds {args.seconds}: give a song or more, of 10.3 s or more")
    layout = WindowLayout(overlap=args.overlap)
    paint, factor, sampling = load_painter(args, layout)
    borders = {"grid": range(CLIP_FRAMES, frames, CLIP_FRAMES), "starts": layout.starts(frames, factor)[1:]}
    curves: dict[str, list[SeamCurves]] = {"true mix": [], "windows": [], "glued clips": []}
    seconds = {"windows": 0.0, "glued clips": 0.0}
    for index in tqdm(range(args.num_songs), desc="songs", unit="song"):
        song = compose(CATALOGUE, index, args.seconds)
        backing = song.mixture - song.stems["vocals"]
        curves["true mix"].append(seam_curves(picture(song.mixture, 0, frames).pixels))
        for way, width in (("windows", frames), ("glued clips", CLIP_FRAMES)):
            began = time.perf_counter()
            pieces = [paint(picture(backing, start, width), song, args.seed + start) for start in range(0, frames, width)]
            curves[way].append(seam_curves(glued(pieces).pixels))
            seconds[way] += (time.perf_counter() - began) / args.num_songs
    results = {
        f"{way}, {name}": {
            measure: border_ratio([getattr(one, measure) for one in curves[way]], [borders[name]] * args.num_songs)
            for measure in SeamCurves._fields
        }
        for way, name in (
            ("true mix", "grid"),
            ("true mix", "starts"),
            ("windows", "grid"),
            ("windows", "starts"),
            ("glued clips", "grid"),
        )
    }
    print(f"{'':20}" + "".join(f"{measure:>10}" for measure in SeamCurves._fields))
    for name, ratios in results.items():
        print(f"{name:20}" + "".join(f"{ratio:10.2f}" for ratio in ratios.values()))
    print(f"seconds a song: {seconds['windows']:.0f} in windows, {seconds['glued clips']:.0f} in clips")
    cli.write_manifest(args.output, vars(args), sampling=sampling, frames=frames, results=results, seconds_a_song=seconds)


def picture(waveform: Any, start: int, frames: int) -> Any:
    """The picture of some frames of a song, against its own maximum."""
    import torch

    from riff.spectrogram.image import waveform_to_image
    from riff.spectrogram.params import STANDARD

    first = start * STANDARD.hop_length
    return waveform_to_image(torch.from_numpy(waveform[:, first : first + STANDARD.clip_samples(frames)]))


def glued(pieces: Sequence[Any]) -> Any:
    """Pictures end to end as one, each at its own level."""
    import torch

    from riff.spectrogram.image import image_to_mel, mel_to_image

    return mel_to_image(torch.cat([image_to_mel(piece) for piece in pieces], dim=1)) if len(pieces) > 1 else pieces[0]


def load_painter(args: cli.argparse.Namespace, layout: Any) -> tuple[Callable[[Any, Any, int], Any], int, dict[str, Any]]:
    """What paints a song's vocal over a picture of its accompaniment, the latents' factor, and how it is sampled."""
    from riff.files import read_mapping
    from riff.models.base import latent_factor

    whole = args.model / "model_index.json"
    kind = read_mapping(whole if whole.exists() else args.model / "config.json").get("_class_name", "")
    pipeline, paint, options = (control_painter if "ControlNet" in kind else edit_painter)(args, layout)
    return paint, latent_factor(pipeline), asdict(options)


def control_painter(args: cli.argparse.Namespace, layout: Any) -> tuple:
    from riff.models.control import load_control_pipeline
    from riff.sampling.control import match_level, options_for, prepare_pipeline
    from riff.sampling.window_models import ControlWindows
    from riff.sampling.windows import sample_windows
    from riff.spectrogram.edges import canny_edges

    pipeline = prepare_pipeline(load_control_pipeline(args.model, args.base), cli.choose_device(args.device))
    options = options_for(args.model, None, None, steps=args.steps)

    def paint(backing, song, seed):  # type: ignore[no-untyped-def]
        predictor = ControlWindows(pipeline, canny_edges(backing.pixels), song.prompt, options)
        return match_level(sample_windows(pipeline, predictor, backing.pixels.shape[1], seed, args.steps, layout), backing)

    return pipeline, paint, options


def edit_painter(args: cli.argparse.Namespace, layout: Any) -> tuple:
    from demo.instructions import HELD_OUT_TEMPLATES, instructions
    from riff.models.edit import load_edit_pipeline
    from riff.sampling.edit import edit_options_for, prepare_edit_pipeline
    from riff.sampling.edit_clip import edit_target, finish_edit
    from riff.sampling.window_models import EditWindows
    from riff.sampling.windows import sample_windows

    pipeline, target = (
        prepare_edit_pipeline(load_edit_pipeline(args.model, args.base), cli.choose_device(args.device)),
        edit_target(args.model),
    )
    options = edit_options_for(args.model, steps=args.steps)

    def paint(backing, song, seed):  # type: ignore[no-untyped-def]
        predictor = EditWindows(pipeline, backing.pixels, instructions(song.facts, song.name, 1, HELD_OUT_TEMPLATES)[0], options)
        pixels = sample_windows(pipeline, predictor, backing.pixels.shape[1], seed, args.steps, layout)
        return finish_edit(pixels, backing, target)

    return pipeline, paint, options


if __name__ == "__main__":
    cli.run(main)
