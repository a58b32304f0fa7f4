"""Generate a new vocal over a song's accompaniment: spectrogram image, audio and a contact sheet.

    python sample_riff_cnet.py --audio raw-audio/rock-0001.ogg --prompt "Generate an uplifting male vocal rock melody"
    python sample_riff_cnet.py --control edges.png --prompt "Generate a sad female vocal pop melody" --num_samples 2

The song is separated, 5.11 s of its accompaniment become an edge map, and the model generates spectrograms that follow it.
OUTPUT gets accompaniment.{png,wav}, control.png, and for every sample sample-N.png, sample-N.wav and sheet-N.png, of a song also
its notes as vocal-N.mid and, with --melody, its tune as tune-N.mid. The same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli
from riff.devices import choose_device

FILES = (
    "accompaniment.*",
    "control.png",
    "sample-*.png",
    "sample-*.wav",
    "sheet-*.png",
    "vocal-*.mid",
    "tune*.mid",
)  # of the results


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.heading("model")
    add = parser.add_argument
    add("--model", default="models/riff-cnet-mini", help="folder, .ckpt or hub id of a control pipeline or a ControlNet")
    add("--base", help="base to use instead of the one that --model names")
    parser.heading("song")
    add("--audio", type=Path, help="song that gets a new vocal")
    add("--control", type=Path, help="edge map to follow, instead of a song")
    add("--start", type=cli.seconds, default=0.0, help="where in the song the clip begins: 32, 0:32 or 1:02:03.5")
    parser.add_separation(none="--audio is an accompaniment already")
    parser.heading("sampling")
    add("--prompt", default="Generate a vocal melody", help="description of the vocal")
    add("--negative_prompt", default="", help="what to avoid")
    add("--num_samples", type=cli.whole(1), default=4, help="number of samples")
    add("--steps", type=cli.DENOISING_STEPS, help="denoising steps (default: the model's recommendation, else 20)")
    add(
        "--guidance_scale",
        type=cli.GUIDANCE,
        help="classifier-free guidance, 1 is off (default: the model's recommendation, else 4)",
    )
    add("--strength", type=cli.GUIDANCE, help="of the ControlNet, 0 is none (default: the model's recommendation, else 1)")
    parser.add_flag("guess_mode", default=False, help="apply the control to the conditional prediction alone")
    parser.add_canny()
    parser.add_griffin_lim_iterations()
    parser.add_melody()
    parser.heading("results")
    add("--output", type=Path, default=Path("outputs/samples"), help="folder for the results")
    parser.add_device()
    parser.add_sampling_seed()
    parser.add_overwrite("existing results")
    args = parser.parse_args(argv)
    if (args.audio is None) == (args.control is None):
        parser.error("give one of --audio FILE and --control IMAGE")
    if args.control and args.melody not in (None, "none"):
        parser.error("argument --melody: a tune is mixed with its backing, which an edge map has not; give --audio, not --control")
    parser.check_canny(args)
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    inputs = (args.audio, args.control, args.model, args.base, args.stems_dir, args.melody)
    with cli.ResultFolder(args.output, "--output", FILES, inputs, args.overwrite).written() as folder:
        first = write_samples(args, folder)
    print(f"{args.num_samples} samples in {args.output}: listen to {args.output / first}")


def write_samples(args: cli.argparse.Namespace, folder: Path) -> str:
    """Write the results into `folder`, which becomes --output; returns the name of the first sample's audio."""
    from dataclasses import asdict

    from riff.audio.clips import check_clip

    if args.audio:
        check_clip(args.audio, args.start)  # before the imports that take seconds
    from riff.models.encoders import check_size
    from riff.models.loading import load_control_pipeline
    from riff.models.model_types import CONTROL, model_type_of
    from riff.sampling.clip import blank_control, control_from_audio, control_from_image, write_sample_files
    from riff.sampling.levels import match_level
    from riff.sampling.melody import TuneGuide, tune_of, write_tunes
    from riff.sampling.options import options_for
    from riff.sampling.pipelines import prepare_pipeline, sample_control
    from riff.sampling.song import SongModel, SongSampler, notes_of_vocal
    from riff.seeds import seed_after
    from riff.separation.separator import open_songs, separation_options
    from riff.spectrogram.params import CLIP_FRAMES

    device = choose_device(args.device, mps=True)
    model_type_of(args.model, CONTROL)  # this and the tune before the song is separated, which can take minutes
    tune = tune_of(args, args.model, args.start) if args.audio else None
    if tune:
        tune.check(CLIP_FRAMES, args.prompt)
    if args.audio:
        opener = open_songs(separation_options(args, device), [args.audio], warn=cli.warn)
        control = control_from_audio(args.audio, opener, args.start, args.canny_low, args.canny_high, device)
    else:
        control = control_from_image(args.control)
    blank = blank_control(control.edges)
    if blank:
        cli.warn(f"--audio {args.audio}: its accompaniment {blank}" if args.audio else f"--control {args.control}: {blank}")
    pipeline = prepare_pipeline(load_control_pipeline(args.model, args.base), device)
    height, width = control.edges.shape
    check_size(pipeline, height, width, f"--control {args.control}: an image")
    further = {"steps": args.steps, "guess_mode": args.guess_mode, "negative_prompt": args.negative_prompt}
    options = options_for(args.model, args.guidance_scale, args.strength, **further)
    seeds = [seed_after(args.seed, index) for index in range(args.num_samples)]
    backing, guide, guided, samples = control.accompaniment, None, None, []
    if tune and control.song and backing:
        guide = TuneGuide(tune, control.song, backing, "mix", args.prompt)
        guided = SongSampler(SongModel(pipeline, options, "mix"), backing, args.prompt, edges=control.edges, guide=guide)
    total = args.num_samples * (guided.num_steps if guided else options.steps)
    with cli.progress_bar(total=total, desc="sampling", unit="step") as progress:
        for seed in seeds:  # one at a time: a sample does not depend on --num_samples
            if guided:
                samples.append(guided.sample(seed, progress.update).pixels)
            else:
                inputs = ([control.edges], [args.prompt], [seed])
                samples += sample_control(pipeline, *inputs, options, on_step=lambda _: progress.update())
    audio = write_sample_files(folder, control, samples, args.prompt, args.griffin_lim_iterations)
    for index, (seed, pixels) in enumerate(zip(seeds, samples, strict=True)):
        if backing:
            write_tunes(folder, f"-{index}", guide, seed, notes_of_vocal(backing, match_level(pixels, backing)))
    cli.write_manifest(folder / "manifest.json", vars(args), sampling=asdict(options))
    return audio[0].name


if __name__ == "__main__":
    main()
