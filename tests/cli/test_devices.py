"""The device that is chosen, and what it computes in, decided from the properties that PyTorch reports."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import train_instruct_pix2pix
from riff.devices import choose_device, computes_bf16, default_precision, sampling_dtype, signal_device
from riff.errors import OptionError

HALF = torch.float16


def on_machine(
    monkeypatch: pytest.MonkeyPatch, gpu: str = "", capability: tuple[int, int] = (0, 0), hip: str | None = None, mps: bool = False
) -> None:
    """PyTorch reports these properties. gpu: its name, "" for none."""
    properties = SimpleNamespace(name=gpu, major=capability[0], minor=capability[1], total_memory=15_640_000_000)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpu))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("gpu", "capability", "hip", "training", "sampling"),
    [
        ("Tesla T4", (7, 5), None, "16", HALF),
        ("Tesla V100-SXM2-16GB", (7, 0), None, "16", HALF),
        ("NVIDIA GeForce GTX 1660 Ti", (7, 5), None, "32", torch.float32),
        ("NVIDIA GeForce GTX 1080", (6, 1), None, "16", HALF),
        ("NVIDIA A100-SXM4-40GB", (8, 0), None, "bf16", HALF),
        ("NVIDIA H100 80GB HBM3", (9, 0), None, "bf16", HALF),
        ("AMD Instinct MI210", (9, 0), "6.4.1", "bf16", HALF),
    ],
)
def test_what_a_gpu_computes_in(
    gpu: str,
    capability: tuple[int, int],
    hip: str | None,
    training: str,
    sampling: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    on_machine(monkeypatch, gpu, capability, hip)
    assert (choose_device("auto"), choose_device("cuda")) == ("cuda", "cuda")
    assert (default_precision("cuda"), sampling_dtype("cuda"), signal_device("cuda")) == (training, sampling, "cuda")
    assert computes_bf16("cuda") == (training == "bf16")
    (line,) = capsys.readouterr().err.splitlines()  # of auto alone
    assert line.startswith(f"device cuda: {gpu}, the first of 2 GPUs, 14.6 GiB, {'ROCm 6.4.1' if hip else 'compute capability'}")


def test_mps_samples_and_does_not_train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    on_machine(monkeypatch, mps=True)
    assert choose_device("auto", mps=True) == choose_device("mps", mps=True) == "mps"
    assert choose_device("auto") == "cpu"
    assert (sampling_dtype("mps"), signal_device("mps")) == (torch.float32, "cpu")
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["device mps", "device cpu"]
    with pytest.raises(OptionError, match="--device mps: only sampling runs there"):
        choose_device("mps")


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_what_is_not_there_is_refused(device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    on_machine(monkeypatch)
    with pytest.raises(OptionError, match=f"--device {device}: no {device.upper()} device is visible"):
        choose_device(device, mps=True)
    assert choose_device("cpu") == "cpu"
    assert capsys.readouterr().err == ""
    assert choose_device("auto", mps=True) == "cpu"
    assert capsys.readouterr().err.startswith("device cpu: PyTorch sees no GPU")


def test_only_the_first_of_several_processes_reports(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    choose_device("auto")
    assert capsys.readouterr().err == ""


def test_a_trainer_names_what_it_does_not_run_on() -> None:
    with pytest.raises(OptionError, match="--device mps: only sampling runs there"):
        train_instruct_pix2pix.read_settings(train_instruct_pix2pix.parse_args(["--device", "mps"]))
