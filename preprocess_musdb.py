"""Turn songs with stems into training pairs for the edit model: "add a vocal melody", before and after.

    python preprocess_musdb.py --audio_dir musdb18/train --output musdb-pix2pix/train --pitch_augment

Songs lie as SONG/{mixture,drums,bass,other,vocals}.wav (MUSDB18-HQ) or as SONG.stem.mp4 (MUSDB18), in the folder itself or in
its train/ and test/. The input image shows all stems but --gen_stem. The edited image shows that stem alone, whose sound is
added to the untouched input after sampling, or with --target mix all stems. metadata.jsonl holds one line per pair; the same
command resumes an interrupted run.

--with_removal, with --target mix, adds the reverse of every pair ("remove the vocals"). --with_noop adds, for one in four clips
at random, a pair that changes nothing: its instruction is to leave the music as it is, or to remove what is not there.
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
    add = parser.add_argument
    parser.heading("songs and results")
    add("--audio_dir", type=Path, required=True, help="folder of MUSDB18 or of songs like its")
    add("--output", type=Path, default=Path("musdb-pix2pix/train"), help="folder for the pairs")
    parser.heading("edits")
    add("--gen_stem", default="vocals", help="the stem that the edit adds: vocals, drums, bass or other")
    add("--target", help="what the edited image shows: the name of --gen_stem for it alone, or mix (default: --gen_stem)")
    parser.add_flag("with_removal", default=False, help="also make pairs that remove the stem")
    parser.add_flag("with_noop", default=False, help="also make pairs that change nothing")
    add(
        "--prompt_file",
        type=Path,
        help='one {"file": "Artist - Title", "edit_prompt": "..."} per line; a song may have several; auto: by listening',
    )
    parser.heading("clips")
    add("--frame_overlap", type=cli.real(0, below=1), default=0.0, help="share of a clip that the next one repeats")
    add("--frame_len_seconds", type=cli.times(above=0), default=5.11, help="length of a clip; a multiple of 0.64 s, less 0.01 s")
    add(
        "--frame_min_power_prop",
        type=cli.real(0),
        default=0.4,
        help="use a clip when the stem's power in it is at least this share of the stem's power where it plays",
    )
    parser.add_flag("pitch_augment", default=False, help="also make every pair at -3 to 3 semitones")
    parser.add_pitch_method()
    add("--max_examples", type=cli.whole(1), help="stop after this many pairs (default: no limit)")
    parser.add_flag("save_wav", default=False, help="also write the clips' sound, as wav/CLIP_{input,edited}.wav")
    parser.add_workers()
    parser.add_seed()
    parser.add_overwrite("the existing pairs")
    args = parser.parse_args(argv)
    args.target = args.target or args.gen_stem
    return args


@cli.command
@named_flag("--", SettingError)
@named_flag("--output ", ExistsError, "; use the same settings, another folder, or --overwrite")
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from dataclasses import asdict, fields
    from functools import partial

    from riff.data.pair_types import MANIFEST
    from riff.data.records import EDIT_PAIRS
    from riff.pairs.build import Build
    from riff.pairs.edit_pairs import EditPairMaker, EditSettings, write_shared
    from riff.pairs.engines import choose_engine
    from riff.pairs.instructions import DEFAULT_INSTRUCTIONS, read_edit_prompts
    from riff.pairs.output import OutputFolder
    from riff.pairs.songs import list_stem_songs, names_without_song, shard_of_songs
    from riff.separation.stems import VOCALS, read_stems
    from riff.tagging.label import AUTO, auto_prompts

    settings = EditSettings(**{field.name: getattr(args, field.name) for field in fields(EditSettings)})
    with named_flag("--audio_dir "):
        all_songs = list_stem_songs(args.audio_dir)
    if {song.path.parent for song in all_songs} >= {args.audio_dir / "train", args.audio_dir / "test"}:
        cli.warn(f"{args.audio_dir}: takes songs of train and test; for the training songs alone give {args.audio_dir / 'train'}")
    is_auto = str(args.prompt_file) == AUTO
    if is_auto and args.gen_stem != VOCALS:
        raise OptionError(f"--prompt_file auto describes vocals, and --gen_stem is {args.gen_stem}; give a file of instructions")
    default = [DEFAULT_INSTRUCTIONS[args.gen_stem]]
    if args.prompt_file is None:
        cli.warn(f"no --prompt_file: the instruction of every song is {default[0]!r}")
        prompts = {song.name: default for song in all_songs}
    elif is_auto:
        prompts = {}
    else:
        prompts = read_edit_prompts(args.prompt_file)
        if warning := names_without_song(args.prompt_file, prompts, all_songs):
            cli.warn(warning)
    device = choose_device(args.device)
    songs, shard = shard_of_songs(all_songs, args.shard_index, args.num_shards)
    folder = OutputFolder(args.output / shard, EDIT_PAIRS)
    maker = EditPairMaker(settings, device)
    engine = choose_engine(args.engine, args.num_workers, args.ray_address, device, len(songs))
    none_left = f"no clip has enough {settings.gen_stem}; no pairs (lower --frame_min_power_prop to keep more)"
    with folder.prepared(asdict(settings), args.overwrite):
        cli.write_manifest(folder.path / MANIFEST, vars(args), settings=asdict(settings))
        write_shared(folder.path, settings)
        if is_auto:
            unlabelled = {song.name: partial(read_stems, song.path) for song in songs}
            prompts = {song: [prompt] for song, prompt in auto_prompts(unlabelled, folder.path, "edit", cli.warn).items()}
        options = {"max_pairs": args.max_examples, "engine": engine, "warn": cli.warn}
        report = Build(songs, all_songs, prompts, default, folder, maker, none_left, **options).run()
    left_out = f"{report.left_out} left out for --max_examples, " if args.max_examples else ""
    print(
        f"{report.pairs} pairs in {folder.path}: {report.made} songs made now, {report.skipped} done before, {left_out}"
        f"{report.dropped_clips} clips with too little {args.gen_stem} dropped, {report.failed} songs failed"
    )
    return cli.EXIT_FAILURE if report.failed else 0


if __name__ == "__main__":
    main()
