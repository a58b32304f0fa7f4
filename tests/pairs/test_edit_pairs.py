"""preprocess_musdb.py by subprocess: both forms of MUSDB18, what the pairs show, resuming, and every type of bad song."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, last_error, run_script
from hypothesis import given, settings
from hypothesis import strategies as st
from stem_files import STREAMS, stem_file_of, write_stem_file

from riff.audio.clips import powerful_clips
from riff.audio.io import Audio, read_audio
from riff.data.records import EDIT_PAIRS, EditRecord, read_edit_records
from riff.errors import AudioError, DataError, OptionError
from riff.pairs.edit_pairs import NOOP_SHARE, EditSettings
from riff.pairs.instructions import NOTHING, choose, read_edit_prompts, removals
from riff.pairs.output import OutputFolder
from riff.pairs.songs import list_stem_songs
from riff.separation.stems import BACKING_STEMS
from riff.spectrogram.image import load_image, waveform_to_image
from riff.spectrogram.params import CLIP_SAMPLES

RATE = 44_100


def preprocess(root: Path, folder: Path, *more: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    return run_script("preprocess_musdb.py", "--root_data_dir", root, "--output_dir", folder, "--num_workers", 1, *more, code=code)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Everything but the manifest, which says when it was written, and float WAVs, which do so too."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".wav")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != "manifest.json"}


def part(song: Path, name: str, start: int = 0, samples: int = CLIP_SAMPLES) -> np.ndarray:
    return read_audio(song / f"{name}.wav").waveform[:, start : start + samples]


@pytest.fixture(scope="module")
def root(songs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of the songs in MUSDB18-HQ's form; the second is so loud that its sums leave [-1, 1]. And instructions for them."""
    root = tmp_path_factory.mktemp("musdb18hq")
    first, second, *_ = (path for path in sorted(songs.iterdir()) if path.is_dir())
    shutil.copytree(first, root / "train" / "Dr. A - First")
    (root / "train" / "B - Loud").mkdir()
    for name in STREAMS:
        audio = read_audio(second / f"{name}.wav")
        soundfile.write(root / "train" / "B - Loud" / f"{name}.wav", 4 * audio.waveform.T, audio.sample_rate, subtype="FLOAT")
    lines = [
        {"file": "Dr. A - First", "edit_prompt": "add a soft melody"},
        {"file": "Dr. A - First", "edit_prompt": "let someone sing"},
        {"file": "B - Loud", "prompt": "add a loud melody"},
        {"file": "C - Gone", "edit_prompt": "add a lost melody"},
    ]
    (root / "edit_prompts.json").write_text("\n".join(json.dumps(line) for line in lines))
    return root


def every_kind(root: Path) -> tuple[object, ...]:
    """Flags for every type of edit."""
    wanted = ("--with_removal", "--with_noop", "--save_wav", "--pitch_augment")
    return ("--target", "mix", *wanted, "--prompt_filepath", root / "edit_prompts.json")


@pytest.fixture(scope="module")
def edits(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of those songs with every type of edit."""
    folder = tmp_path_factory.mktemp("edits") / "train"
    done = preprocess(root / "train", folder, *every_kind(root))
    assert "edit_prompts.json: 1 names belong to no song" in done.stderr
    assert "C - Gone" in done.stderr
    return folder


def of_kind(folder: Path, kind: str) -> list[EditRecord]:
    return [record for record in read_edit_records(folder) if record.kind == kind]


def test_images_show_the_backing_and_the_mix(root: Path, edits: Path) -> None:
    added = of_kind(edits, "add")
    assert len(added) == 2 * 2 * 7
    for record in added:
        if record.semitones:
            continue
        song, start = root / "train" / record.song, round(record.start_s * RATE)
        assert start % CLIP_SAMPLES == 0
        backing = np.stack([part(song, name, start) for name in BACKING_STEMS]).sum(axis=0)
        mix = backing + part(song, "vocals", start)
        for path, maximum, wave in (
            (record.input_file_path, record.input_max, backing),
            (record.edited_file_path, record.edited_max, mix),
        ):
            image, expected = load_image(edits / path), waveform_to_image(torch.from_numpy(wave))
            assert image.pixels.shape == (512, 512)
            assert image.max_value == pytest.approx(maximum)
            assert image.max_value == pytest.approx(expected.max_value, rel=1e-5)
            difference = np.abs(image.pixels.astype(int) - expected.pixels)
            assert difference.max() <= 1


def test_sums_beyond_full_scale_are_neither_clipped_nor_wrapped(root: Path, edits: Path) -> None:
    song = root / "train" / "B - Loud"
    mix, rate = soundfile.read(edits / "wav" / "B_-_Loud_0000000ms+0_edited.wav", dtype="float32")
    backing, _ = soundfile.read(edits / "wav" / "B_-_Loud_0000000ms+0_input.wav", dtype="float32")
    assert rate == RATE
    assert mix.shape == (CLIP_SAMPLES, 2)
    assert np.abs(mix).max() > 1
    np.testing.assert_allclose(mix.T, sum(part(song, name) for name in STREAMS[1:]), atol=1e-6)
    np.testing.assert_allclose((mix - backing).T, part(song, "vocals"), atol=1e-6)
    assert len(list((edits / "wav").iterdir())) == 2 * 2 * 2 * 7  # songs, clips, before and after, pitches


def test_the_sound_of_a_shifted_clip_is_shifted_and_in_time(edits: Path) -> None:
    name = "Dr._A_-_First_0000000ms{}_edited.wav"
    plain, up = (soundfile.read(edits / "wav" / name.format(shift))[0].mean(axis=1) for shift in ("+0", "+3"))
    assert plain.shape == up.shape
    heard, written = (waveform_to_image(torch.from_numpy(sound.astype(np.float32))).pixels for sound in (plain, up))
    warped = load_image(edits / "edited_image" / name.format("+3").replace("_edited.wav", ".png")).pixels
    assert np.abs(written.astype(int) - warped).mean() < 0.7 * np.abs(written.astype(int) - heard).mean()


def test_wordings_vary_over_the_clips_of_a_song(edits: Path) -> None:
    words = {
        song: {record.edit_prompt for record in of_kind(edits, "add") if record.song == song}
        for song in ("Dr. A - First", "B - Loud")
    }
    assert words == {"Dr. A - First": {"add a soft melody", "let someone sing"}, "B - Loud": {"add a loud melody"}}


def test_every_pair_goes_the_other_way_too(edits: Path) -> None:
    ways = {(record.input_file_path, record.edited_file_path): record for record in of_kind(edits, "add")}
    removed = of_kind(edits, "remove")
    assert len(removed) == len(ways)
    for record in removed:
        added = ways[record.edited_file_path, record.input_file_path]
        assert (record.input_max, record.edited_max) == (added.edited_max, added.input_max)
        assert record.edit_prompt in removals("vocals")
    assert len({record.edit_prompt for record in removed}) > 8


def test_now_and_then_nothing_is_to_happen(edits: Path) -> None:
    noops, clips = of_kind(edits, "noop"), len(of_kind(edits, "add"))
    assert 0 < len(noops) <= 3 * NOOP_SHARE * clips
    for record in noops:
        assert record.input_file_path == record.edited_file_path
        if record.edit_prompt not in NOTHING:  # to take away what is there would be an edit
            assert record.edit_prompt in removals("vocals")
            assert record.input_file_path.startswith("input_image/")


def test_a_wording_depends_on_the_seed_and_its_key_alone() -> None:
    keys = [(0, "song", f"clip {number}") for number in range(400)]
    chosen = [choose(NOTHING, *key) for key in keys]
    assert chosen[::-1] == [choose(NOTHING, *key) for key in reversed(keys)]
    assert set(chosen) == set(NOTHING)
    assert chosen != [choose(NOTHING, 1, *key[1:]) for key in keys]
    assert chosen[:3] == ["no edit", "make no changes", "leave it as it is"]  # on any machine


def test_both_forms_of_the_data_set_give_the_same_pairs(root: Path, tmp_path: Path) -> None:
    """AAC is lossy, so the images are alike and not equal; songs, clips and wordings are the same."""
    shutil.copytree(root / "train" / "Dr. A - First", tmp_path / "hq" / "Dr. A - First")
    stem_file_of(root / "train" / "Dr. A - First", tmp_path / "Dr. A - First.stem.mp4")
    for form, place in {"wav": tmp_path / "hq", "mp4": tmp_path}.items():
        preprocess(place, tmp_path / form, "--prompt_filepath", root / "edit_prompts.json")
    wav, mp4 = (read_edit_records(tmp_path / form) for form in ("wav", "mp4"))
    assert len(wav) == len(mp4) == 2
    for one, other in zip(wav, mp4, strict=True):
        assert (one.song, one.start_s, one.edit_prompt) == (other.song, other.start_s, other.edit_prompt)
        for path in (one.input_file_path, one.edited_file_path):
            pixels = [load_image(tmp_path / form / path).pixels.astype(float) for form in ("wav", "mp4")]
            assert np.abs(pixels[0] - pixels[1]).mean() < 6


def test_the_stem_alone_is_the_target_by_default(root: Path, tmp_path: Path) -> None:
    flags = ("--gen_stem", "drums", "--with_noop", "--frame_overlap", 0.75, "--frame_min_power_prop", 0)
    done = preprocess(root / "train", tmp_path, *flags)
    assert "no --prompt_file: the instruction of every song is 'add drums'" in done.stderr
    added = of_kind(tmp_path, "add")
    starts = sorted({round(record.start_s * RATE) for record in added})
    assert starts == [int(CLIP_SAMPLES / 4) * number for number in range(len(starts))]
    assert len(starts) > 4
    record = added[0]
    expected = waveform_to_image(torch.from_numpy(part(root / "train" / record.song, "drums", round(record.start_s * RATE))))
    assert np.abs(load_image(tmp_path / record.edited_file_path).pixels.astype(int) - expected.pixels).max() <= 1
    noops = of_kind(tmp_path, "noop")
    assert noops
    for record in noops:
        assert record.input_file_path.startswith("input_image/")
        assert (load_image(tmp_path / record.edited_file_path).pixels == 255).all()
        assert record.edit_prompt in NOTHING


def test_a_run_that_was_killed_goes_on_to_the_same_end(root: Path, edits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "train"
    flags = ["--root_data_dir", root / "train", "--output_dir", folder, "--num_workers", 1, *every_kind(root)]
    command = [sys.executable, ROOT / "preprocess_musdb.py", *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*map(str, command)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    # Killed in the middle of the second song, of which some images are made.
    while not list(folder.glob(".staging/.Dr*/input_image/*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len((folder / "songs.jsonl").read_text().splitlines()) == 1
    with open(folder / "metadata.jsonl", "a") as file:
        file.write('{"input_file_path": "input_image/x.png", "edit')
    assert "1 songs made now, 1 done before" in preprocess(root / "train", folder, *every_kind(root)).stdout
    assert {name: content for name, content in snapshot(folder).items() if ".tmp." not in name} == snapshot(edits)
    before = snapshot(folder)
    assert "0 songs made now, 2 done before" in preprocess(root / "train", folder, *every_kind(root)).stdout
    assert snapshot(folder) == before


def test_another_setting_asks_for_overwrite(root: Path, tmp_path: Path) -> None:
    done = preprocess(root / "train", tmp_path, "--max_examples", 1)
    assert "1 pairs" in done.stdout
    assert "1 left out for --max_examples" in done.stdout
    error = last_error(preprocess(root / "train", tmp_path, "--max_examples", 2, code=2))
    assert f"--output {tmp_path}: its pairs were made with max_examples 1, not 2" in error
    assert "another folder, or --overwrite" in error
    preprocess(root / "train", tmp_path, "--max_examples", 2, "--overwrite")
    assert len(read_edit_records(tmp_path)) == 2
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(OptionError, match="another origin"):
        OutputFolder(tmp_path, EDIT_PAIRS).prepared({}, overwrite=False).__enter__()


def test_bad_songs_are_named_and_the_good_ones_are_finished(root: Path, tmp_path: Path) -> None:
    songs = tmp_path / "musdb"
    good = root / "train" / "Dr. A - First"
    for name in ("good", "lacks a stem", "length", "rate", "text"):
        shutil.copytree(good, songs / "test" / name)
    shutil.copytree(good, songs / "train" / "no mixture")
    (songs / "train" / "no mixture" / "mixture.wav").unlink()
    (songs / "test" / "lacks a stem" / "bass.wav").unlink()
    samples, rate = soundfile.read(good / "drums.wav")
    soundfile.write(songs / "test" / "length" / "drums.wav", samples[:-441], rate)
    soundfile.write(songs / "test" / "rate" / "drums.wav", samples, 48_000)
    (songs / "test" / "text" / "other.wav").write_text("la la la")
    (songs / "test" / "a folder of other things").mkdir()
    noise = Audio((0.1 * np.random.default_rng(0).standard_normal((2, RATE))).astype(np.float32), RATE)
    write_stem_file(songs / "four.stem.mp4", [noise] * 4)
    write_stem_file(songs / "short.stem.mp4", [noise] * 5)
    (songs / "cut.stem.mp4").write_bytes((songs / "short.stem.mp4").read_bytes()[:2000])
    (tmp_path / "prompts.json").write_text('[{"file": "good", "edit_prompt": "add a voice"}]')
    done = preprocess(songs, tmp_path / "edits", "--prompt_filepath", tmp_path / "prompts.json", code=2)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    expected = {
        "lacks a stem": "bass.wav is missing",
        "length/drums.wav": "export the stems from one session",
        "rate/drums.wav": "at 48000 Hz beside",
        "text/other.wav": "cannot be read as audio",
        "four.stem.mp4": "holds 4 audio streams",
        "short.stem.mp4": "shorter than a clip",
        "cut.stem.mp4": "cannot be read as audio",
    }
    assert len(errors) == len(expected)
    for place, reason in expected.items():
        assert sum(place in line and reason in line for line in errors) == 1, (place, errors)
    assert "7 songs failed" in done.stdout
    assert "takes songs of train and test" in done.stderr
    assert "no mixture: no prompt for this song; using ['add a vocal melody']" in done.stderr
    assert {record.song: record.edit_prompt for record in read_edit_records(tmp_path / "edits")} == {
        "good": "add a voice",
        "no mixture": "add a vocal melody",
    }


def test_songs_with_next_to_none_of_the_stem(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "train" / "Dr. A - First", tmp_path / "musdb" / "instrumental")
    vocals = tmp_path / "musdb" / "instrumental" / "vocals.wav"
    samples, rate = soundfile.read(vocals)
    soundfile.write(vocals, 0 * samples, rate)
    done = preprocess(tmp_path / "musdb", tmp_path / "edits", "--frame_min_power_prop", 0)
    assert "instrumental: no clip has enough vocals" in done.stderr
    assert "2 clips with too little vocals dropped" in done.stdout
    assert (tmp_path / "edits" / "metadata.jsonl").read_text() == ""


def test_folders_that_cannot_be(root: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such folder"):
        list_stem_songs(tmp_path / "none")
    (tmp_path / "SONG").mkdir()
    (tmp_path / "SONG" / "cover.png").touch()
    assert "holds no songs" in last_error(preprocess(tmp_path, tmp_path / "edits", code=2))
    shutil.copytree(root / "train" / "B - Loud", tmp_path / "test" / "B - Loud")
    (tmp_path / "B - Loud.stem.mp4").touch()
    with pytest.raises(AudioError, match="has the same song name"):
        list_stem_songs(tmp_path)
    assert "--gen_stem piano: no such stem" in last_error(preprocess(root, tmp_path / "edits", "--gen_stem", "piano", code=2))
    preprocess(root, tmp_path / "edits", "--max_examples", 0, code=2)
    assert not (tmp_path / "edits").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"gen_stem": "drums", "target": "vocals"}, "target vocals: the stem that is added is drums"),
        ({"target": "vocals", "with_removal": True}, "with_removal"),
        ({"frame_overlap": 1.0}, "frame_overlap 1.0"),
        ({"frame_overlap": float("nan")}, "frame_overlap nan"),
        ({"frame_min_power_prop": -0.1}, "frame_min_power_prop -0.1"),
        ({"frame_len_seconds": 0.0}, "frame_len_seconds 0.0"),
        ({"frame_len_seconds": float("nan")}, "frame_len_seconds nan"),
        ({"frame_len_seconds": 5.12}, "513 frames wide, and models take multiples of 64; try 5.11 or 5.75"),
        ({"frame_len_seconds": 0.2}, "21 frames wide, and models take multiples of 64; try 0.63"),
    ],
)
def test_flags_that_cannot_be(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError) as raised:
        EditSettings(**flags)
    assert words in str(raised.value)


@given(st.integers(1, 90), st.floats(0, 1, exclude_max=True))
def test_every_length_of_whole_widths_is_taken(count: int, overlap: float) -> None:
    chosen = EditSettings(frame_len_seconds=round(count * 0.64 - 0.01, 2), frame_overlap=overlap)
    assert chosen.frames == 64 * count
    assert chosen.clip_samples == (64 * count - 1) * 441
    assert 441 <= chosen.hop_samples <= chosen.clip_samples  # names of clips, in ms, stay different


def test_the_usual_length_is_exact() -> None:
    assert EditSettings().clip_samples == CLIP_SAMPLES == 225_351


@given(st.lists(st.sampled_from([0.0, 0.01, 0.05, 0.2, 0.5]), min_size=1, max_size=12), st.floats(0, 2), st.floats(0.2, 2))
@settings(deadline=None)
def test_clips_are_chosen_by_the_power_of_the_stem_where_it_plays(levels: list[float], proportion: float, gain: float) -> None:
    """Each clip is a square wave of one level, so the powers are known."""
    samples = 64
    signs = np.where(np.arange(samples) % 2, 1.0, -1.0)
    stem = (gain * np.concatenate([level * signs for level in levels]))[None].astype(np.float32)
    sounding = [level**2 for level in levels if level]
    own = float(np.mean(sounding)) if sounding else 0.0
    starts = [number * samples for number in range(len(levels))]
    kept = powerful_clips(stem, starts, samples, proportion)
    near = {start for start, level in zip(starts, levels, strict=True) if abs(level**2 - proportion * own) < 1e-6}
    expected = {start for start, level in zip(starts, levels, strict=True) if level and level**2 >= proportion * own}
    assert set(kept) - near == expected - near


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"file": "a", "edit_prompt": "x"}\n{"file": "b"}\n', 'line 2 needs "file" and "edit_prompt"'),
        ('{"file": "a", "edit_prompt": " "}\n', 'line 1 needs "file" and "edit_prompt"'),
        ('{"file": "a", "edit_prompt"\n', "line 1 is no JSON"),
    ],
)
def test_a_broken_prompt_file_is_named_with_its_line(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "prompts.json").write_text(content)
    with pytest.raises(DataError) as raised:
        read_edit_prompts(tmp_path / "prompts.json")
    assert words in str(raised.value)
