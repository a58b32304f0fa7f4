"""The loggers of a run, read back from the files for TensorBoard, Weights & Biases and CSV."""

from __future__ import annotations

import csv
import io
import json
import struct
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cnet_riff_training
import train_instruct_pix2pix
from riff.errors import OptionError
from riff.training.loggers import LOGGERS, check_loggers, new_loggers
from riff.training.run_dir import RunDir, read_losses

STEPS, RESUMED_STEPS = 3, 5
BLOCK = 32_768  # bytes of a W&B file, which no piece of a record crosses
FIGURES = {
    *("training/loss", "training/learning_rate", "training/gradient_norm"),
    *("held_out/loss", "held_out/edge_f1", "held_out/edge_f1_floor", "held_out/edge_f1_ceiling"),
}


@pytest.fixture(scope="module")
def run(pairs: Path, tiny_control: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped and resumed, with all loggers; the resumed one has them from its configuration."""
    root = tmp_path_factory.mktemp("logged")
    flags = [
        *("--train_data_dir", pairs, "--model", tiny_control, "--output", root / "final", "--log_dir", root),
        *(
            "--batch_size",
            2,
            "--learning_rate",
            1e-3,
            "--warmup_steps",
            2,
            "--num_workers",
            0,
            "--sample_steps",
            1,
            "--device",
            "cpu",
        ),
        *("--val_pictures", 2, "--val_freq", 3, "--max_steps", STEPS, "--logger", *LOGGERS, "--wandb_project", "voices"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        forget_wandb_settings()
        cnet_riff_training.main([*map(str, flags)])
        cnet_riff_training.main(["--log_dir", str(root), "--max_steps", str(RESUMED_STEPS), "--resume"])
    return root / "lightning_logs/version_0"


def forget_wandb_settings() -> None:
    """Let it read the environment anew, which it does once a process."""
    import wandb

    wandb.teardown()


@pytest.fixture(scope="module")
def clip(run: Path) -> str:
    """The one clip of the song that is held out."""
    (sound,) = samples(run).glob("*.wav")
    return sound.stem


def samples(run: Path) -> Path:
    return run.parent.parent / f"image_log/version_0/step={RESUMED_STEPS:06d}"


@pytest.fixture(scope="module")
def board(run: Path) -> EventAccumulator:
    return read_board(run)


def read_board(folder: Path) -> EventAccumulator:
    everything = dict.fromkeys(("scalars", "images", "audio", "tensors"), 0)
    return EventAccumulator(str(folder), size_guidance=everything).Reload()


def grey(image: Path | io.BytesIO) -> np.ndarray:
    return np.array(Image.open(image).convert("L"))


def wandb_records(file: Path) -> Iterator:
    """The records of a run's file: after a header of 7 bytes, pieces of (checksum, length, type) and bytes, in blocks."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made by protobuf

    data, position, whole = file.read_bytes(), 7, b""
    while position + 7 <= len(data):
        if BLOCK - position % BLOCK < 7:
            position += BLOCK - position % BLOCK
            continue
        _, length, chunk_type = struct.unpack_from("<IHB", data, position)
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if chunk_type in (1, 4):  # whole, or the last piece
            yield Record.FromString(whole)
            whole = b""


def wandb_history(file: Path) -> Iterator[dict]:
    for record in wandb_records(file):
        if record.WhichOneof("record_type") == "history":
            yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


def test_tensorboard_holds_the_figures(run: Path, board: EventAccumulator) -> None:
    assert set(board.Tags()["scalars"]) == FIGURES
    first = read_losses(run / "losses.jsonl")[0]
    assert [(event.step, event.value) for event in board.Scalars("training/loss")] == [(1, pytest.approx(first["loss"]))]
    assert board.Scalars("training/learning_rate")[0].value == pytest.approx(5e-4)  # in the first of two steps of warmup
    assert board.Scalars("training/gradient_norm")[0].value > 0
    validations = read_losses(run / "validation.jsonl")
    for name in ("loss", "edge_f1"):
        expected = [(line["step"], pytest.approx(line[name])) for line in validations if name in line]
        assert [(event.step, event.value) for event in board.Scalars(f"held_out/{name}")] == expected
    for name in ("edge_f1_floor", "edge_f1_ceiling"):  # a line beside the curve
        (known,) = [line[name] for line in validations if name in line]
        assert [(event.step, event.value) for event in board.Scalars(f"held_out/{name}")] == [
            (step, pytest.approx(known)) for step in (0, STEPS, RESUMED_STEPS)
        ]


def test_tensorboard_has_images_and_audio_to_compare(run: Path, board: EventAccumulator, clip: str, pairs: Path) -> None:
    images = {name: board.Images(name) for name in board.Tags()["images"]}
    assert set(images) == {f"{clip}/{name}" for name in ("accompaniment", "edges", "target", "sample")}
    assert [event.step for event in images[f"{clip}/sample"]] == [STEPS, RESUMED_STEPS]
    assert [event.step for event in images[f"{clip}/target"]] == [0, STEPS]  # once a start
    record = next(json.loads(line) for line in (pairs / "prompt.json").read_text().splitlines() if clip in line)
    kept = {"sample": samples(run) / f"{clip}.png", "target": pairs / record["target"], "edges": pairs / record["source"]}
    for name, path in kept.items():
        assert np.array_equal(grey(io.BytesIO(images[f"{clip}/{name}"][-1].encoded_image_string)), grey(path))
    assert set(board.Tags()["audio"]) == {f"{clip}/{name}" for name in ("accompaniment", "target", "sample")}
    text = board.Tensors(f"{clip}/prompt/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text == record["prompt"]
    assert "    wandb_project: voices\n" in board.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()


def test_tensorboards_sound_is_the_samples(run: Path, board: EventAccumulator, clip: str) -> None:
    """To 16 bits, and not clipped."""
    for name in ("accompaniment", "target", "sample"):
        waveform, rate = soundfile.read(io.BytesIO(board.Audio(f"{clip}/{name}")[-1].encoded_audio_string))
        assert rate == 44_100
        assert 0.05 < np.abs(waveform).max() < 0.995
    kept, _ = soundfile.read(samples(run) / f"{clip}.wav")
    assert waveform.shape == kept.shape
    noise = np.square(waveform - kept).sum()
    assert 10 * np.log10(np.square(kept).sum() / noise) > 50


def test_the_table_holds_both_parts_of_the_run(run: Path) -> None:
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {*FIGURES, "step"}
    validations = [(int(row["step"]), float(row["held_out/loss"])) for row in rows if row["held_out/loss"]]
    assert validations == [(line["step"], line["loss"]) for line in read_losses(run / "validation.jsonl") if "loss" in line]


def test_wandb_holds_the_same_as_one_run(run: Path, board: EventAccumulator, clip: str) -> None:
    files = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
    histories = [list(wandb_history(file)) for file in files]
    (described, *_), (again, *_) = ([r.run for r in wandb_records(file) if r.WhichOneof("record_type") == "run"] for file in files)
    assert described.run_id == again.run_id == (run / "wandb-id.txt").read_text().strip()
    assert (described.project, described.display_name) == ("voices", "version_0")
    seen: dict[str, list] = {}
    for line in chain(*histories):
        for name, value in line.items():
            seen.setdefault(name, []).append((line["trainer/global_step"], value))
    for name in FIGURES:
        assert seen[name] == [(event.step, pytest.approx(event.value)) for event in board.Scalars(name)], name
    assert {name.removesuffix("/_type") for name in seen if name.endswith("/_type")} == {
        f"{clip}/{name}"
        for name in ("accompaniment", "accompaniment_sound", "edges", "target", "target_sound", "sample", "sample_sound", "prompt")
    }
    (sound,) = files[-1].parent.glob(f"files/media/audio/{clip}/sample_sound_*.wav")
    waveform, kept = (soundfile.read(path)[0] for path in (sound, samples(run) / f"{clip}.wav"))
    assert np.abs(waveform - kept).max() < 2**-14
    (image,) = files[-1].parent.glob(f"files/media/images/{clip}/sample_*.png")
    assert np.array_equal(grey(image), grey(samples(run) / f"{clip}.png"))


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_values_logged_after_the_checkpoint_are_discarded(tmp_path: Path) -> None:
    """A run that was killed at step 4 resumes from the checkpoint of step 2."""
    run_dir = RunDir(tmp_path, 0)
    run_dir.path.mkdir(parents=True)
    run_dir.config.write_text("seed: 0\n")
    for first, last, figure in ((0, 4, 1.0), (2, 3, 2.0)):
        time.sleep(1.01 - time.time() % 1)  # a resumed run is a later one: TensorBoard orders files by the second
        for logger in new_loggers(("tensorboard", "csv", "csv"), run_dir, "", first):
            logger.begin(run_dir.config)
            for step in range(first + 1, last + 1):
                logger.log_metrics({"figure": figure}, step)
                logger.log_metrics({"other": figure}, step)
            logger.finalize("success")  # type: ignore[attr-defined]
    expected = [(1, 1.0), (2, 1.0), (3, 2.0)]
    assert [(event.step, event.value) for event in read_board(run_dir.path).Scalars("figure")] == expected
    with open(run_dir.path / "metrics.csv", newline="") as file:
        rows = [(int(row["step"]), float(row["figure"])) for row in csv.DictReader(file) if row["figure"]]
    assert rows == expected


def test_wandb_keeps_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    forget_wandb_settings()
    monkeypatch.setattr(sys, "argv", ["train_instruct_pix2pix.py", "--hub_token", "hf_SECRET"])
    run_dir = RunDir(tmp_path, 0)
    run_dir.path.mkdir(parents=True)
    run_dir.config.write_text("learning_rate: 0.125\n")
    (logger,) = new_loggers(["wandb"], run_dir, "voices")
    logger.begin(run_dir.config)
    logger.finalize("success")  # type: ignore[attr-defined]
    contents = [path.read_bytes() for path in run_dir.path.rglob("*") if path.is_file()]
    assert any(b"learning_rate" in content for content in contents)
    assert not any(b"hf_SECRET" in content for content in contents)


def test_unavailable_wandb_is_reported_at_once(
    pairs: Path, tiny_control: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    forget_wandb_settings()
    flags = ("--train_data_dir", pairs, "--model", tiny_control, "--log_dir", tmp_path, "--output", tmp_path / "final")
    with pytest.raises(OptionError, match=r"^--logger wandb: No API key configured.*; .* or .*WANDB_MODE=offline$"):
        cnet_riff_training.main([*map(str, flags), "--device", "cpu", "--logger", "wandb"])
    assert not (tmp_path / "lightning_logs").exists()
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(OptionError, match="loggers wandb: it is not installed; pip install wandb"):
        check_loggers(["csv", "wandb"])
    check_loggers(["tensorboard", "csv"])


def test_flags(tmp_path: Path) -> None:
    assert cnet_riff_training.parse_args([]).logger == ["tensorboard"]
    assert cnet_riff_training.parse_args(["--logger", *LOGGERS]).logger == list(LOGGERS)
    assert cnet_riff_training.parse_args(["--logger", "csv", "wandb"]).logger == ["csv", "wandb"]
    for flag in ("--report_to", "--logger"):
        assert train_instruct_pix2pix.parse_args([flag, "wandb"]).logger == ["wandb"]
    config = tmp_path / "config.yaml"
    for text, loggers in (("csv", ["csv"]), ("[csv, tensorboard]", ["csv", "tensorboard"])):
        config.write_text(f"logger: {text}\n")
        assert cnet_riff_training.parse_args(["--config", str(config)]).logger == loggers
    for text in ("comet", "[csv, comet]"):
        config.write_text(f"logger: {text}\n")
        with pytest.raises(
            OptionError, match=r"logger: invalid choice: 'comet' \(choose from '?tensorboard'?, '?wandb'?, '?csv'?\)"
        ):
            cnet_riff_training.parse_args(["--config", str(config)])
