"""Both trainers on shards by the real scripts: the same losses as on the folder, going on from one to the other, and errors."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import last_error, run_script
from trainer_flags import edit_training_flags as flags
from trainer_flags import training_flags

from riff.data.pack import write_shard
from riff.data.records import CONTROL_PAIRS
from riff.data.stores import open_pairs
from riff.training.run_dir import read_losses
from tools import pack_dataset

pytest.importorskip("datasets", reason="pip install datasets")
RUN = "lightning_logs/version_0"


@pytest.fixture(scope="module")
def shards(pairs: Path, edit_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    folder = tmp_path_factory.mktemp("shards")

    def make(kind: str, form: str) -> Path:
        root, source = folder / f"{kind}-{form}", {"control": pairs, "edit": edit_pairs}[kind]
        flags = ["--data_dir", source, "--output", root, "--format", form, "--pairs_per_shard", 3]
        pack_dataset.main([*map(str, flags)])
        return root

    return make


def results(root: Path) -> list[list[dict[str, float]]]:
    return [read_losses(root / RUN / name) for name in ("losses.jsonl", "validation.jsonl")]


def samples(root: Path) -> dict[str, bytes]:
    folder = root / "image_log" / "version_0"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.wav")}


def test_a_controlnet_learns_the_same_from_shards(
    shards: Callable[[str, str], Path], pairs: Path, tiny_control: Path, tmp_path: Path
) -> None:
    """Three steps on the folder; and one on tars, by another process, then two on Parquet files."""
    folder, other = tmp_path / "folder", tmp_path / "other"
    more = ("--precision", 32, "--val_freq", 3, "--logger_freq", 3)
    run_script("cnet_riff_training.py", *training_flags(pairs, tiny_control, folder), *more, "--max_steps", 3)
    tars = f"{shards('control', 'webdataset')}/pairs-{{000000..000003}}.tar"
    first = training_flags(Path(tars), tiny_control, other)
    run_script("cnet_riff_training.py", *first, *more, "--max_steps", 1, "--num_workers", 1)
    root = shards("control", "parquet")
    going_on = ("--log_dir", other, "--resume", "--train_data_dir", root, "--max_steps", 3, "--num_workers", 1)
    run_script("cnet_riff_training.py", *going_on)
    assert (root / ".cache").is_dir()
    assert results(other)[0] == results(folder)[0]
    assert [line for line in results(other)[1] if line["step"] == 3] == [line for line in results(folder)[1] if line["step"] == 3]
    last = {name: sound for name, sound in samples(other).items() if name.startswith("step=000003/")}
    assert last == samples(folder)
    assert (other / "final" / "model_index.json").exists()


def test_an_edit_model_learns_the_same_from_shards(
    shards: Callable[[str, str], Path], edit_pairs: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """Two steps on the folder, and two on shards of both formats. What the images show is in the manifest of the shards."""
    folder, other = tmp_path / "folder", tmp_path / "other"
    more = ("--val_freq", 2, "--validation_steps", 2, "--max_train_steps", 2)
    run_script("train_instruct_pix2pix.py", *flags(edit_pairs, tiny_base, folder, *more))
    rows, tars = (shards("edit", form) for form in ("parquet", "webdataset"))
    (tars / "pairs-000001.tar").unlink()
    shutil.copy(rows / "pairs-000001.parquet", tars)
    both = tars / "pairs-{000000.tar,000001.parquet,000002.tar,000003.tar}"
    run_script("train_instruct_pix2pix.py", *flags(both, tiny_base, other, *more))
    assert results(other) == results(folder)
    assert samples(other) == samples(folder)
    assert '"target": "vocals"' in (other / "final" / "riff.json").read_text()


def test_errors_of_shards_end_in_one_line(
    shards: Callable[[str, str], Path], pairs: Path, tiny_control: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """A hint that is broken is found in a process that reads pairs; and pairs of the other kind, and of no root, at once."""
    store, records = open_pairs(pairs, CONTROL_PAIRS)
    images = [{key: store.read(path) for key, path in CONTROL_PAIRS.image_paths(record).items()} for record in records]
    for broken in images[1:]:
        broken["source"] = b"no image"
    path = tmp_path / "broken.tar"
    write_shard(path, CONTROL_PAIRS, zip(records, images, strict=True))
    command = (*training_flags(path, tiny_control, tmp_path), "--val_share", 0, "--num_workers", 1, "--max_steps", 2)
    message = last_error(run_script("cnet_riff_training.py", *command, code=2))
    assert message.startswith(f"error: {path}/")
    assert message.endswith(": cannot be read as an image; make it again")
    flags_of_other = flags(path, tiny_base, tmp_path / "edit")
    assert "broken.tar: holds pairs, which cnet_riff_training.py takes" in last_error(
        run_script("train_instruct_pix2pix.py", *flags_of_other, code=2)
    )
    nowhere = flags(Path("nobody/nothing"), tiny_base, tmp_path / "edit")
    assert "error: nobody/nothing: no such folder here" in last_error(run_script("train_instruct_pix2pix.py", *nowhere, code=2))
