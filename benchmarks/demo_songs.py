"""What a music tagger hears in the demo songs, and in real songs: singers, genders, styles.

    python benchmarks/demo_songs.py --num_songs 44 --real FOLDER

The tagger is musicnn (Pons and Serra, 2019), which knows nothing of this project. A voice is heard if a vocal tag of the mix is
at least twice that of the backing alone; the gender is right if the highest female or male tag of the vocal stem is of the
singer's. A style is heard if its tag rises above the tag's mean over the songs of other styles, and heard first if it is the
highest of the eight styles' tags; reggae, latin and ballad have no tag. FOLDER holds songs in any format; their vocals are
separated by Spleeter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riff import cli

CATALOGUE = 4  # that no model is measured on
SECONDS = 12.5
STYLE_TAGS = {
    **{style: (style,) for style in ("pop", "rock", "electronic", "metal", "folk", "funk", "jazz")},
    "hip hop": ("Hip-Hop",),
}


@dataclass(frozen=True)
class Heard:
    """Highest tag of each group: of the vocal stem, the mix and the backing; tags: of the mix, both networks' (the higher one)."""

    style: str
    gender: str
    female: float
    male: float
    vocal_stem: float
    guitar_in_vocal: float
    vocal_in_mix: float
    vocal_in_backing: float
    tags: dict[str, float]


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--num_songs", type=cli.whole(1), default=44, help="demo songs")
    parser.add_argument("--real", type=Path, help="folder of real songs to set beside")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/demo_songs.json"), help="where the figures go")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from demo.world.compose import compose

    songs = (compose(CATALOGUE, index, SECONDS) for index in range(args.num_songs))
    heard = [
        listen(song.stems["vocals"], song.mixture - song.stems["vocals"], song.sample_rate, song.facts)
        for song in cli.progress_bar(songs, total=args.num_songs, desc="songs", unit="song")
    ]
    results = {"demo songs": summarise(heard)}
    if args.real:
        results["real"] = summarise([listen(*stems, {}) for stems in real_songs(args.real)])
    for row in [row for row in results["demo songs"] if row != "styles heard, each"]:
        print(f"{row:34}", *(f"{result.get(row, '-'):>9}" for result in results.values()))
    print("styles heard:", *(f"{name} {result['styles heard, each']}" for name, result in results.items()), sep="\n")
    cli.write_manifest(args.output, vars(args), results=results)


def listen(vocals: np.ndarray, backing: np.ndarray, rate: int, facts: dict) -> Heard:
    from riff.tagging.tags import FEMALE, MALE, SINGING, tag

    alone, mix, without = (tag(wave, rate) for wave in (vocals, vocals + backing, backing))
    both = {name: max(mix.mtt.get(name, 0.0), mix.msd.get(name, 0.0)) for name in {**mix.mtt, **mix.msd}}
    voice = SINGING + FEMALE + MALE
    return Heard(
        style=str(facts.get("style", "")),
        gender=str(facts.get("gender", "")),
        female=_highest(alone.mtt, FEMALE),
        male=_highest(alone.mtt, MALE),
        vocal_stem=_highest(alone.mtt, voice),
        guitar_in_vocal=alone.mtt["guitar"],
        vocal_in_mix=_highest(mix.mtt, voice),
        vocal_in_backing=_highest(without.mtt, voice),
        tags=both,
    )


def _highest(tags: dict[str, float], names: Sequence[str]) -> float:
    return max(tags.get(name, 0.0) for name in names)


def summarise(songs: Sequence[Heard]) -> dict[str, object]:
    """Shares and means over songs."""
    styles: dict[str, list[bool]] = {}
    first: list[bool] = []
    for song in songs:
        if song.style in STYLE_TAGS:
            wanted = STYLE_TAGS[song.style]
            others = [_highest(other.tags, wanted) for other in songs if other.style != song.style]
            styles.setdefault(song.style, []).append(_highest(song.tags, wanted) > float(np.mean(others)))
            first.append(max(STYLE_TAGS, key=lambda style: _highest(song.tags, STYLE_TAGS[style])) == song.style)
    known = [song for song in songs if song.gender]
    result: dict[str, object] = {
        "songs": len(songs),
        "voice tag, vocal alone": _mean(song.vocal_stem for song in songs),
        "guitar tag, vocal alone": _mean(song.guitar_in_vocal for song in songs),
        "voice tag, mix": _mean(song.vocal_in_mix for song in songs),
        "voice tag, backing": _mean(song.vocal_in_backing for song in songs),
        "voice heard in the mix": _mean(song.vocal_in_mix >= 2 * song.vocal_in_backing for song in songs),
        "voice louder than guitar, alone": _mean(song.vocal_stem > song.guitar_in_vocal for song in songs),
    }
    if known:
        result["gender right"] = _mean((song.female > song.male) == (song.gender == "female") for song in known)
        result["style heard"] = _mean(heard for group in styles.values() for heard in group)
        result["style heard first"] = _mean(iter(first))
    result["styles heard, each"] = {style: f"{sum(group)} of {len(group)}" for style, group in styles.items()}
    return result


def _mean(values: Iterator[float]) -> float:
    return round(float(np.mean(list(values))), 3)


def real_songs(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """(vocals, backing, sample rate) of every song of a folder."""
    from riff.audio.io import list_audio_files, read_audio
    from riff.separation.separator import SeparationOptions, create_separator

    separator = create_separator(SeparationOptions("spleeter"))
    for path in list_audio_files(folder):
        audio = read_audio(path)
        stems = separator.separate(audio.waveform, audio.sample_rate)
        yield stems.vocals, stems.accompaniment, audio.sample_rate


if __name__ == "__main__":
    cli.run(main)
