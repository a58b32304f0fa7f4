"""Does the tagger of riff/metrics/voice_heard.py agree with the edit score about vocals, and with what is known of them?

    python benchmarks/voice_heard.py --num_clips 30

Clips of synthesised songs: each accompaniment with its true vocal, with another song's, with quieter ones, and with what is no
voice. The rule was chosen on catalogue 21; catalogue 22 checks it. Nothing is trained on either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from riff import cli

CHOSEN_ON, CHECKED_ON = 21, 22
VOCALS = ("true vocal", "another song's vocal", "true vocal, 6 dB down", "true vocal, 12 dB down")
NO_VOCALS = ("nothing", "another song's drums", "another song's bass", "another song's chords", "white noise")


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--num_clips", type=cli.whole(1), default=30, help="clips of each of the two catalogues, one a song")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/voice_heard.json"), help="where the figures go")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    results = {}
    for catalogue in (CHOSEN_ON, CHECKED_ON):
        results[f"catalogue {catalogue}"] = rows = summarise(list(judge_clips(catalogue, args.num_clips)))
        names = list(next(iter(rows.values())))
        print(f"catalogue {catalogue}, {args.num_clips} clips\n{'':26}" + "".join(f"{name:>16}" for name in names))
        for case, row in rows.items():
            print(f"{case:26}" + "".join(f"{row[name]:16.2f}" for name in names))
    cli.write_manifest(args.output, vars(args), results=results)


def judge_clips(catalogue: int, count: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Every case of every clip with its scores."""
    import numpy as np
    import torch

    from demo.evaluation import SONG_SECONDS, START
    from demo.world.compose import compose
    from riff.metrics.edit import score_edit
    from riff.metrics.voice_heard import hear_voice
    from riff.spectrogram.image import waveform_to_image
    from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

    def parts(index: int) -> dict[str, np.ndarray]:
        stems = compose(catalogue, index, SONG_SECONDS).stems
        return {name: stem[:, START : START + CLIP_SAMPLES].mean(axis=0, keepdims=True) for name, stem in stems.items()}

    other = parts(0)
    for index in cli.progress_bar(range(count), desc=f"catalogue {catalogue}", unit="clip"):
        stems, other = other, parts(index + 1)
        gender = str(compose(catalogue, index, 1.0).facts["gender"])
        accompaniment = stems["drums"] + stems["bass"] + stems["other"]
        level = np.sqrt(np.mean(stems["vocals"] ** 2))
        noise = np.random.default_rng([catalogue, index]).normal(0, level, accompaniment.shape)
        added = [stems["vocals"], other["vocals"], 0.5 * stems["vocals"], 0.25 * stems["vocals"]]
        added += [0 * noise, other["drums"], other["bass"], other["other"], noise]
        before = waveform_to_image(torch.from_numpy(accompaniment.astype(np.float32))).pixels
        for case, part in zip((*VOCALS, *NO_VOCALS), added, strict=True):
            mix = (accompaniment + part).astype(np.float32)
            heard = hear_voice(mix, accompaniment.astype(np.float32), STANDARD.sample_rate)
            image = score_edit(before, waveform_to_image(torch.from_numpy(mix)).pixels)
            scores = heard.scores(gender if case == VOCALS[0] else "")
            scores |= {"edit": float(image.is_edit), "agree": float(image.is_edit == heard.heard)}
            if case == VOCALS[0]:
                scores["pitch off"] = abs(heard.note - image.median_note)
            yield case, scores


def summarise(scored: Sequence[tuple[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Case -> mean of every score, but the median of differences in pitch (semitones)."""
    import numpy as np

    rows: dict[str, dict[str, float]] = {}
    for case in (*VOCALS, *NO_VOCALS):
        scores = [found for name, found in scored if name == case]
        row: dict[str, float] = {}
        for name in ("voice_rise", "voice_alone", "voice_heard", "edit", "agree", "gender_heard", "pyin_register", "pitch off"):
            values = [found[name] for found in scores if name in found and np.isfinite(found[name])]
            average = np.median if name == "pitch off" else np.mean
            row[name] = float(average(values)) if values else float("nan")
        rows[case] = row
    return rows


if __name__ == "__main__":
    cli.run(main)
