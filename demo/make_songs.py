"""Make songs with known stems, and a prompt that is true of each.

    python demo/make_songs.py --num_songs 20 --output outputs/demo-songs
    python demo/make_songs.py --num_songs 12 --seconds 24 --mixtures_only --format ogg --output raw-audio

Recorded voices sing words over sampled instruments in eleven styles that take turns, mixed like records (docs/demo_songs.md).
A seed and a song's number fix it, whatever else is made. Songs lie in MUSDB's layout
(OUTPUT/SONG/{mixture,vocals,drums,bass,other}.wav), mixtures alone as OUTPUT/SONG.wav; OUTPUT/prompt_file.json holds the
prompts, OUTPUT/facts.json what is known of each song (gender, style, mood, mode, tempo, tonic). With --edit_prompts N
OUTPUT/edit_prompts.json holds N instructions a song that ask for its vocal, for preprocess_musdb.py. With --separated_share a
share of the songs has the accompaniment that Spleeter finds in them, as users' own songs will have it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from demo.instructions import instructions
from demo.separated import is_separated
from demo.song import Song
from demo.world.compose import compose
from riff import cli
from riff.audio.io import write_audio
from riff.files import write_json, write_text


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--num_songs", type=cli.whole(1), default=20, help="how many")
    parser.add_argument("--start_ind", type=cli.whole(0), default=0, help="number of the first one")
    parser.add_argument("--seconds", type=cli.times(above=0), default=24.0, help="length of a song")
    parser.add_argument("--output", type=Path, default=Path("outputs/demo-songs"), help="folder for the songs")
    parser.add_argument("--format", default="wav", choices=("wav", "flac", "ogg"), help="file format")
    parser.add_flag("mixtures_only", default=False, help="write the mixtures alone, without stems")
    parser.add_argument("--edit_prompts", type=cli.whole(0), default=0, metavar="N", help="instructions a song for the edit model")
    parser.add_argument("--separated_share", type=cli.real(0, 1), default=0.0, help="share of songs over a separated accompaniment")
    parser.add_argument("--num_workers", type=cli.PROCESSES, default=2, help="processes")
    parser.add_seed()
    parser.add_overwrite("songs that are there already")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    indices = range(args.start_ind, args.start_ind + args.num_songs)
    make = partial(make_song, args=args)
    with ProcessPoolExecutor(args.num_workers) as pool:
        facts = list(cli.progress_bar(pool.map(make, indices, chunksize=4), total=len(indices), desc="songs", unit="song"))
    suffix = args.format if args.mixtures_only else "wav"
    lines = [json.dumps({"file": f"{fact['name']}.{suffix}", "prompt": fact["prompt"]}) for fact in facts]
    write_text(args.output / "prompt_file.json", "\n".join(lines) + "\n")
    if args.edit_prompts:
        write_text(args.output / "edit_prompts.json", _edit_prompts(facts, args))
    write_json(args.output / "facts.json", {fact.pop("name"): fact for fact in facts})
    print(f"{len(indices)} songs in {args.output}")


def make_song(index: int, args: cli.argparse.Namespace) -> dict[str, str | float | int]:
    """Write one song; return what is known of it."""
    song = compose(args.seed, index, args.seconds)
    if is_separated(args.seed, index, args.separated_share):
        from demo.separated import with_separated_accompaniment

        song = with_separated_accompaniment(song)
    if args.mixtures_only:
        files = {args.output / f"{song.name}.{args.format}": song.mixture}
    else:
        files = {args.output / song.name / f"{stem}.{args.format}": wave for stem, wave in _layout(song).items()}
    for path, waveform in files.items():
        if args.overwrite or not path.exists():
            write_audio(path, waveform, song.sample_rate)
    return {"name": song.name, "prompt": song.prompt, **song.facts}


def _edit_prompts(facts: list[dict], args: cli.argparse.Namespace) -> str:
    lines = []
    for song in facts:
        for text in instructions(song, song["name"], args.edit_prompts, seed=args.seed):
            lines.append(json.dumps({"file": song["name"], "edit_prompt": text}) + "\n")
    return "".join(lines)


def _layout(song: Song) -> dict:
    return {"mixture": song.mixture, **song.stems}


if __name__ == "__main__":
    cli.run(main)
