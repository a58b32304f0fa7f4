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

LIBRARIES = (
    *("torch", "torch.utils.tensorboard", "transformers.models.clip.modeling_clip", "pytorch_lightning", "librosa", "cv2", "av"),
    *(
        "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
        "diffusers.training_utils",
        "sklearn",
        "mir_eval",
        "tokenizers",
    ),
    "diffusers.pipelines.controlnet.pipeline_controlnet",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_instruct_pix2pix",
)
OF_PYTEST = ("PYTEST_CURRENT_TEST", "PYTEST_VERSION")


@cache
def _server() -> tuple[Any, dict[str, str]]:
    """The server's context, and the environment that its libraries were imported in."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    return context, _without_pytest(os.environ)


def _without_pytest(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in OF_PYTEST}


def run_forked(
    script: Path, arguments: Sequence[str], cwd: Path, environment: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of the script, with both outputs caught. In another environment than the libraries', it is that."""
    context, usual = _server()
    added = {"HF_HUB_OFFLINE", "OMP_NUM_THREADS", "PYTHONWARNINGS", "PYTHONPATH"}
    said = {name: value for name, value in _without_pytest(environment).items() if name not in added}
    command = [sys.executable, str(script), *arguments]
    if said != {name: value for name, value in usual.items() if name not in added}:
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
