"""Run a script of the repository in a process of its own, without the seconds that every start of Python and torch takes.

A server process has the heavy libraries imported, and forks one process for each script, which then runs as `python SCRIPT` would.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = (
    *("torch", "torch.utils.tensorboard", "transformers.models.clip.modeling_clip", "pytorch_lightning", "cv2", "av"),
    *("librosa.beat", "librosa.decompose", "librosa.effects", "librosa.feature", "librosa.onset", "librosa.segment"),
    *("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion", "diffusers.training_utils"),
    "diffusers.pipelines.controlnet.pipeline_controlnet",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_instruct_pix2pix",
    *("diffusers.guiders", "mir_eval", "sklearn", "tokenizers"),
)
HEAVIER = {"app", "notebook.py"}  # what of riff is imported by one script alone
READ_AT_IMPORT = ("CUDA_VISIBLE_DEVICES", "HF_ENDPOINT", "HF_HOME", "HOME", "XDG_CACHE_HOME")  # by the libraries


@cache
def _server() -> tuple[Any, dict[str, str | None]]:
    """The server's context, and what its libraries read of the environment when they were imported."""
    context = multiprocessing.get_context("forkserver")
    files = (path.relative_to(ROOT) for path in sorted((ROOT / "riff").rglob("*.py")))
    modules = [".".join(path.with_suffix("").parts) for path in files if path.parts[1] not in HEAVIER]
    context.set_forkserver_preload([*LIBRARIES, *modules])
    return context, _read_at_import(os.environ)


def _read_at_import(environment: Mapping[str, str]) -> dict[str, str | None]:
    return {name: environment.get(name) for name in READ_AT_IMPORT}


def run_forked(
    script: Path, arguments: Sequence[str], cwd: Path, environment: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of the script, with both outputs caught. Where the libraries would read other settings, it is that."""
    context, usual = _server()
    command = [sys.executable, str(script), *arguments]
    if _read_at_import(environment) != usual:
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    with tempfile.TemporaryDirectory() as folder:
        outputs = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        process = context.Process(target=_run_script, args=(str(script), list(arguments), str(cwd), environment, outputs))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, timeout)
        stdout, stderr = (Path(output).read_text() for output in outputs)
    return subprocess.CompletedProcess(command, process.exitcode, stdout, stderr)


def _run_script(script: str, arguments: list[str], cwd: str, environment: dict[str, str], outputs: list[str]) -> None:
    for number, output in enumerate(outputs, start=1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    warnings.simplefilter("ignore")
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.path.dirname(script))
    status: Any = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()  # a forked process would leave them out
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)
