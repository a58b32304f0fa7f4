"""Demucs through its package: a small model of its own class, loaded from the hub's cache as the real one is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, last_error

from riff.audio.io import read_audio, write_audio

RATE = 44_100
REVISION = "0" * 40


@pytest.fixture(scope="session")
def hub_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub's cache that holds a random htdemucs of few channels."""
    pytest.importorskip("demucs")
    import torch
    from demucs.htdemucs import HTDemucs
    from safetensors.torch import save_file

    torch.manual_seed(0)
    sizes = {"channels": 8, "t_layers": 1, "t_heads": 2, "bottom_channels": 16, "segment": 1.0, "dconv_depth": 1}
    model = HTDemucs(["drums", "bass", "other", "vocals"], **sizes)
    home = tmp_path_factory.mktemp("hub")
    repository = home / "hub" / "models--adefossez--HTDemucs"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    (snapshot / "htdemucs.yaml").write_text("models: ['abc']\n")
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": json.dumps([model.sources]), "kwargs": json.dumps(sizes)}
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, snapshot / "abc.safetensors", metadata)
    return home


def separate(home: Path, song: Path, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "tools/separate_audio.py", "--audio", str(song), "--output", str(output), *more]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("channels", "rate", "samples"), [(2, RATE, 110_251), (1, 16_000, 20_001)])
def test_four_parts_of_the_songs_own_shape(hub_cache: Path, tmp_path: Path, channels: int, rate: int, samples: int) -> None:
    song = np.random.default_rng(0).uniform(-0.5, 0.5, (channels, samples)).astype(np.float32)
    write_audio(tmp_path / "song.wav", song, rate, subtype="FLOAT")
    outputs = []
    for attempt in ("a", "b"):
        done = separate(hub_cache, tmp_path / "song.wav", tmp_path / attempt, "--separator", "demucs", "--stems", "4")
        assert done.returncode == 0, done.stderr
        parts = {path.stem: read_audio(path) for path in (tmp_path / attempt / "song").iterdir()}
        assert set(parts) == {"vocals", "drums", "bass", "other"}
        assert all(part.waveform.shape == song.shape and part.sample_rate == rate for part in parts.values())
        outputs.append(parts)
    for name, part in outputs[0].items():
        np.testing.assert_array_equal(part.waveform, outputs[1][name].waveform)
    assert len({part.waveform.tobytes() for part in outputs[0].values()}) == 4


@pytest.mark.parametrize("separator", ["demucs", "demucs_ft"])
def test_weights_that_cannot_be_had_end_in_one_line(tmp_path: Path, separator: str) -> None:
    pytest.importorskip("demucs")
    write_audio(tmp_path / "song.wav", np.zeros((2, 1_000), np.float32), RATE)
    done = separate(tmp_path / "empty", tmp_path / "song.wav", tmp_path / "out", "--separator", separator)
    assert done.returncode == 2
    assert f"separator {separator}: the weights of htdemucs" in last_error(done)
    assert "Traceback" not in done.stderr


def test_without_the_package_one_line_names_it(tmp_path: Path) -> None:
    write_audio(tmp_path / "song.wav", np.zeros((2, 1_000), np.float32), RATE)
    code = "import sys; sys.modules['demucs'] = None; from tools import separate_audio; separate_audio.main()"
    flags = ["--audio", str(tmp_path / "song.wav"), "--output", str(tmp_path / "out"), "--separator", "demucs"]
    done = subprocess.run([sys.executable, "-c", code, *flags], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install demucs" in last_error(done)
