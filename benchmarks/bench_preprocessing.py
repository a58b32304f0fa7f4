"""Songs to pairs: how many a second, against the predecessor's way, and what takes the time.

    python benchmarks/bench_preprocessing.py --num_songs 8 --workers 1 2

Both sides get the same songs with their stems, so that no separation is measured, and write all seven pitches of every clip to the
same disk. The predecessor's way is written out in plain_preprocessing.py and makes --plain_clips clips, once on one thread and
once with as many as the machine has cores. Ours is the whole of make_cnet_dataset.py's way from stems to flushed files and
journal, workers' start included. The stages are timed by themselves, on one thread, and so are ways to write an image.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from riff import cli


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--num_songs", type=cli.whole(1), default=8, help="synthesised songs")
    add("--seconds", type=cli.real(above=0), default=62.0, help="of each")
    add("--plain_clips", type=cli.whole(1), default=4, help="clips that the predecessor's way makes")
    add("--workers", type=cli.PROCESSES, nargs="+", default=[1, os.cpu_count() or 1], help="numbers of processes to measure")
    add("--output", type=Path, default=Path("benchmarks/results/bench_preprocessing.json"), help="where the figures go")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    import torch

    with tempfile.TemporaryDirectory(prefix="riff-") as temporary:
        folder = Path(temporary)
        songs = make_songs(folder / "songs", args.num_songs, args.seconds)
        results: dict[str, Any] = {}
        for threads in sorted({1, os.cpu_count() or 1}):
            torch.set_num_threads(threads)
            results[f"plain, {threads} threads"] = {"pairs_per_second": plain_rate(songs, folder / "plain", args.plain_clips)}
        torch.set_num_threads(1)
        for count in args.workers:
            results[f"{count} workers"] = {"pairs_per_second": our_rate(songs, folder / f"ours-{count}", count)}
        cores = f"plain, {max(1, os.cpu_count() or 1)} threads"
        for count in args.workers:
            ours = results[f"{count} workers"]
            for name, key in (("plain, 1 threads", "times_plain"), (cores, "times_plain_on_all_cores")):
                ours[key] = ours["pairs_per_second"] / results[name]["pairs_per_second"]
        stages, writers = time_stages(songs, folder / "stages")
    for name, result in results.items():
        print(f"{name:22}" + "".join(f"{key} {value:.2f}  " for key, value in result.items()))
    for name, milliseconds in stages.items():
        print(f"{name:40}{milliseconds:8.2f} ms a pair")
    for name, writer in writers.items():
        print(f"{name:40}{writer['milliseconds']:8.2f} ms an image {writer['bytes']:10,.0f} bytes")
    cli.write_manifest(args.output, vars(args), results=results, milliseconds_per_pair=stages, writers=writers)


def make_songs(folder: Path, count: int, seconds: float) -> Path:
    """Synthesise songs with stems, in processes that are not measured."""
    import subprocess
    import sys

    flags = ["--num_songs", str(count), "--seconds", str(seconds), "--seed", "9", "--output", str(folder)]
    subprocess.run([sys.executable, str(cli.ROOT / "demo" / "make_songs.py"), *flags], check=True, stdout=subprocess.DEVNULL)
    return folder


def open_parts(song: Path) -> tuple[Any, Any, Any]:
    """Mix, accompaniment and vocals of a song, float32, shape (channels, samples)."""
    from riff.separation.stems import read_stems

    stems, _ = read_stems(song)
    return stems.accompaniment + stems.vocals, stems.accompaniment, stems.vocals


def song_folders(songs: Path) -> list[Path]:
    return sorted(path for path in songs.iterdir() if path.is_dir())


def plain_rate(songs: Path, folder: Path, clips: int) -> float:
    """Pairs a second of the predecessor's way."""
    from plain_preprocessing import make_pairs

    from riff.audio.clips import cut_clips
    from riff.pairs.clip_images import PITCH_SHIFTS
    from riff.spectrogram.params import CLIP_SAMPLES

    first = song_folders(songs)[0]
    make_pairs(folder, "warm", open_parts(first), [0], [1])  # plans and filters are made once
    began = time.perf_counter()
    parts = open_parts(first)
    made = make_pairs(folder, "song", parts, cut_clips(parts[0].shape[1], CLIP_SAMPLES)[:clips], PITCH_SHIFTS)
    return made / (time.perf_counter() - began)


def our_rate(songs: Path, folder: Path, num_workers: int) -> float:
    """Pairs a second of make_cnet_dataset.py, from its start in a warm process to its end."""
    from riff.data.records import CONTROL_PAIRS
    from riff.pairs.build import Build
    from riff.pairs.control_pairs import PairMaker, PairSettings
    from riff.pairs.engines import processes
    from riff.pairs.output import OutputFolder
    from riff.pairs.songs import list_songs
    from riff.separation.separator import SongOpener

    listed = list_songs(songs)
    place = OutputFolder(folder, CONTROL_PAIRS)
    maker = PairMaker(PairSettings(min_vocal_ratio=0.0), SongOpener(None))
    began = time.perf_counter()
    with place.prepared({}, overwrite=False):
        build = Build(listed, listed, {}, "sing", place, maker, "", None, processes(num_workers), lambda _: None)
        return build.run().pairs / (time.perf_counter() - began)


def time_stages(songs: Path, folder: Path) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Milliseconds a pair by stage, over the clips of one song, and ways to write an image."""
    import numpy as np
    import torch

    from riff.pairs.clip_images import PITCH_SHIFTS
    from riff.spectrogram.edges import canny_edges, edges_to_png
    from riff.spectrogram.image import image_to_png, mel_to_image
    from riff.spectrogram.mel import magnitude_to_mel, top_frequency, waveform_to_magnitude
    from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

    mix, accompaniment, _ = open_parts(song_folders(songs)[0])
    top, seconds = top_frequency(STANDARD, min(PITCH_SHIFTS)), defaultdict[str, float](float)
    images: list[Any] = []
    files: list[bytes] = []

    def timed(name: str, work: Callable[..., Any], *given: Any) -> Any:
        began = time.perf_counter()
        done = work(*given)
        seconds[name] += time.perf_counter() - began
        return done

    for number, start in enumerate((0, *range(0, 5 * CLIP_SAMPLES, CLIP_SAMPLES))):
        if number == 1:  # filters and plans are made in the first round, which does not count
            seconds.clear()
            images, files = [], []
        clip = torch.from_numpy(np.stack([part[:, start : start + CLIP_SAMPLES].mean(axis=0) for part in (mix, accompaniment)]))
        magnitude = timed("transform, one for seven pitches", waveform_to_magnitude, clip, STANDARD, top)
        for shift in PITCH_SHIFTS:
            mels = timed("mel bands", magnitude_to_mel, magnitude, STANDARD, shift)
            clip_images = timed("grey levels", lambda mels: [mel_to_image(mel) for mel in mels], mels)
            edges = timed("edges", canny_edges, clip_images[1].pixels)
            files += timed("PNG", lambda images: [image_to_png(image) for image in images], clip_images)
            files.append(timed("PNG", edges_to_png, edges))
            images += clip_images
    timed("writing and flushing", write_files, folder, files)
    pairs = len(images) / 2
    return {name: 1000 * spent / pairs for name, spent in seconds.items()}, time_writers(images[::7])


def write_files(folder: Path, files: Sequence[bytes]) -> None:
    from riff.files import flush

    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.png" for number in range(len(files))]
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content)
    flush(paths)


def time_writers(images: Sequence[Any]) -> dict[str, dict[str, float]]:
    """What a spectrogram image costs in other forms."""
    from PIL import Image

    from riff.spectrogram.png import encode_png

    def pillow(image: Any, **options: Any) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image.to_rgb()).save(buffer, **options)
        return buffer.getvalue()

    def ours(image: Any, level: int) -> bytes:
        return encode_png(image.pixels, channels=3, level=level)

    ways: dict[str, Callable[[Any], bytes]] = {
        f"PNG, libdeflate level {level}": partial(ours, level=level) for level in (1, 2, 4, 6)
    }
    ways |= {f"PNG, Pillow level {level}": partial(pillow, format="PNG", compress_level=level) for level in (1, 3, 6)}
    ways["WebP lossless, fastest"] = partial(pillow, format="WEBP", lossless=True, method=0, quality=0)
    ways["WebP lossless, Pillow's default"] = partial(pillow, format="WEBP", lossless=True)
    ways["JPEG, Pillow's default"] = partial(pillow, format="JPEG")
    found = {}
    for name, way in ways.items():
        way(images[0])
        began = time.perf_counter()
        sizes = [len(way(image)) for image in images]
        found[name] = {"milliseconds": (time.perf_counter() - began) / len(images) * 1000, "bytes": sum(sizes) / len(sizes)}
    return found


if __name__ == "__main__":
    cli.run(main)
