"""tools/inspect_dataset.py by subprocess: figures of good pairs, every flaw by its name, leaks, and what --fix leaves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, last_error, make_pairs, run_script
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from riff.audio.clips import rms
from riff.data.datasets import split_by_song
from riff.data.records import PairRecord, read_records
from riff.inspection.images import image_energy, vocal_level
from riff.inspection.prompt_stats import MAX_TOKENS, effective_number, fewest_tokens
from riff.separation.stems import read_stems
from riff.spectrogram.image import SpectrogramImage, load_image, mel_to_image, save_image
from riff.spectrogram.params import CLIP_SAMPLES


def inspect(folder: Path, *more: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    output = folder.parent / f"{folder.name}-inspected"
    return run_script(
        "tools/inspect_dataset.py", folder, "--output", output, "--num_shown", 0, "--num_workers", 1, *more, code=code
    )


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder.parent / f"{folder.name}-inspected" / "report.json").read_text())


def found(folder: Path) -> dict[str, set[str]]:
    """Names by problem."""
    return {one["kind"]: {item["name"] for item in one["items"]} for one in report(folder)["findings"]}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "prompt.json").read_text().splitlines()]


def write_lines(folder: Path, *items: dict[str, Any] | str) -> None:
    texts = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items]
    (folder / "prompt.json").write_text("".join(text + "\n" for text in texts))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def copy(pairs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pairs, tmp_path / "train-data"))


def test_good_pairs(pairs: Path, songs: Path, tmp_path: Path) -> None:
    """The figures are those of the files, and the page has a player for every clip to hear."""
    output = tmp_path / "out"
    before = snapshot(pairs)
    done = run_script(
        "tools/inspect_dataset.py", pairs, "--output", output, "--num_shown", 1, "--num_workers", 2, "--val_share", 0.5
    )
    assert snapshot(pairs) == before
    records = read_records(pairs)
    assert done.stdout.splitlines()[-1].startswith(f"{pairs} is fit to train on: {len(records)} pairs, 4 songs")
    result = json.loads((output / "report.json").read_text())
    facts = result["facts"]
    assert (facts["pairs"]["records"], facts["pairs"]["clips"], facts["pairs"]["images"]) == (8, 8, 24)
    assert facts["pairs"]["edge maps compared with their backing"] == 8
    assert facts["hours"] == {"unshifted": round(8 * 5.11 / 3600, 3), "with every pitch": round(8 * 5.11 / 3600, 3)}
    assert facts["prompts"]["different"] == len({record.prompt for record in records})
    assert (facts["split"]["training songs"], facts["split"]["validation songs"]) == (2, 2)
    assert not [one for one in result["findings"] if one["error"]]
    stems = {song.name: read_stems(song, needed="vocals")[0] for song in sorted(songs.iterdir()) if song.is_dir()}
    levels = []
    for record in records:
        start = round(record.start_s * 44_100)
        vocal, backing = (
            part[:, start : start + CLIP_SAMPLES].mean(axis=0)
            for part in (stems[record.song].parts["vocals"], stems[record.song].without("vocals"))
        )
        levels.append(20 * np.log10(rms(vocal) / rms(backing)))
    assert facts["sound"]["vocals over backing, dB"]["median"] == pytest.approx(np.median(levels), abs=0.5)
    page = (output / "index.html").read_text()
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len([link for link in links if link.endswith(".wav")]) == 2
    assert all((output / link).is_file() for link in links)
    assert "<svg" in page


def damage(folder: Path) -> dict[str, set[str]]:
    """Every flaw once, each in a pair of its own; returns what is to be found of it."""
    good = lines(folder)
    first, second, third, fourth, fifth, sixth, *rest = good
    path = folder / first["target"]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (folder / second["accompaniment"]).unlink()
    with Image.open(folder / third["target"]) as image:
        exif = image.getexif()
        image.crop((0, 0, 384, 512)).save(folder / third["target"], exif=exif)
    with Image.open(folder / fourth["source"]) as edges:
        edges.convert("L").save(folder / fourth["source"], format="JPEG", quality=75)
    shutil.copy(folder / rest[0]["source"], folder / fifth["source"])
    shutil.copy(folder / rest[0]["target"], folder / sixth["target"])
    Image.new("L", (512, 512)).save(folder / "target" / "nobody's.png")
    write_lines(folder, *good[:3], '{"source": "sour', *good[3:], rest[0], {**rest[0], "target": "../../elsewhere.png"})
    return {
        "line": {"prompt.json line 4", f"prompt.json line {len(good) + 3}"},
        "repeated": {f"prompt.json line {len(good) + 2}"},
        "missing": {second["accompaniment"]},
        "unreadable": {first["target"]},
        "size": {third["target"]},
        "maximum": {sixth["target"]},
        "grey_edges": {fourth["source"]},
        "other_edges": {fifth["source"]},
        "orphan": {"target/nobody's.png"},
    }


def test_every_flaw_is_named_and_moved_aside(copy: Path, songs: Path) -> None:
    expected = damage(copy)
    before, journal = snapshot(copy), (copy / "songs.jsonl").read_text()
    done = inspect(copy, code=2)
    assert snapshot(copy) == before
    assert {kind: names for kind, names in found(copy).items() if kind in expected} == expected
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 8
    assert any("grey levels; an edge map is black and white" in line and "--fix broken" in line for line in errors)
    assert "is not fit to train on" in done.stdout.splitlines()[-1]

    done = inspect(copy, "--fix")
    kept = read_records(copy)
    assert len(kept) == 2
    assert not found(copy).keys() & expected.keys()
    after = snapshot(copy)
    for name, content in before.items():
        if name not in ("prompt.json", "songs.jsonl"):
            assert content in (after.get(name), after.get(f"broken/{name}")), name
    reasons = [json.loads(line) for line in after["broken/reasons.jsonl"].decode().splitlines()]
    assert {one["record"] for one in reasons if "record" in one} == set(before["prompt.json"].decode().splitlines()) - {
        json.dumps(line) for line in lines(copy)
    } | {json.dumps(asdict(kept[0]))}
    assert all(one["reason"] for one in reasons)

    again = inspect(copy, "--fix")
    assert again.stdout.startswith("0 records and 0 files moved")
    assert snapshot(copy) == after
    # Making the pairs again takes every song as done and loses none of the good pairs.
    assert (copy / "songs.jsonl").read_text() != journal
    assert "0 songs made now, 4 done before" in make_pairs(songs, copy).stdout
    assert read_records(copy) == kept


def renamed(folder: Path, record: PairRecord, song: str) -> dict[str, Any]:
    """The pair under the name of another song."""
    item = asdict(record) | {"song": song}
    for key in ("source", "target", "accompaniment"):
        item[key] = f"{key}/{song}_{Path(getattr(record, key)).name}"
        shutil.copy(folder / getattr(record, key), folder / item[key])
    return item


def test_a_recording_under_two_names(copy: Path) -> None:
    """An error where the split parts the names, a warning where it does not; --fix duplicates keeps one of them."""
    records = read_records(copy)
    held_out = {record.song for record in split_by_song(records, 0.2)[1]}
    song = next(record.song for record in records if record.song not in held_out)
    twice = [record for record in records if record.song == song]
    for name in map("copy {}".format, range(200)):
        with_copy = records + [PairRecord(**{**asdict(record), "song": name}) for record in twice]
        sides = [{record.song for record in side} & {song, name} for side in split_by_song(with_copy, 0.2)]
        if all(sides):
            break
    write_lines(copy, *map(asdict, records), *(renamed(copy, record, name) for record in twice))
    assert "songs on both sides of the split: 1" in last_error(inspect(copy, "--val_share", 0.2, code=2))
    (leak,) = found(copy)["leak"]
    assert leak in (song, name)
    inspect(copy, "--val_share", 0)
    assert found(copy)["copy"] == {leak}
    inspect(copy, "--val_share", 0.2, "--fix", "duplicates", "--num_workers", 2)  # processes start after work was done here
    assert len({record.song for record in read_records(copy)}) == 4
    assert not found(copy).keys() & {"leak", "copy"}


def test_songs_of_the_validation_set(copy: Path, tmp_path: Path) -> None:
    """A song that both folders hold is an error, by its name or by its sound."""
    val = Path(shutil.copytree(copy, tmp_path / "val"))
    first, *others = sorted({record.song for record in read_records(copy)})
    train_lines = [line for line in lines(copy) if line["song"] != others[-1]]
    write_lines(copy, *train_lines)
    write_lines(val, *({**line, "song": "Other Name"} for line in lines(val) if line["song"] == first))
    last_error(inspect(copy, "--val_dir", val, code=2))
    assert found(copy)["leak"] == {first}
    assert report(copy)["facts"]["split"]["validation songs"] == 1
    inspect(copy, "--val_dir", val, "--fix", "duplicates", "broken")
    assert {record.song for record in read_records(copy)} == set(others[:-1])
    # A flaw of the validation set is an error too, and is left where it is.
    (val / lines(val)[0]["target"]).write_bytes(b"no image")
    before = snapshot(val)
    assert "inspect it by itself" in last_error(inspect(copy, "--val_dir", val, "--fix", code=2))
    assert snapshot(val) == before


def as_edit_pairs(pairs: Path, folder: Path, alone: bool, keys: tuple[str, ...]) -> None:
    """The pairs as edit pairs with these keys. The edited images show the mix, or a vocal alone, half as loud as the backing."""
    folder.mkdir()
    texts = []
    for record in read_records(pairs):
        song = sorted({one.song for one in read_records(pairs)}).index(record.song)
        name = f"s{song}_f{round(record.start_s)}_e0.png"
        (folder / "input_image").mkdir(exist_ok=True)
        shutil.copy(pairs / record.accompaniment, folder / "input_image" / name)
        image = load_image(pairs / (record.accompaniment if alone else record.target))
        save_image(folder / "edited_image" / name, SpectrogramImage(image.pixels, image.max_value / (2 if alone else 1)))
        values = {
            "input_file_path": f"{folder.name}/input_image/{name}",
            "edited_file_path": f"{folder.name}/edited_image/{name}",
            "edit_prompt": "add a vocal melody",
            **{key: getattr(record, key) for key in ("song", "start_s", "semitones")},
            "kind": "add",
        }
        texts.append(json.dumps({key: values[key] for key in keys}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(texts))


OLD_KEYS = ("input_file_path", "edited_file_path", "edit_prompt")


def test_edit_pairs(pairs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "edits"
    as_edit_pairs(pairs, folder, alone=True, keys=(*OLD_KEYS, "song", "start_s", "semitones", "kind"))
    inspect(folder, "--target", "vocals")
    facts = report(folder)["facts"]
    assert facts["sound"]["vocals over backing, dB"]["median"] == pytest.approx(-6.02, abs=0.01)
    assert facts["pairs"]["kinds of edits"] == {"add": 8}
    assert found(folder)["default"] == {record.song for record in read_records(pairs)}
    inspect(folder, "--target", "vocals", "--min_vocal_db", -6)
    assert len(found(folder)["weak"]) == 8


def test_old_edit_pairs_say_what_is_unknown(pairs: Path, tmp_path: Path) -> None:
    """Files with paths relative to the working folder and three keys: nothing is guessed from them."""
    folder = tmp_path / "edits"
    as_edit_pairs(pairs, folder, alone=False, keys=OLD_KEYS)
    done = inspect(folder)
    facts = report(folder)["facts"]
    assert (facts["pairs"]["songs"], facts["pairs"]["songs are"]) == (4, "guessed from the names of the files")
    assert [facts["pairs"][key] for key in ("clips", "pitches, semitones", "kinds of edits")] == [None, None, None]
    assert facts["hours"]["unshifted"] is None
    assert facts["sound"]["vocals over backing, dB"] is None
    assert facts["pairs"]["files that no record names"] == 0
    assert re.search(r"vocals over backing, dB +unknown", done.stdout)


def test_silent_and_weak_clips(copy: Path) -> None:
    """Warnings, which --fix leaves and --fix silent moves."""
    first, second, *_ = lines(copy)
    image = load_image(copy / first["target"])
    save_image(copy / first["target"], SpectrogramImage(np.full_like(image.pixels, 255), 0.0))
    shutil.copy(copy / second["accompaniment"], copy / second["target"])
    items = [{**line, "target_max": None} for line in lines(copy)]
    write_lines(copy, *items)
    inspect(copy, "--num_shown", 1)
    page = (copy.parent / "train-data-inspected" / "index.html").read_text()
    assert "Pairs whose image is silent</h2>" in page
    assert "Clips with hardly any vocal</h2>" in page
    assert page.count("<audio") == 3 * 2  # a clip of those chosen evenly, a silent and a weak one, each with its backing
    assert found(copy)["silent"] == {first["target"]}
    assert found(copy)["weak"] == {second["target"]}
    inspect(copy, "--fix")
    assert len(read_records(copy)) == len(items)
    inspect(copy, "--fix", "silent")
    assert len(read_records(copy)) == len(items) - 2
    assert (copy / "broken" / first["target"]).exists()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (None, "no such folder"),
        ({}, "holds no pairs (prompt.json or metadata.jsonl)"),
        ({"prompt.json": "", "metadata.jsonl": ""}, "keep ControlNet pairs and edit pairs in folders of their own"),
        ({"prompt.json": "\n"}, "holds no pairs"),
        ({"prompt.json": "[{]"}, "is no JSON list"),
    ],
)
def test_what_is_no_folder_of_pairs(tmp_path: Path, files: dict[str, str] | None, words: str) -> None:
    folder = tmp_path / "train-data"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    assert words in last_error(inspect(folder, code=2))


def test_a_folder_without_a_readable_record_is_not_fit(tmp_path: Path) -> None:
    (tmp_path / "train-data").mkdir()
    write_lines(tmp_path / "train-data", {"source": "a.png"})
    assert 'has no "target"' in last_error(inspect(tmp_path / "train-data", code=2))


@given(st.lists(st.integers(0, 50), max_size=8))
def test_the_effective_number_of_prompts(counts: list[int]) -> None:
    number = effective_number(counts)
    different = sum(count > 0 for count in counts)
    assert (number == 0) == (different == 0)
    assert number <= different + 1e-9
    assert effective_number([7] * 5) == pytest.approx(5)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(ROOT / "models" / "riffusion-mini" / "tokenizer")


@given(text=st.text("abz é'’-_,.!?12 \n", max_size=60))
@settings(deadline=None)
def test_no_prompt_has_fewer_tokens_than_is_said(tokenizer: Any, text: str) -> None:
    assert fewest_tokens(text) <= len(tokenizer(text).input_ids) - 2
    assert fewest_tokens("la " * (MAX_TOKENS + 1)) > MAX_TOKENS


@given(st.floats(-60, 40))
@settings(deadline=None, max_examples=20)
def test_a_vocal_alone_is_as_loud_as_its_image_says(gain_db: float) -> None:
    import torch

    mel = torch.from_numpy(np.random.default_rng(0).exponential(size=(512, 64)).astype(np.float32))
    image, louder = mel_to_image(mel), mel_to_image(mel * 10 ** (gain_db / 20))
    backing, vocal = (image_energy(one.pixels, one.max_value) for one in (image, louder))
    assert vocal_level(backing, vocal, alone=True) == pytest.approx(gain_db, abs=0.05)
    assert vocal_level(backing, backing + vocal, alone=False) == pytest.approx(gain_db, abs=0.05)
    assert vocal_level(backing, backing, alone=False) == float("-inf")
    assert vocal_level(0.0, vocal, alone=True) is None
