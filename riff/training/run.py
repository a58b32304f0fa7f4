"""One training run: from the folder of pairs and the pipeline to the loadable result, stopped and resumed at will."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from diffusers import UniPCMultistepScheduler
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger

from riff.data.datasets import ControlDataset, split_by_song
from riff.data.latents import encode_pairs
from riff.data.records import PairRecord, read_records
from riff.errors import DataError, OptionError
from riff.models.base import weights_hash
from riff.models.control import with_control
from riff.sampling.control import SamplingOptions
from riff.spectrogram.image import load_grey, load_image
from riff.training.callbacks import HeldOutClip, LossLog, SampleLog, StopInTime
from riff.training.module import ControlTraining, TrainingOptions

LOGS = "lightning_logs"
IMAGES = "image_log"
CHECKPOINT_NAME = "step={step:06d}"


@dataclass(frozen=True)
class RunPlaces:
    """Where a run keeps its things: `lightning_logs/version_N/` and `image_log/version_N/` under one folder."""

    root: Path
    version: int

    @classmethod
    def next(cls, root: Path) -> RunPlaces:
        """The first version that has neither logs nor pictures."""
        return cls(root, 1 + max((*_versions(root / LOGS), *_versions(root / IMAGES)), default=-1))

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> RunPlaces:
        run = checkpoint.resolve().parent.parent
        match = re.fullmatch(r"version_(\d+)", run.name)
        if match is None:
            raise OptionError(f"--resume {checkpoint}: does not lie in lightning_logs/version_N/checkpoints/")
        return cls(run.parent.parent, int(match[1]))

    @property
    def run(self) -> Path:
        return self.root / LOGS / f"version_{self.version}"

    @property
    def checkpoints(self) -> Path:
        return self.run / "checkpoints"

    @property
    def images(self) -> Path:
        return self.root / IMAGES / f"version_{self.version}"

    @property
    def losses(self) -> Path:
        return self.run / "losses.jsonl"


def _versions(folder: Path) -> list[int]:
    return [int(match[1]) for path in folder.glob("version_*") if (match := re.fullmatch(r"version_(\d+)", path.name))]


def find_checkpoint(root: Path, resume: str) -> Path:
    """The checkpoint that `--resume` means: a path, or for `newest` the latest one under `lightning_logs/`.

    Raises:
        OptionError: there is none.
    """
    if resume != "newest":
        if not Path(resume).is_file():
            raise OptionError(f"--resume {resume}: no such checkpoint")
        return Path(resume)
    found = sorted(root.glob(f"{LOGS}/version_*/checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise OptionError(f"--resume: no checkpoint under {root / LOGS}; leave the flag out to start anew")
    return found[-1]


def train_control(
    pipeline: Any,
    data_dir: Path,
    control_method: str,
    options: TrainingOptions,
    places: RunPlaces,
    *,
    device: str,
    precision: str,
    max_seconds: float,
    logger_freq: int,
    checkpoint_freq: int,
    val_share: float,
    sampling: SamplingOptions,
    resume: Path | None = None,
    on_start: Callable[[], None] = lambda: None,
) -> tuple[int, str]:
    """Train the pipeline's ControlNet in place.

    Args:
        on_start: called when everything is ready and the first step comes next.

    Returns:
        The step it reached, and why it stopped early ("" if it did not).

    Raises:
        DataError: no usable pairs.
    """
    quieten_lightning()
    records = read_records(data_dir, control_method)
    training, held_out = split_by_song(records, val_share)
    print(f"{len(training)} pairs to train on, {len(held_out)} held out (other songs)")
    names = (weights_hash(pipeline.vae), weights_hash(pipeline.text_encoder))
    encoded = encode_pairs(data_dir, records, pipeline.vae, pipeline.text_encoder, pipeline.tokenizer, names, device)
    _check_hint_size(data_dir, records[0], pipeline)
    module = ControlTraining(
        pipeline.unet, pipeline.controlnet, pipeline.scheduler, ControlDataset(data_dir, training, encoded), options
    )
    sampler = with_control(pipeline, pipeline.controlnet)
    sampler.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    sampler.set_progress_bar_config(disable=True)
    stop = StopInTime(max_seconds)
    saver = ModelCheckpoint(
        dirpath=places.checkpoints,
        filename=CHECKPOINT_NAME,
        auto_insert_metric_name=False,
        every_n_train_steps=checkpoint_freq,
        save_top_k=1,
        enable_version_counter=False,
    )
    clips = held_out_clips(data_dir, held_out or training)
    trainer = pl.Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        precision={"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[precision],  # type: ignore[arg-type]
        max_steps=options.max_steps,
        accumulate_grad_batches=options.accumulate,
        gradient_clip_val=1.0,
        callbacks=[
            stop,
            LossLog(places.losses),
            SampleLog(sampler, clips, places.images, logger_freq, sampling, options.seed),
            saver,
            TQDMProgressBar(refresh_rate=5),
        ],
        logger=TensorBoardLogger(places.root, name=LOGS, version=places.version),
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    on_start()
    trainer.fit(module, ckpt_path=resume, weights_only=True)
    final = places.checkpoints / f"{CHECKPOINT_NAME.format(step=trainer.global_step)}.ckpt"
    if not final.exists():
        trainer.save_checkpoint(final)
        for older in places.checkpoints.glob("*.ckpt"):
            if older != final:
                older.unlink()
    return trainer.global_step, stop.reason


def held_out_clips(data_dir: Path, records: Sequence[PairRecord], most: int = 4) -> list[HeldOutClip]:
    """Clips to draw samples for: unshifted ones of different songs."""
    chosen: dict[str, PairRecord] = {}
    for record in sorted(records, key=lambda record: (abs(record.semitones), record.song, record.start_s)):
        chosen.setdefault(record.song, record)
    clips = []
    for record in list(chosen.values())[:most]:
        target = load_image(data_dir / record.target)
        backing = load_image(data_dir / record.accompaniment) if record.accompaniment else target
        edges = load_grey(data_dir / record.source)
        clips.append(HeldOutClip(Path(record.source).stem, record.prompt, edges, backing, target))
    return clips


def _check_hint_size(data_dir: Path, record: PairRecord, pipeline: Any) -> None:
    height, width = load_grey(data_dir / record.source).shape
    factor = 2 ** (len(pipeline.controlnet.config.conditioning_embedding_out_channels) - 1)
    if height % factor or width % factor:
        raise DataError(f"{data_dir / record.source}: {height}x{width} does not fit this model; use multiples of {factor}")


def quieten_lightning() -> None:
    """Keep Lightning's advice about itself off the terminal; its errors still come."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="lightning")
