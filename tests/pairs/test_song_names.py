"""Songs of any name, with bad ones among them: every song has separate files, and the good ones are made."""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import run_script
from hypothesis import given, settings
from hypothesis import strategies as st

import make_cnet_dataset
import preprocess_musdb
from riff.audio.io import read_audio, write_audio
from riff.data.pair_types import MANIFEST
from riff.data.records import CONTROL_PAIRS, PairRecord, read_edit_records, read_records
from riff.errors import AudioError, AudioWarning
from riff.files import readable, write_json, write_new
from riff.pairs.build import Build, BuildReport
from riff.pairs.clip_images import ClipImages, slug_of
from riff.pairs.output import OutputFolder
from riff.pairs.songs import SongFile, list_songs, unique_slugs
from riff.pairs.staging import ClipCount, SongJob, StagedSong, StageSong
from riff.spectrogram.png import encode_png
from tools import separate_audio

RATE = 44_100
ODD_NAMES = (b"caf\xe9", b"x" * 246, b"x" * 245 + b"y", b"Artist: Title?", "ギター".encode() * 27, b"plain")


@dataclass(frozen=True)
class ByteMaker:
    """Makes a song of N bytes into N pairs of two small images of its bytes; `fail` is called with its path and may raise."""

    fail: Callable[[Path], object] = lambda path: None

    def sources(self, song: SongFile) -> list[Path]:
        return [song.path]

    def make(self, job: SongJob, folder: Path) -> tuple[list[PairRecord], ClipCount]:
        self.fail(job.song.path)
        records = []
        for number, value in enumerate(job.song.path.read_bytes()):
            name = ClipImages(5.11 * number, 0, ()).name(job.slug)
            for kind in ("source", "target"):
                write_new(folder / kind / name, encode_png(np.full((4, 4), value, np.uint8)))
            records.append(PairRecord(f"source/{name}", f"target/{name}", prompt=job.prompt, song=job.song.name))
        return records, ClipCount(len(records), 0)


def build(songs: Path, pairs: Path, maker: ByteMaker = ByteMaker(), warned: list[str] | None = None) -> BuildReport:
    listed = list_songs(songs)
    folder = OutputFolder(pairs, CONTROL_PAIRS)
    lines: list[str] = [] if warned is None else warned
    with folder.prepared({}, overwrite=False):
        write_json(pairs / MANIFEST, {"settings": {}})
        return Build(listed, listed, {}, "sing", folder, maker, "nothing", warn=lines.append).run()


def shown(pairs: Path) -> dict[str, bytes]:
    """The bytes of each song's image."""
    return {record.song: (pairs / record.target).read_bytes() for record in read_records(pairs)}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("song.wav", "song.mp3"),
        ("a?b.wav", "a b.wav"),
        ("song.wav", "SONG.flac"),
        ("e\u0301.wav", "é.mp3"),
        ("x" * 240 + ".wav",) * 2,
    ],
)
def test_a_song_added_later_does_not_replace_the_images_of_another(tmp_path: Path, first: str, second: str) -> None:
    songs, pairs = tmp_path / "songs", tmp_path / "pairs"
    songs.mkdir()
    if first == second:
        second = "x" * 239 + "!.wav"  # comes first, and is cut to the same name
    (songs / first).write_bytes(b"1")
    build(songs, pairs)
    before = {path: path.read_bytes() for path in pairs.rglob("*.png")}
    (songs / second).write_bytes(b"2")
    assert build(songs, pairs).made == 1
    assert {path: path.read_bytes() for path in before} == before
    images = shown(pairs)
    assert images.keys() == {first, second}
    assert images[first] != images[second]
    after = {path: path.stat().st_mtime_ns for path in pairs.rglob("*.png")}
    assert build(songs, pairs).skipped == 2
    assert {path: path.stat().st_mtime_ns for path in pairs.rglob("*.png")} == after


def test_a_song_that_is_staged_keeps_its_name_too(tmp_path: Path) -> None:
    """A run was killed after staging a song and before moving its files."""
    songs, pairs = tmp_path / "songs", tmp_path / "pairs"
    songs.mkdir()
    (songs / "song.wav").write_bytes(b"1")
    staged = StageSong(pairs, ByteMaker())(SongJob(SongFile("song.wav", songs / "song.wav"), "song", "sing"))
    assert isinstance(staged, StagedSong)
    (songs / "song.mp3").write_bytes(b"2")
    assert build(songs, pairs).made == 2
    assert {record.song: slug_of(record.target) for record in read_records(pairs)} == {"song.wav": "song", "song.mp3": "song~2"}


names = st.lists(
    st.text(min_size=1, max_size=300).filter(lambda name: "/" not in name and "\0" not in name), unique=True, max_size=9
)


@given(names, names)
@settings(deadline=None)
def test_slugs_are_short_and_different_and_stay(earlier: list[str], later: list[str]) -> None:
    def songs(which: list[str]) -> list[SongFile]:
        return [SongFile(name, Path(name)) for name in dict.fromkeys(which)]

    taken = unique_slugs(songs(earlier))
    slugs = unique_slugs(songs(later + earlier), taken)
    assert taken.items() <= slugs.items()
    assert len({slug.casefold() for slug in slugs.values()}) == len(slugs)
    assert all(len(ClipImages(9999.0, -3, ()).name(slug).encode()) < 143 - 16 for slug in slugs.values())
    assert all(slug_of(f"target/{ClipImages(5.11, -3, ()).name(slug)}") == slug for slug in slugs.values())


@pytest.mark.parametrize("error", [ValueError("array is too big"), MemoryError(), UnicodeEncodeError("utf-8", "é", 0, 1, "no")])
def test_an_unexpected_error_fails_one_song(tmp_path: Path, error: Exception) -> None:
    songs = tmp_path / "songs"
    songs.mkdir()
    for name in ("a.wav", "b.wav", "c.wav"):
        (songs / name).write_bytes(name[:1].encode())

    def fail(path: Path) -> None:
        if path.name == "b.wav":
            raise error

    messages: list[str] = []
    report = build(songs, tmp_path / "pairs", ByteMaker(fail), messages)
    assert (report.made, report.failed) == (2, 1)
    (line,) = [line for line in messages if line.startswith("error: ")]
    assert f"b.wav: unexpected {type(error).__name__}" in line
    assert "\n" not in line
    assert build(songs, tmp_path / "pairs").made == 1


def test_a_full_disk_ends_the_batch(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"1")

    def fail(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.raises(OSError, match="No space"):
        build(tmp_path, tmp_path / "pairs", ByteMaker(fail))


def test_a_warning_of_a_song_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"1")

    def complain(path: Path) -> None:
        for _ in range(2):
            warnings.warn(f"{path.name}: damaged", AudioWarning, stacklevel=1)

    messages: list[str] = []
    assert build(tmp_path, tmp_path / "pairs", ByteMaker(complain), messages).made == 1
    assert [line for line in messages if "damaged" in line] == ["warning: a.wav: damaged"]


def test_two_mixtures_of_one_folder_are_told_apart(tmp_path: Path) -> None:
    for suffix in (".wav", ".flac"):
        write_audio(tmp_path / "song" / f"mixture{suffix}", np.zeros((2, 9), np.float32), RATE)
    with pytest.raises(AudioError, match="has the same song name; take one of them out"):
        list_songs(tmp_path)


@pytest.fixture(scope="module")
def odd_songs(tmp_path_factory: pytest.TempPathFactory, songs: Path) -> Path:
    """A song under odd names, in MUSDB's layout, with a file of one sample and one that is not audio among them."""
    folder = tmp_path_factory.mktemp("odd")
    song = next(path for path in sorted(songs.iterdir()) if path.is_dir())
    for name in ODD_NAMES:
        shutil.copytree(song, folder / os.fsdecode(name), copy_function=os.link)
    (folder / "broken").mkdir()
    for part in ("mixture", "vocals", "drums", "bass", "other"):
        (folder / "broken" / f"{part}.wav").write_text("no song")
        write_audio(folder / "blip" / f"{part}.wav", np.full((2, 1), 0.1, np.float32), RATE)
    return folder


def check_errors(stderr: str) -> None:
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert ["blip" in errors[0], "broken" in errors[1], len(errors)] == [True, True, 2]
    assert "unexpected" not in stderr


def test_control_pairs_of_songs_of_any_name(odd_songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"file": r"caf\xe9", "prompt": "a prompt"}))
    flags = ["--audio_dir", odd_songs, "--train_data_dir", tmp_path / "pairs", "--prompt_file", prompts]
    flags += ["--no-pitch_augment", "--num_workers", 1, "--min_vocal_ratio", 0]
    assert make_cnet_dataset.main([str(flag) for flag in flags]) == 2
    check_errors(capsys.readouterr().err)
    records = read_records(tmp_path / "pairs")
    assert {record.song for record in records} == {readable(os.fsdecode(name)) for name in ODD_NAMES}
    assert {record.prompt for record in records if record.song == r"caf\xe9"} == {"a prompt"}
    images = [tmp_path / "pairs" / path for record in records for path in (record.source, record.target, record.accompaniment)]
    assert len(set(images)) == 3 * len(records) == len(list((tmp_path / "pairs").glob("*/*.png")))
    assert all(image.exists() for image in images)
    assert make_cnet_dataset.main([str(flag) for flag in flags]) == 2
    assert f"{len(ODD_NAMES)} done before" in capsys.readouterr().out


def test_edit_pairs_of_songs_of_any_name(odd_songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--root_data_dir", odd_songs, "--output_dir", tmp_path / "pairs", "--num_workers", 1, "--save_wav"]
    flags += ["--frame_min_power_prop", 0]
    assert preprocess_musdb.main([str(flag) for flag in flags]) == 2
    check_errors(capsys.readouterr().err)
    assert {record.song for record in read_edit_records(tmp_path / "pairs")} == {readable(os.fsdecode(name)) for name in ODD_NAMES}


def test_songs_of_any_name_are_separated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (2, RATE // 2)).astype(np.float32)
    for name in ODD_NAMES:
        write_audio(tmp_path / "songs" / f"{os.fsdecode(name)}.wav", sound, RATE)
    for samples in (1, 2, 441, 5000):
        write_audio(tmp_path / "songs" / f"blip {samples}.wav", sound[:, :samples], RATE)
    (tmp_path / "songs" / "broken.flac").write_text("no song")
    flags = ["--audio", str(tmp_path / "songs"), "--output", str(tmp_path / "stems"), "--separator", "repet"]
    assert separate_audio.main(flags) == 2
    captured = capsys.readouterr()
    assert len([line for line in captured.err.splitlines() if line.startswith("error: ")]) == 1, captured.err
    assert f"{len(ODD_NAMES) + 4} songs separated" in captured.out
    for samples in (1, 2, 441, 5000):
        assert soundfile.info(tmp_path / "stems" / f"blip {samples}" / "vocals.wav").frames == samples
    assert separate_audio.main(flags) == 2
    assert f"0 songs separated into {tmp_path / 'stems'}, {len(ODD_NAMES) + 4} were there" in capsys.readouterr().out


def test_stems_are_not_replaced_by_those_of_another_song_of_that_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 9000)).astype(np.float32)

    def separate(path: str, *more: str) -> int | None:
        flags = ["--audio", str(tmp_path / path), "--output", str(tmp_path / "stems"), "--separator", "repet", *more]
        return separate_audio.main(flags)

    write_audio(tmp_path / "a" / "song.wav", sound, RATE)
    assert separate("a") == 0
    made = {path: read_audio(path).waveform for path in (tmp_path / "stems").rglob("*.wav")}
    write_audio(tmp_path / "a" / "song.flac", sound[:, 1:], RATE)  # comes before it
    write_audio(tmp_path / "b" / "song.wav", sound[:, 2:], RATE)
    for again in ((), ("--overwrite",)):
        assert separate("a", *again) == 2
        assert "song.flac: its stems would replace those of song.wav; rename one of them" in capsys.readouterr().err
    assert separate("b") == 2
    assert "holds the stems of another song.wav; rename it, or use --overwrite" in capsys.readouterr().err
    for path, waveform in made.items():
        np.testing.assert_array_equal(read_audio(path).waveform, waveform)
    assert separate("b", "--overwrite") == 0


def test_a_folder_whose_name_is_no_text_is_printed(songs: Path, tmp_path: Path) -> None:
    pairs = os.fsencode(tmp_path) + b"/caf\xe9"
    flags = ("--audio_dir", songs, "--prompt_file", songs / "prompt_file.json", "--no-pitch_augment", "--num_workers", 1)
    done = run_script("make_cnet_dataset.py", *flags, "--limit", 1, "--train_data_dir", os.fsdecode(pairs))
    assert "caf\\udce9: 1 songs made now" in done.stdout
    assert read_records(os.fsdecode(pairs))
