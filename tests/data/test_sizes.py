"""Images of several sizes in training data: the commonest that fits is taken, others are named and left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate

from riff.data.datasets import ControlDataset, EditDataset
from riff.errors import DataError
from riff.models.edit import attach_edit
from riff.models.loading import load_base, load_control_pipeline
from riff.training.control import ControlObjective, prepare_control_data
from riff.training.edit import EditObjective, EditSettings, prepare_edit_data

ODD = 48  # pixels: three latent columns, which the UNet does not halve


def write_pairs(folder: Path, keys: tuple[str, str, str], records_file: str, *widths: tuple[int, int]) -> Path:
    """Pairs of images 64 pixels high, of these widths."""
    random, lines = np.random.default_rng(0), []
    for number, pair in enumerate(widths):
        names = [f"{key}-{number}.png" for key in keys[:2]]
        for name, width in zip(names, pair, strict=True):
            Image.fromarray(255 * random.integers(0, 2, (64, width), np.uint8)).save(folder / name)
        lines.append(json.dumps({**dict(zip(keys, [*names, "a sad song"], strict=True)), "song": str(number)}))
    (folder / records_file).write_text("\n".join(lines) + "\n")
    return folder


def control_pairs(folder: Path, *widths: tuple[int, int]) -> Path:
    return write_pairs(folder, ("source", "target", "prompt"), "prompt.json", *widths)


def test_controlnet_pairs_of_other_sizes_are_left_out(
    tiny_control: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = load_control_pipeline(tiny_control)
    widths = ((50, 50), (ODD, ODD), (64, 64), (50, 50), (ODD, 64), (ODD, ODD), (50, 50))
    data = prepare_control_data(control_pairs(tmp_path, *widths), "", pipeline, "cpu", val_share=0)
    assert [record.target for record in data.training] == ["target-1.png", "target-5.png"]
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("left out: source-0.png: an image of 64x50 does not fit this model") for line in lines)
    assert "left out: target-4.png: 64x64 pixels, and most are 48x64" in lines
    batch = default_collate([ControlDataset(data.store, data.training, data.encoded)[index] for index in (0, 1)])
    noisy = torch.randn(2, 4, 4, ODD // 16)
    objective = ControlObjective(pipeline.unet, pipeline.controlnet)
    assert objective.predict_noise(batch, noisy, torch.tensor([5, 7]), None).shape == noisy.shape


def test_edit_pairs_of_other_sizes_are_left_out(tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = attach_edit(load_base(str(tiny_base)))
    keys = ("input_file_path", "edited_file_path", "edit_prompt")
    folder = write_pairs(tmp_path, keys, "metadata.jsonl", (ODD, ODD), (64, 64), (ODD, ODD))
    data = prepare_edit_data(EditSettings(pairs=folder, val_share=0), pipeline)
    assert len(data.training) == 2
    assert capsys.readouterr().err.count("left out: ") == 2
    batch = default_collate([EditDataset(data.training, data.encoded)[0]])
    noisy = torch.randn(1, 4, 4, ODD // 16)
    objective = EditObjective(pipeline.unet, pipeline.vae.config.scaling_factor)
    assert objective.predict_noise(batch, noisy, torch.tensor([5]), None).shape == noisy.shape


def test_images_of_which_none_fits_end_in_one_line(tiny_control: Path, tmp_path: Path) -> None:
    pipeline = load_control_pipeline(tiny_control)
    with pytest.raises(DataError, match=r"source-0\.png: an image of 64x50 does not fit this model"):
        prepare_control_data(control_pairs(tmp_path, (50, 50)), "", pipeline, "cpu", val_share=0)
    with pytest.raises(DataError, match="the images of every pair differ in size"):
        prepare_control_data(control_pairs(tmp_path, (ODD, 64)), "", pipeline, "cpu", val_share=0)
