"""Replace the vocal of a song of any length over its own untouched backing.

    python inpaint_song.py --audio raw-audio/rock-0001.ogg --prompt "an uplifting male vocal rock melody"
    python inpaint_song.py --audio song.wav --stems_dir stems --model models/riff-cnet-final --start 0:32 --end 0:48 --num_samples 3
    python inpaint_song.py --audio song.wav --model models/riff-cnet-mini --prompt "a sad female vocal" --best_of 4
    python inpaint_song.py --audio song.wav --melody hum.wav --melody_start 0:12
    python inpaint_song.py --audio song.wav --stream | ffplay -nodisp -autoexit -i -

The song is separated, a model generates the spectrogram of a new vocal in overlapping windows, and the vocal's waveform is added
to the accompaniment's own samples, at the song's sample rate, channels and bandwidth. OUTPUT gets accompaniment.wav, for every
take mix.wav, vocal.wav, vocal.mid with its notes and spectrogram.png (mix-SEED.wav and so on if there are several), with --melody
its tune as tune.mid, a copy of the song, index.html to listen and compare, and manifest.json with levels and times. mix =
accompaniment + vocal, to the bit, and none exceeds full scale: where the sum would, a limiter lowers the vocal alone. With --start
and --end only that part gets a new vocal. Outside it mix.wav and accompaniment.wav are the input, sample for sample, unless the
input exceeds full scale by itself; one gain then lowers the whole song.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from riff import cli
from riff.devices import choose_device

if TYPE_CHECKING:
    from riff.sampling.edit import ScoredTake
    from riff.sampling.melody import Tune
    from riff.sampling.mixback import Mix
    from riff.sampling.stream import Piece, SongStream

MOST_GAIN_DB = 100.0
FILES = (  # of the results
    *("original.*", "accompaniment.wav", "mix*.wav", "vocal*.wav", "vocal*.mid", "tune*.mid"),
    *("spectrogram*.png", "overview*.png", "index.html", "song.rpp"),
)


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    parser.heading("song")
    add("--audio", type=Path, required=True, help="song, any length")
    add(
        "--start",
        nargs="+",
        type=cli.seconds,
        default=[],
        help="beginning of each part to replace: 32, 0:32 or 1:02:03.5",
    )
    add("--end", nargs="+", type=cli.seconds, default=[], help="end of each part; as many as --start")
    parser.add_flag(
        "keep_original_vocal", default=True, help="outside --start and --end; without it that is the accompaniment alone"
    )
    add("--fade", type=cli.seconds, default=0.05, help="length of fade-in and fade-out of a part, inside its borders")
    parser.add_flag("loop", default=False, help="the song is a loop, whose end is to join its beginning with the new vocal too")
    parser.add_separation(none="--audio is the backing already")
    parser.heading("model")
    add(
        "--model",
        default="models/riff-pix2pix-mini",
        help="folder, .ckpt or hub id of a control or edit pipeline, or of its trained part",
    )
    add("--base", help="base to use instead of the one that --model names")
    parser.heading("sampling")
    add("--prompt", help="description of the vocal, or for an edit model the instruction (default: a vocal melody)")
    add("--negative_prompt", default="", help="what to avoid")
    add("--num_samples", type=cli.whole(1), default=1, help="number of takes, of consecutive seeds from --seed")
    add("--best_of", type=cli.whole(1), default=1, help="candidates for each take; the best by score is kept")
    add("--steps", type=cli.DENOISING_STEPS, help="denoising steps (default: the model's recommendation, else 20)")
    add(
        "--guidance_scale",
        type=cli.GUIDANCE,
        help="guidance by the prompt (default: the model's recommendation, else 4; edit models: 7.5)",
    )
    add("--strength", type=cli.GUIDANCE, help="of the ControlNet (default: the model's recommendation, else 1)")
    add(
        "--image_guidance_scale",
        type=cli.GUIDANCE,
        help="edit models: guidance by the image (default: the model's recommendation, else 1.5)",
    )
    parser.add_canny()
    overlap = "share of a window that the next one covers as well (default: 0.5, with --stream 0.25)"
    add("--overlap", type=cli.real(0, below=1), help=overlap)
    add(
        "--window_batch_size",
        type=cli.whole(1),
        help="windows a forward pass (default: 1 on a CPU, 8 on CUDA); does not change results",
    )
    parser.add_melody()
    parser.heading("sound")
    loudness = "of the vocal in dB; auto sets its loudness relative to the backing (ITU-R BS.1770)"
    add(
        "--gain",
        "--gain_db",
        dest="gain_db",
        type=cli.real(-MOST_GAIN_DB, MOST_GAIN_DB, auto=None),
        default="auto",
        metavar="auto|DB",
        help=loudness,
    )
    parser.add_flag("stereo", default=False, help="a wide vocal; its mono sum stays as it is without")
    parser.add_griffin_lim_iterations()
    add(
        "--subtype",
        default="FLOAT",
        choices=("FLOAT", "PCM_24"),
        help="samples of the WAV files; either way accompaniment and vocal add up to the mix, to the bit",
    )
    parser.heading("results")
    add("--output", type=Path, default=Path("outputs/song"), help="folder for the results")
    parser.add_flag("stream", default=False, help="play while generating: the mix as a WAV file on stdout, for a player to read")
    parser.add_flag("reaper", default=False, help="a REAPER project too, with song, accompaniment and the takes' vocals as tracks")
    parser.add_device()
    parser.add_sampling_seed()
    parser.add_overwrite("existing results")
    args = parser.parse_args(argv)
    parser.check_canny(args)
    if len(args.start) != len(args.end):
        parser.error(f"--start has {len(args.start)} times and --end {len(args.end)}; give as many of each")
    if args.loop and args.start:
        parser.error("--loop gives the whole loop a new vocal; leave --start and --end out")
    if args.stream and (args.start or args.loop or max(args.num_samples, args.best_of) > 1):
        parser.error("--stream makes one take of the whole song; leave --start, --end, --loop, --num_samples and --best_of out")
    if args.stream and sys.stdout.isatty():
        parser.error("--stream writes sound to stdout; let a player read it, as in: ... --stream | ffplay -nodisp -autoexit -i -")
    if args.overlap is None:
        args.overlap = 0.25 if args.stream else 0.5
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    inputs = (args.audio, args.model, args.base, args.stems_dir, args.melody)
    with cli.stdout_for_player() as play:
        with cli.ResultFolder(args.output, "--output", FILES, inputs, args.overwrite).written() as folder:
            check_song(args)
            summary = replace_vocal(args, folder, play)
        print(f"{args.output / 'index.html'}: {summary}", file=sys.stderr if args.stream else sys.stdout)


def check_song(args: cli.argparse.Namespace) -> None:
    """Refuse a song or times that cannot be used before the imports, which take seconds."""
    from riff.audio.clips import check_regions
    from riff.audio.io import check_duration

    check_duration(args.audio, lambda duration_s: check_regions([*zip(args.start, args.end, strict=True)], duration_s))


def replace_vocal(args: cli.argparse.Namespace, folder: Path, play: Callable[[bytes], None]) -> str:
    """Write the results into `folder`, which becomes --output, and a stream's mix to `play`; returns a summary line."""
    clock = cli.Stopwatch()  # loading includes the imports
    import math
    import shutil
    from dataclasses import asdict

    from riff.audio.clips import check_regions
    from riff.audio.io import write_audio
    from riff.audio.notes import FRAMES_A_SECOND
    from riff.report.reaper import write_project
    from riff.report.song_page import lowered_line, save_take_files, write_song_page
    from riff.sampling.melody import TuneGuide, tune_of, write_tunes
    from riff.sampling.mixback import VOCAL_LU, original_vocal_lu
    from riff.sampling.rendering import backing_image, in_frames, known_image, render_mix
    from riff.sampling.song import SongSampler, generate_take, load_song_model, notes_of_vocal
    from riff.sampling.stream import SongStream
    from riff.sampling.windows import WindowLayout
    from riff.seeds import seed_after
    from riff.separation.separator import open_songs, separation_options
    from riff.separation.song import open_song

    device = choose_device(args.device, mps=True)
    further = {"steps": args.steps, "negative_prompt": args.negative_prompt}
    canny = (args.canny_low, args.canny_high)
    model = load_song_model(
        args.model, args.base, device, args.guidance_scale, args.strength, args.image_guidance_scale, canny, **further
    )
    layout = WindowLayout(overlap=args.overlap, batch_size=args.window_batch_size)
    prompt, tune = model.prompt_for(args.prompt), tune_of(args, args.model)
    clock.lap("loading")
    opener = open_songs(separation_options(args, device), [args.audio], warn=cli.warn)
    regions = list(zip(args.start, args.end, strict=True))

    def check(duration_s: float) -> None:
        check_regions(regions, duration_s)
        if tune:
            tune.check(round(duration_s * FRAMES_A_SECOND), prompt)

    song = open_song(args.audio, opener, check=check)
    regions = check_regions(regions, song.duration_s)
    original_lu = original_vocal_lu(song.vocals, song.accompaniment, song.sample_rate)
    if original_lu is None and opener.name not in ("none", "stems"):
        cli.warn(f"{args.audio}: no voice was found in it; of a backing --separator none keeps everything")
    clock.lap("separation")
    backing = backing_image(song, device)
    known = known_image(song, backing, model.target, args.keep_original_vocal, device) if regions else None
    guide = TuneGuide(tune, song, backing, model.target, prompt) if tune else None
    vocal_lu = VOCAL_LU if original_lu is None else original_lu
    sound = {"iterations": args.griffin_lim_iterations, "vocal_lu": vocal_lu, "stereo": args.stereo}
    takes: list[ScoredTake] = []
    mixes: Iterable[Mix]
    if args.stream:
        clock.lap("images")
        stream = SongStream(model, song, backing, prompt, args.seed, guide, args.overlap, args.gain_db, **sound)
        take, mix = play_stream(stream, song.sample_rate, song.accompaniment.shape, play, clock)
        takes, mixes = [take], [mix]
    else:
        period = song.duration_s * 1000 / backing.params.step_size_ms if args.loop else None
        sampler = SongSampler(model, backing, prompt, known, in_frames(regions, backing), layout, guide=guide, period=period)
        clock.lap("images")
        with cli.progress_bar(total=args.num_samples * args.best_of * sampler.num_steps, desc="sampling", unit="step") as progress:
            for number in range(args.num_samples):
                takes.append(generate_take(sampler, seed_after(args.seed, number), args.best_of, progress.update))
        clock.lap("sampling")
        sound |= {"fade_s": args.fade, "keep_original_vocal": args.keep_original_vocal, "loop": args.loop}
        mixes = (render_mix(song, take.output, model.target, regions, args.gain_db, **sound) for take in takes)
    for take in takes:
        if take.verdict.shortcoming:
            cli.warn(f"seed {take.seed}: {take.verdict.shortcoming}; {advice(tune)}")
    rendered = []
    finished = zip(takes, mixes, strict=True)
    for number, (take, mix) in enumerate(cli.progress_bar(finished, total=len(takes), desc="sound", unit="take")):
        if args.subtype == "PCM_24":
            mix = mix.in_24_bits()
        if number == 0:  # the same for all takes
            write_audio(folder / "accompaniment.wav", mix.accompaniment, mix.sample_rate, args.subtype)
        ending = f"-{seed_after(args.seed, number)}" if args.num_samples > 1 else ""
        midi = write_tunes(folder, ending, guide, take.seed, notes_of_vocal(backing, take.after))
        contour = guide.tune(take.seed).contour if guide else None
        rendered.append(save_take_files(folder, ending, take, mix, args.subtype, midi, contour))
    clock.lap("sound")
    original = folder / f"original{args.audio.suffix.lower()}"
    shutil.copyfile(args.audio, original)
    if args.reaper:
        tracks = {args.audio.stem: Path(original.name), "accompaniment": Path("accompaniment.wav")}
        tracks |= {take.sounds["vocal"].stem: Path(take.sounds["vocal"].name) for take in rendered}
        tunes = sorted(path.name for path in folder.glob("*.mid"))
        write_project(folder / "song.rpp", tracks, tunes, song.duration_s, mix.sample_rate)
    write_song_page(folder, args.audio.name, original, prompt, rendered, clock.laps, song.duration_s, mix.song_gain_db)
    cli.write_manifest(
        folder / "manifest.json",
        vars(args),
        prompt=prompt,
        separator=opener.name,
        residue_db=song.residue_db if math.isfinite(song.residue_db) else None,  # JSON has no infinity
        sampling=asdict(model.options) | {"target": model.target},
        seconds=clock.laps,
        real_time_factor=sum(clock.laps.values()) / song.duration_s,
        vocal_lu=vocal_lu,
        song_gain_db=mix.song_gain_db,
        takes=[take.to_json() for take in rendered],
    )
    limited = min(take.limited_db for take in rendered)
    quieter = (
        f"; the vocal is limited by up to {-limited:.0f} dB where the accompaniment is near full scale" if limited < -3 else ""
    )
    lowered = f"; {lowered_line(mix.song_gain_db)}" if mix.song_gain_db < 0 else ""
    return f"{song.duration_s:.1f} s in {sum(clock.laps.values()):.0f} s{quieter}{lowered}"


def advice(tune: Tune | None) -> str:
    """What may help a take that falls short, given the tune that it was made with."""
    if tune is None:
        return "try --best_of, another --seed or --melody compose"
    snapped = tune.source == "compose" or tune.snap != "none"
    return "try --best_of or another --seed" if snapped else "try --best_of, another --seed or --melody_snap both"


def play_stream(
    stream: SongStream, rate: int, shape: tuple[int, int], play: Callable[[bytes], None], clock: cli.Stopwatch
) -> tuple[ScoredTake, Mix]:
    """Generate a song of this rate and shape (channels, samples) while its pieces go to a player as one WAV file."""
    from riff.audio.io import wav_header
    from riff.sampling.stream import joined

    play(wav_header(rate, *shape))
    pieces: list[Piece] = []
    for piece in cli.progress_bar(stream, desc="stream", unit="piece"):
        play(piece.mix.mix.T.astype("<f4").tobytes())
        clock.lap("stream" if pieces else "first sound")
        pieces.append(piece)
    return stream.take(), joined(pieces)


if __name__ == "__main__":
    main()
