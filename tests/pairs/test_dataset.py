"""make_cnet_dataset.py by subprocess: what it writes, resuming, and every type of bad song."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import last_error, make_pairs, run_script
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from riff.data.datasets import StepSampler, split_by_song
from riff.data.records import PairRecord, prompt_of, read_prompts, read_records
from riff.errors import DataError
from riff.pairs.songs import SongFile, unique_slugs
from riff.spectrogram.edges import canny_edges
from riff.spectrogram.image import load_grey, load_image


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def test_the_pairs_are_what_the_format_says(pairs: Path) -> None:
    records = read_records(pairs)
    first = json.loads((pairs / "prompt.json").read_text().splitlines()[0])
    assert {"source", "target", "prompt", "accompaniment", "song", "start_s", "semitones"} <= set(first)
    assert len({record.song for record in records}) == 4
    for record in records:
        with Image.open(pairs / record.source) as edges:
            assert (edges.size, edges.mode) == ((512, 512), "L")
        backing, target = load_image(pairs / record.accompaniment), load_image(pairs / record.target)
        np.testing.assert_array_equal(load_grey(pairs / record.source), canny_edges(backing.pixels))
        assert target.max_value == pytest.approx(record.target_max, rel=1e-6)
        assert not np.array_equal(target.pixels, backing.pixels)
    manifest = json.loads((pairs / "manifest.json").read_text())
    assert manifest["settings"]["canny_high"] == 200


def test_running_again_repeats_nothing_and_goes_on_where_it_broke_off(songs: Path, pairs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "train-data"
    make_pairs(songs, folder, "--limit", 2)
    records = (folder / "prompt.json").read_text()
    # A run that was killed in its third song leaves images and half a line, but no line in songs.jsonl.
    (folder / "prompt.json").write_text(records + '{"source": "source/x.png", "target": "target/x.png", "pro')
    assert "2 songs made now, 2 done before" in make_pairs(songs, folder).stdout
    assert snapshot(folder) == snapshot(pairs)
    assert (folder / "prompt.json").read_text() == (pairs / "prompt.json").read_text()
    assert "0 songs made now, 4 done before" in make_pairs(songs, folder).stdout


def test_another_setting_asks_for_overwrite(songs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "train-data"
    make_pairs(songs, folder, "--limit", 1)
    error = last_error(make_pairs(songs, folder, "--limit", 1, "--canny_high", 150, code=2))
    assert "--output" in error
    assert "canny_high 200, not 150" in error
    assert "--overwrite" in error
    make_pairs(songs, folder, "--limit", 1, "--canny_high", 150, "--overwrite")


def test_seven_pitches_of_a_clip(songs: Path, tmp_path: Path) -> None:
    make_pairs(songs, tmp_path / "pairs", "--limit", 1, "--pitch_augment", "True")
    records = read_records(tmp_path / "pairs")
    assert sorted({record.semitones for record in records}) == [-3, -2, -1, 0, 1, 2, 3]
    assert len(records) % 7 == 0


def test_bad_songs_are_named_and_the_good_ones_are_finished(tmp_path: Path) -> None:
    audio = tmp_path / "audio"
    audio.mkdir()
    rng = np.random.default_rng(0)
    noise = (0.1 * rng.standard_normal((44_100 * 6, 2))).astype(np.float32)
    soundfile.write(audio / "good.wav", noise, 44_100)
    soundfile.write(audio / "short.wav", noise[: 44_100 * 3 // 10], 44_100)
    soundfile.write(audio / "silent.wav", np.zeros_like(noise), 44_100)
    soundfile.write(audio / "eight.wav", np.tile(noise, (2, 4)), 96_000)
    soundfile.write(audio / "nan.wav", np.where(np.arange(len(noise))[:, None] == 9, np.nan, noise), 44_100, subtype="FLOAT")
    soundfile.write(tmp_path / "whole.flac", noise, 44_100)
    (audio / "cut.flac").write_bytes((tmp_path / "whole.flac").read_bytes()[:100_000])
    (audio / "text.wav").write_text("la la la")
    (tmp_path / "prompts.json").write_text(
        '{"file": "good.wav", "prompt": "Generate noise"}\n{"file": "gone.wav", "prompt": "x"}\n'
    )
    done = run_script(
        "make_cnet_dataset.py",
        *("--audio_dir", audio, "--train_data_dir", tmp_path / "pairs", "--prompt_file", tmp_path / "prompts.json"),
        *("--no-pitch_augment", "--min_vocal_ratio", 0, "--num_workers", 1),
        code=2,
    )
    for name in ("short.wav", "silent.wav", "nan.wav", "cut.flac", "text.wav"):
        assert sum(name in line for line in done.stderr.splitlines() if line.startswith("error:")) == 1, name
    assert "gone.wav" in done.stderr  # a prompt without a song
    assert "eight.wav: no prompt for this song" in done.stderr
    assert "5 songs failed" in done.stdout
    assert {record.song for record in read_records(tmp_path / "pairs")} == {"good.wav", "eight.wav"}


def test_clips_with_next_to_no_vocal_are_dropped_and_counted(songs: Path, tmp_path: Path) -> None:
    stems = tmp_path / "stems"
    shutil.copytree(next(path for path in sorted(songs.iterdir()) if path.is_dir()), stems / "song")
    vocals, rate = soundfile.read(stems / "song" / "vocals.wav", always_2d=True)
    soundfile.write(stems / "song" / "vocals.wav", vocals * 0.001, rate, subtype="PCM_24")
    (stems / "prompt_file.json").write_text('{"file": "song", "prompt": "p"}\n')
    done = make_pairs(stems, tmp_path / "pairs")
    assert "0 pairs" in done.stdout
    assert "2 clips without a vocal dropped" in done.stdout
    assert "--min_vocal_ratio" in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"file": "a.wav", "prompt": "x"}\n{"file": "b.wav", "prompt"\n', "line 2 is no JSON"),
        ('{"file": "a.wav"}\n', 'line 1 needs "file" and "prompt"'),
        ("[1, 2]", "line 1 is no JSON object"),
    ],
)
def test_a_broken_prompt_file_is_named_with_its_line(songs: Path, tmp_path: Path, content: str, words: str) -> None:
    prompts = tmp_path / "prompts.json"
    prompts.write_text(content)
    with pytest.raises(DataError, match=words.split(" is")[0]):
        read_prompts(prompts)


def test_flags_and_folders_that_cannot_be(songs: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    common = ("--prompt_file", songs / "prompt_file.json")
    done = run_script("make_cnet_dataset.py", "--audio_dir", empty, "--train_data_dir", tmp_path / "p", *common, code=2)
    assert f"{empty}: holds no songs" in last_error(done)
    (tmp_path / "file").write_text("")
    assert "cannot create this folder" in last_error(make_pairs(songs, tmp_path / "file" / "pairs", code=2))
    assert "--start_ind 9" in last_error(make_pairs(songs, tmp_path / "q", "--start_ind", 9, code=2))
    make_pairs(songs, tmp_path / "q", "--canny_low", 300, code=2)


def test_prompts_are_found_by_file_name_and_without_suffix(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('[{"file": "a.wav", "prompt": "first"}, {"file": "b", "prompt": "second"}]')
    prompts = read_prompts(tmp_path / "list.json")
    assert [prompt_of(name, prompts) for name in ("a.wav", "a.ogg", "b.flac", "c")] == ["first", "first", "second", None]


def test_records_of_the_predecessor_are_read_and_paths_stay_inside(tmp_path: Path) -> None:
    folder = tmp_path / "train-data"
    (folder / "source").mkdir(parents=True)
    Image.new("L", (8, 8)).save(folder / "source" / "song_3.png")
    line = {"source": "train-data/source/song_3.png", "target": "train-data/target/song_3.png", "prompt": "p"}
    (folder / "prompt.json").write_text(json.dumps(line))
    (record,) = read_records(folder)
    assert (record.source, record.song) == ("source/song_3.png", "song")
    (folder / "prompt.json").write_text(json.dumps({**line, "target": "../../etc/passwd"}))
    with pytest.raises(DataError, match="leaves the folder"):
        read_records(folder)


@given(st.lists(st.text(min_size=1, max_size=8).filter(lambda name: "/" not in name), unique=True, min_size=1, max_size=12))
@settings(deadline=None)
def test_slugs_are_safe_and_different(names: list[str]) -> None:
    slugs = unique_slugs([SongFile(name, Path(name)) for name in names])
    assert len(set(slugs.values())) == len(names)
    assert all(slug and not slug.startswith(".") and "/" not in slug for slug in slugs.values())


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 30))
@settings(deadline=None, max_examples=40)
def test_batches_are_a_function_of_their_number(size: int, batch_size: int, start: int) -> None:
    whole, later = iter(StepSampler(size, batch_size, seed=3)), iter(StepSampler(size, batch_size, seed=3, start=start))
    straight = [next(whole) for _ in range(start + 3)]
    assert straight[start:] == [next(later) for _ in range(3)]
    places = [index for batch in straight for index in batch]
    for epoch in range(len(places) // size):
        assert sorted(places[epoch * size : (epoch + 1) * size]) == list(range(size))


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30), st.floats(0, 0.9))
@settings(deadline=None)
def test_songs_are_never_on_both_sides(songs: list[str], share: float) -> None:
    records = [PairRecord(f"{i}.png", f"{i}.png", "p", song=song) for i, song in enumerate(songs)]
    training, held_out = split_by_song(records, share)
    assert not {r.song for r in training} & {r.song for r in held_out}
    assert len(training) + len(held_out) == len(records)
    assert training
    assert bool(held_out) == (share > 0 and len(set(songs)) > 1)


def test_overwriting_pairs_leaves_files_of_others_alone(songs: Path, tmp_path: Path) -> None:
    """Even the songs themselves, in a folder of a name that pairs use."""
    shutil.copytree(songs, tmp_path / "source")
    (tmp_path / "source" / "lyrics.txt").write_text("mine")
    before = {path: path.read_bytes() for path in (tmp_path / "source").rglob("*") if path.is_file()}
    for more in ((), ("--overwrite",)):
        make_pairs(tmp_path / "source", tmp_path, "--limit", 1, *more)
    assert {path: path.read_bytes() for path in before} == before
