"""Training by several processes, by the real scripts: the same as one, however they are started, stopped and resumed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, run_script
from safetensors.torch import load_file

import cnet_riff_training
from riff import cli
from riff.errors import OptionError, RiffError
from riff.training import launch
from riff.training.processes import launched_processes
from riff.training.run_dir import read_losses

LAUNCHERS = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in LAUNCHERS} | {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "PYTHONPATH": str(ROOT),
}
LOSS_TOLERANCE = 1e-5  # relative; sums over a batch are added up in another order
WEIGHT_TOLERANCE = 2e-4  # a fifth of the learning rate: Adam's first steps turn on the last digits of tiny gradients


def flags(pairs: Path, model: Path, root: Path, *more: object) -> list[str]:
    given = [
        *("--train_data_dir", pairs, "--model", model, "--output", root / "final", "--log_dir", root, "--learning_rate", 1e-3),
        *("--num_workers", 0, "--sample_steps", 1, "--device", "cpu", "--controlnet_only"),
        *("--val_pictures", 2, "--precision", 32),  # which alone is the same for any number of processes
    ]
    return [str(one) for one in (*given, *more)]


def losses(root: Path) -> dict[float, float]:
    return {line["step"]: line["loss"] for line in read_losses(root / "lightning_logs/version_0/losses.jsonl")}


def checkpoint(root: Path) -> dict:
    (file,) = (root / "lightning_logs/version_0/checkpoints").iterdir()
    return torch.load(file, weights_only=True)


def assert_close(ours: Path, theirs: Path) -> None:
    """Two runs that differ in nothing but their processes: losses, checkpoints and results."""
    np.testing.assert_allclose(list(losses(ours).values()), list(losses(theirs).values()), rtol=LOSS_TOLERANCE)
    a, b = checkpoint(ours), checkpoint(theirs)
    assert a.keys() == b.keys()
    assert list(a["state_dict"]) == list(b["state_dict"])
    for name, value in a["state_dict"].items():
        torch.testing.assert_close(value, b["state_dict"][name], rtol=0, atol=WEIGHT_TOLERANCE)
    states = [one["optimizer_states"][0] for one in (a, b)]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for number, state in states[0]["state"].items():
        for name, value in state.items():
            torch.testing.assert_close(value, states[1]["state"][number][name], rtol=1e-2, atol=1e-5)
    results = [load_file(root / "final/diffusion_pytorch_model.safetensors") for root in (ours, theirs)]
    assert results[0].keys() == results[1].keys()
    assert all((results[0][name] - value).abs().max() < 2 * WEIGHT_TOLERANCE for name, value in results[1].items())  # in fp16


def step_of(root: Path) -> int:
    return int(checkpoint(root)["global_step"])


@pytest.fixture(scope="module")
def half(pairs: Path, tiny_control: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps by one process."""
    root = tmp_path_factory.mktemp("half")
    cnet_riff_training.main(flags(pairs, tiny_control, root, "--batch_size", 2, "--max_steps", 2))
    return root


def resuming(half: Path, root: Path, *more: object) -> list[str]:
    """Flags that resume from there, in a copy of the folder."""
    shutil.copytree(half, root, dirs_exist_ok=True)
    return [str(one) for one in ("--resume", "--log_dir", root, "--output", root / "final", *more)]


@pytest.fixture(scope="module")
def resumed(half: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Resumed by two processes, stopped by Ctrl-C, and resumed for two steps; with the output of the former."""
    root = tmp_path_factory.mktemp("resumed")
    more = ("--batch_size", 1, "--devices", 2, "--checkpoint_freq", 1, "--max_steps", 500)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "cnet_riff_training.py"), *resuming(half, root, *more)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    first, deadline = root / "lightning_logs/version_0/checkpoints/step=000002.ckpt", time.monotonic() + 200
    while first.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    run_script("cnet_riff_training.py", "--resume", "--log_dir", root, "--max_steps", step_of(root) + 2)
    return root, output


@pytest.fixture(scope="module")
def uninterrupted(half: Path, resumed: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same steps in one go, by two processes that srun started."""
    root, steps = tmp_path_factory.mktemp("uninterrupted"), step_of(resumed[0])
    given = resuming(half, root, "--batch_size", 1, "--max_steps", steps)
    port = {"MASTER_PORT": str(free_port())}
    tasks = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "cnet_riff_training.py"), *given],
            env=ENVIRONMENT | slurm(rank) | port,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ended = [(*task.communicate(timeout=200), task.returncode) for task in tasks]
    assert [status for *_, status in ended] == [0, 0], ended
    assert [f"step {steps}:" in output for output, *_ in ended] == [True, False]
    return root


@pytest.mark.slow
def test_ctrl_c_reaches_all_processes_and_leaves_a_run_to_resume(resumed: tuple[Path, str]) -> None:
    root, output = resumed
    assert output.count("interrupted; step") == output.count("2 processes, 2 pairs a step") == 1
    assert list(losses(root)) == list(range(1, step_of(root) + 1))
    assert [path.name for path in (root / "lightning_logs").iterdir()] == ["version_0"]
    assert len(list((root / "lightning_logs/version_0").glob("events.out.tfevents.*"))) == 3  # a start, the first process's alone


@pytest.mark.slow
def test_two_processes_train_as_one_does(half: Path, resumed: tuple[Path, str], tmp_path: Path) -> None:
    cnet_riff_training.main(resuming(half, tmp_path, "--max_steps", step_of(resumed[0])))
    assert_close(resumed[0], tmp_path)


@pytest.mark.slow
def test_resuming_with_two_processes_equals_an_uninterrupted_run(resumed: tuple[Path, str], uninterrupted: Path) -> None:
    """Bit by bit."""
    assert losses(uninterrupted) == losses(resumed[0])
    ours, theirs = checkpoint(uninterrupted), checkpoint(resumed[0])
    assert all(torch.equal(value, theirs["state_dict"][name]) for name, value in ours["state_dict"].items())


def slurm(rank: int) -> dict[str, str]:
    """What `srun --nodes 1 --ntasks 2 --ntasks-per-node 2` sets for a task."""
    variables = {"JOB_ID": 4711, "STEP_ID": 0, "NTASKS": 2, "NTASKS_PER_NODE": 2, "PROCID": rank, "LOCALID": rank, "NODEID": 0}
    return {f"SLURM_{name}": str(value) for name, value in variables.items()} | {"SLURM_NODELIST": "127.0.0.1"}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_the_exit_status_is_that_of_the_process_that_failed() -> None:
    def run(program: str) -> int:
        return launch._run(("-c", f"import os, signal, sys, time; {program}"), {0: {"N": "0"}, 1: {"N": "1"}})

    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)]
    try:
        assert run("sys.exit(0)") == 0
        assert run("sys.exit(3) if os.environ['N'] == '1' else time.sleep(60)") == 3
        with pytest.raises(RiffError, match="process 0 of the run was ended by SIGKILL; the machine's memory may be full"):
            run("os.kill(os.getpid(), signal.SIGKILL) if os.environ['N'] == '0' else time.sleep(60)")
    finally:
        for number, handler in before:
            signal.signal(number, handler)


NODE = """
from torch import distributed, ones
from riff import cli
from riff.errors import DataError
from riff.training.launch import run_in_processes

def train(processes):
    total = ones(1) * (processes.rank + 1)
    distributed.all_reduce(total)
    print(processes.rank, processes.count, processes.local_count, int(total))
    with processes.first_goes_first():
        raise DataError("no pairs there")

cli.run(lambda argv: run_in_processes(__file__, argv, "cpu", "1", 2, train))
"""


def test_two_machines_connect_and_report_an_error_once(tmp_path: Path) -> None:
    """The second process waits for the first, which fails."""
    script = tmp_path / "node.py"
    script.write_text(NODE)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    machines = [
        subprocess.Popen(
            [sys.executable, str(script)],
            env=ENVIRONMENT | address | {"NODE_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ended = [(*machine.communicate(timeout=200), machine.returncode) for machine in machines]
    assert [(output.split(), status) for output, _, status in ended] == [(["0", "2", "1", "3"], 2), (["1", "2", "1", "3"], 2)]
    assert [error for _, error, _ in ended] == ["error: no pairs there\n", ""]


@pytest.mark.parametrize(
    ("environment", "arguments", "words"),
    [
        ({"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, ("4", 1), "devices 4: the launcher started 2 on this machine"),
        ({"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, ("auto", 3), "num_nodes 3: the launcher uses 2"),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, ("2", 1), "devices 2: the launcher started 1 on this machine"),
        ({}, ("1", 2), "num_nodes 2: on every machine set MASTER_ADDR"),
        ({"MASTER_ADDR": "a", "NODE_RANK": "2"}, ("1", 2), "NODE_RANK to the machine's number, 0 to 1"),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "2"}, ("auto", 1), "srun: give the number of processes"),
    ],
)
def test_contradictions_are_named(
    bare: Callable[[dict[str, str]], None], environment: dict[str, str], arguments: tuple[str, int], words: str
) -> None:
    bare(environment)
    with pytest.raises(OptionError, match=words):
        launch.start_processes("none.py", [], "cpu", *arguments)


def test_who_started_a_process(bare: Callable[[dict[str, str]], None]) -> None:
    bare({})
    assert launched_processes() is None
    bare({"SLURM_NTASKS": "4"})  # in a batch script, but not by srun
    assert launched_processes() is None
    bare({"ACCELERATE_MIXED_PRECISION": "no"})
    assert launched_processes() == (1, 1)
    bare(slurm(1) | {"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"})  # torchrun under srun
    assert launched_processes() == (8, 4)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Set these of the launchers' variables, and no others."""

    def set_only(values: dict[str, str]) -> None:
        for name in list(os.environ):
            if name in LAUNCHERS or name.startswith(("SLURM", "ACCELERATE")):
                monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_only


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed"])
def test_strategies_but_ddp_are_refused(strategy: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.ArgumentParser("x")
    parser.add_machines()
    with pytest.raises(SystemExit):
        parser.parse_args(["--strategy", strategy])
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--strategy: invalid choice: '{strategy}'" in line
    assert "ddp" in line


@pytest.mark.parametrize("devices", ["0", "-1", "all", "1.5"])
def test_devices_are_auto_or_a_number(devices: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.ArgumentParser("x")
    parser.add_machines()
    assert parser.parse_args(["--devices", "3"]).devices == "3"
    with pytest.raises(SystemExit):
        parser.parse_args([f"--devices={devices}"])
    assert "is not a whole number, 1 to 1024" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_train_as_one_does(pairs: Path, tiny_control: Path, tmp_path: Path) -> None:
    roots = {"1": tmp_path / "one", "2": tmp_path / "two"}
    for devices, root in roots.items():
        given = flags(pairs, tiny_control, root, "--max_steps", 4, "--batch_size", 2 // int(devices), "--precision", 32)
        run_script("cnet_riff_training.py", *given, "--device", "cuda", "--devices", devices)
    np.testing.assert_allclose(list(losses(roots["2"]).values()), list(losses(roots["1"]).values()), rtol=1e-3)
    assert list(checkpoint(roots["2"])["state_dict"]) == list(checkpoint(roots["1"])["state_dict"])
