"""Turn a folder of songs into training pairs: edges of the accompaniment, spectrogram of the mix, prompt.

    python make_cnet_dataset.py --audio_dir raw-audio/ --output train-data-full/ --prompt_file prompt_file.json

Every song is separated into vocals and accompaniment (or read from --stems_dir), cut into 5.11 s clips, shifted in pitch
by -3 to 3 semitones, and written as PNGs with one line per pair in prompt.json. One call processes any number of songs;
the same command resumes an interrupted run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli
from riff.cli.errors import named_flag
from riff.devices import choose_device
from riff.errors import ExistsError, OptionError, SettingError


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.heading("songs and results")
    parser.add_argument(
        "--audio_dir", type=Path, default=Path("raw-audio"), help="folder of songs, or of MUSDB18, as SONG/ or SONG.stem.mp4"
    )
    parser.add_argument("--output", "--train_data_dir", type=Path, default=Path("train-data-full"), help="folder for the pairs")
    parser.add_argument("--prompt_file", type=Path, default=Path("prompt_file.json"), help="each song's prompt; auto: by listening")
    parser.add_argument("--limit", type=cli.whole(1), help="process at most this many songs (default: all)")
    parser.add_argument("--start_ind", type=cli.whole(0), default=0, help="skip this many songs, in order of name")
    parser.add_separation()
    parser.heading("pairs")
    parser.add_flag("pitch_augment", default=True, help="also make every pair at -3 to 3 semitones")
    parser.add_pitch_method()
    parser.add_argument(
        "--min_vocal_ratio", type=cli.real(0), default=0.1, help="drop clips whose vocal is below this share of the RMS"
    )
    parser.add_canny()
    parser.add_workers()
    parser.add_overwrite("the existing pairs")
    args = parser.parse_args(argv)
    parser.check_canny(args)
    return args


@cli.command
@named_flag("--", SettingError)
@named_flag("--output ", ExistsError, "; use the same settings, another folder, or --overwrite")
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from dataclasses import asdict
    from functools import partial

    from riff.data.pair_types import MANIFEST
    from riff.data.records import CONTROL_PAIRS, DEFAULT_PROMPT, read_prompts
    from riff.pairs.build import Build
    from riff.pairs.control_pairs import PairMaker, PairSettings
    from riff.pairs.engines import choose_engine
    from riff.pairs.output import OutputFolder
    from riff.pairs.songs import list_songs, names_without_song, shard_of_songs
    from riff.separation.separator import open_songs, separation_options
    from riff.tagging.label import AUTO, auto_prompts

    with named_flag("--audio_dir "):
        all_songs = list_songs(args.audio_dir)
    last = None if args.limit is None else args.start_ind + args.limit
    songs, shard = shard_of_songs(all_songs[args.start_ind : last], args.shard_index, args.num_shards)
    if not songs and not shard:
        raise OptionError(f"--start_ind {args.start_ind}: {args.audio_dir} holds only {len(all_songs)} songs")
    is_auto = str(args.prompt_file) == AUTO
    prompts = {} if is_auto else read_prompts(args.prompt_file)
    if warning := names_without_song(args.prompt_file, prompts, all_songs):
        cli.warn(warning)
    device = choose_device(args.device)
    settings = PairSettings(args.pitch_augment, args.min_vocal_ratio, args.canny_low, args.canny_high, args.pitch_method)
    opener = open_songs(separation_options(args, device), [song.path for song in songs], cli.warn)
    described = {**asdict(settings), "separator": opener.name}
    folder = OutputFolder(args.output / shard, CONTROL_PAIRS)
    maker = PairMaker(settings, opener, device)
    engine = choose_engine(args.engine, args.num_workers, args.ray_address, device, len(songs))
    none_left = "no clip has enough vocal; no pairs (lower --min_vocal_ratio to keep them)"
    with folder.prepared(described, args.overwrite):
        cli.write_manifest(folder.path / MANIFEST, vars(args), settings=described)
        if is_auto:
            unlabelled = {song.name: partial(opener.open, song.path, song.plain_name) for song in songs}
            prompts = auto_prompts(unlabelled, folder.path, "control", cli.warn)
        report = Build(songs, all_songs, prompts, DEFAULT_PROMPT, folder, maker, none_left, engine=engine, warn=cli.warn).run()
    print(
        f"{report.pairs} pairs in {folder.path}: {report.made} songs made now, {report.skipped} done before, "
        f"{report.dropped_clips} clips without a vocal dropped, {report.failed} songs failed"
    )
    return cli.EXIT_FAILURE if report.failed else 0


if __name__ == "__main__":
    main()
