"""How often are the words of tools/label_songs.py right? On synthesised songs whose facts are known.

    python benchmarks/labels.py --num_songs 30

Every song is labelled as it is, and once more without its vocal. Confidences were chosen on catalogue 21; catalogue 22 checks
them. Nothing is trained on either.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli

CHOSEN_ON, CHECKED_ON = 21, 22


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--num_songs", type=cli.whole(1), default=30, help="songs of each of the two catalogues")
    parser.add_argument("--seconds", type=cli.real(3.1), default=15.0, help="length of a song")
    parser.add_argument(
        "--separator", default="spleeter", choices=("spleeter", "demucs", "repet"), help="what takes the songs apart"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/labels.json"), help="where the figures go")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    results = {}
    for catalogue in (CHOSEN_ON, CHECKED_ON):
        results[f"catalogue {catalogue}"] = counts = count_words(catalogue, args.num_songs, args.seconds, args.separator)
        print(f"catalogue {catalogue}, {args.num_songs} songs\n{'':24}{'sure':>8}{'right':>8}{'right of all':>14}")
        for kind, row in counts.items():
            print(f"{kind:24}{row['sure']:8}{row['right']:8}{row['right of all']:14}")
    cli.write_manifest(args.output, vars(args), results=results)


def count_words(catalogue: int, count: int, seconds: float, separator_name: str) -> dict[str, dict[str, int]]:
    """Kind of word -> how many of the songs' words are sure, how many of those are right, and how many are right at all."""
    import numpy as np

    from demo.world.compose import compose
    from demo.world.styles import MOODS
    from riff.separation.separator import SeparationOptions, create_separator
    from riff.tagging.label import FAST, SLOW, SURE, WORDS, listen

    separator = create_separator(SeparationOptions(separator_name))
    counts = {kind: {"sure": 0, "right": 0, "right of all": 0} for kind in (*WORDS, "voice, vocal left out")}
    moods = {
        word: {("major", True): "happy", ("minor", False): "sad"}.get(key, "") for key, words in MOODS.items() for word in words
    }
    for index in cli.progress_bar(range(count), desc=f"catalogue {catalogue}", unit="song"):
        song = compose(catalogue, index, seconds)
        facts = song.facts
        true = {
            "tempo": WORDS["tempo"][int(np.searchsorted((SLOW, FAST), float(facts["tempo"])))],
            "mood": moods[str(facts["mood"])],
            "voice": facts["gender"],
            "style": facts["style"],
        }
        for mix, truth in ((song.mixture, true), (song.mixture - song.stems["vocals"], {"voice": "none"})):
            stems = separator.separate(mix.astype(np.float32), song.sample_rate)
            for kind, word in listen(stems.vocals, stems.accompaniment, song.sample_rate).items():
                if kind not in truth:
                    continue
                row = counts[kind if truth is true else "voice, vocal left out"]
                row["sure"] += word.confidence >= SURE
                row["right"] += word.confidence >= SURE and word.word == truth[kind]
                row["right of all"] += word.word == truth[kind]
    return counts


if __name__ == "__main__":
    cli.run(main)
