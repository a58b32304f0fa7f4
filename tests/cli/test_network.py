"""A hub that does not answer: one error line at once, and earlier downloads are used."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_stand_in import ROOT, TOKEN, Fault, Hub, Repository, run_against_hub
from huggingface_hub import constants
from huggingface_hub.errors import HTTPError

from riff.models.sources import as_model_error
from riff.network import HubUnreachable, _FirstContact, unreachable

LOAD = """
from riff.cli import run
from riff.models.sources import fetch_part, read_origin
def main(_):
    print(read_origin("me/part"), sorted(path.name for path in fetch_part("me/part", "give a folder").iterdir()))
run(main)
"""


def load(folder: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """Run `LOAD` as a command with this address of the hub."""
    (folder / "load.py").write_text(LOAD)
    return run_against_hub(str(folder / "load.py"), folder, endpoint, PYTHONPATH=str(ROOT))


@pytest.fixture
def refusing() -> str:
    """An address without a listener."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("address", ["refusing", "silent", "http://no-such-host.invalid"])
def test_a_hub_that_does_not_answer_is_contacted_once(
    address: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = address if "://" in address else request.getfixturevalue(address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    client, began = _FirstContact().new_client(), time.monotonic()
    errors = []
    for _ in range(20):
        with pytest.raises(HubUnreachable) as caught:
            client.get(url, timeout=None)
        errors.append(str(caught.value))
    assert time.monotonic() - began < 5
    assert set(errors) == {errors[0]}
    assert "cannot be reached" in str(as_model_error(caught.value, "me/part", "give a folder"))


def test_a_hub_that_answered_once_may_fail_as_the_library_does(hub: Hub, refusing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.faults = [Fault("/api/models/me/part", 503, times=1)]
    client = _FirstContact().new_client()
    assert client.get(f"{hub.url}/api/models/me/part", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 503
    with pytest.raises(HTTPError):  # which the library retries
        client.get(refusing)


def test_the_cause_of_an_error_is_found() -> None:
    cause, other = HubUnreachable("ConnectError"), OSError("of a library")
    other.__cause__ = ValueError("between")
    other.__cause__.__context__ = cause
    assert unreachable(other) is cause
    assert unreachable(OSError("another")) is None


def test_a_command_prints_one_line(refusing: str, tmp_path: Path) -> None:
    """None of the libraries' retry messages is printed."""
    done = load(tmp_path, refusing)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: me/part: not on disk, and the hub cannot be reached (ConnectError")
    assert line.endswith("; give a folder")


def test_an_earlier_download_is_used(hub: Hub, refusing: str, tmp_path: Path) -> None:
    hub.repositories["me/part"] = Repository(private=False, files={"config.json": b"{}", "riff.json": b'{"base": "mini"}'})
    first, again = load(tmp_path, hub.url), load(tmp_path, refusing)
    assert first.stdout == again.stdout == "{'base': 'mini'} ['config.json', 'riff.json']\n", (first, again)
    assert again.stderr == ""
