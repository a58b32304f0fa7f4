"""The clips of the benchmark of vocals for an accompaniment: their list, and what a system is given of each.

    python benchmarks/musdb_clips.py --songs musdb18hq/test --output outputs/musdb-clips

Writes OUTPUT/clips.json, every clip's song, second and prompt with one hash for all, and OUTPUT/accompaniment/CLIP.wav, the
5.11 s that get a new vocal; see docs/musdb_vocal_inpainting.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from riff import cli


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--songs", type=Path, required=True, help="MUSDB18's test songs, in either form")
    parser.add_argument("--output", type=Path, default=Path("outputs/musdb-clips"), help="folder for list and sounds")
    args = parser.parse_args(argv)
    from riff.audio.io import write_audio
    from riff.experiments.musdb import RULE_VERSION, benchmark_clips
    from riff.files import make_folder
    from riff.spectrogram.params import STANDARD

    clips = benchmark_clips(args.songs)
    folder = args.output / "accompaniment"
    make_folder(folder)
    for clip in clips:
        write_audio(folder / f"{clip.name}.wav", clip.accompaniment, STANDARD.sample_rate, subtype="FLOAT")
    listed = [{"clip": clip.name, "prompt": clip.prompt} for clip in clips]
    name = hashlib.sha256(json.dumps([RULE_VERSION, listed]).encode()).hexdigest()
    cli.write_manifest(args.output / "clips.json", vars(args), rule_version=RULE_VERSION, sha256=name, clips=listed)
    print(f"{len(clips)} clips, list {name[:12]}: {args.output / 'clips.json'}")


if __name__ == "__main__":
    cli.run(main)
