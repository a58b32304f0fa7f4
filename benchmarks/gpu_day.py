"""Everything that only a GPU can show, in one command that can be interrupted: full-size models with random weights, no downloads.

    python benchmarks/gpu_day.py --minutes 9
    python benchmarks/gpu_day.py --minutes 9 --parts learning "sampling compiled"

Parts run in the order of what they are worth, and results.json in --output is written after each; the same command goes on with
the parts that are missing or failed. It needs torch, transformers, accelerate, pytorch-lightning, diffusers and omegaconf, and no
files but this repository's code. `two processes` needs two GPUs, `small models` --train_data_dir and all packages.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from riff import cli
from riff.devices import choose_device

FULL = "full"
PARTS = (
    *("memory control 24", "learning", "steps control", "sampling control", "memory control 8", "memory edit 24", "steps edit"),
    *("sampling edit", "memory control full", "memory edit 8", "two processes", "steps compiled", "sampling compiled"),
    *("memory control 16", "memory control 12", "memory edit full", "memory edit 16", "memory edit 12", "small models"),
)
# Packages that the modules imported here name, and that nothing here calls.
UNUSED = ("av", "cv2", "deflate", "librosa", "mido", "mir_eval", "pooch", "pyloudnorm", "scipy", "sklearn", "soundfile", "soxr")


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--minutes", type=cli.real(above=0), default=9.0, help="time for this call; a part that is running then is ended")
    add("--parts", nargs="+", default=list(PARTS), choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    add(
        "--base",
        default=FULL,
        help="full: Stable Diffusion 1.5's shapes with random weights; or a base to try this on, such as mini",
    )
    add("--batch_size", type=cli.BATCH, default=4, help="pairs of a training step")
    add("--steps", type=cli.whole(2), default=20, help="timed steps, and denoising steps of a sample")
    add("--learning_steps", type=cli.whole(2), default=300, help="steps in which the loss is to fall")
    add("--train_data_dir", type=Path, help="ControlNet pairs, for small models")
    add("--output", type=Path, default=Path("outputs/gpu_day"), help="folder of results.json")
    add("--worker", action="store_true", help=cli.argparse.SUPPRESS)  # one of two processes
    parser.add_device()
    parser.add_seed()
    parser.add_overwrite("the results of finished parts")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    with unused_packages():
        for name in (
            "riff.training.run",
            "riff.training.control",
            "riff.training.edit",
            "riff.sampling.edit",
            "riff.models.loading",
        ):
            importlib.import_module(name)
    args.device = choose_device(args.device)
    if args.worker:
        return two_processes(args)["status"]
    results_file = args.output / "results.json"
    results: dict[str, Any] = {}
    if results_file.exists() and not args.overwrite:
        results = json.loads(results_file.read_text())["results"]
    deadline = time.monotonic() + 60 * args.minutes
    for part in args.parts:
        if "error" in results.get(part, {"error": ""}) and time.monotonic() < deadline:
            results[part] = outcome(part, args, deadline)
            print(f"{part}: {json.dumps(results[part])}", flush=True)
            cli.write_manifest(results_file, vars(args), results=results)
    missing = [part for part in args.parts if "error" in results.get(part, {"error": ""})]
    print(
        f"{results_file}: {len(args.parts) - len(missing)} of {len(args.parts)} parts"
        + (f"; not: {', '.join(missing)}" if missing else "")
    )
    return 0


@contextmanager
def unused_packages() -> Iterator[None]:
    """Let modules be imported that name packages which are missing here, as long as they do not call them."""
    import diffusers
    import transformers
    from pytorch_lightning import Trainer  # noqa: F401

    for name in ("StableDiffusionControlNetPipeline", "StableDiffusionInstructPix2PixPipeline", "StableDiffusionImg2ImgPipeline"):
        getattr(diffusers, name)  # first, since these libraries look which packages there are
    transformers.CLIPTokenizer  # noqa: B018
    finder = UnusedFinder()
    sys.meta_path.append(finder)
    yield
    sys.meta_path.remove(finder)
    for name in finder.made:
        del sys.modules[name]


class UnusedFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The last finder of imports: `Unused` in place of packages that no other has found."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in UNUSED else None

    def create_module(self, spec: Any) -> ModuleType:
        self.made.append(spec.name)
        return Unused(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class Unused(ModuleType):
    """Stands in for a package that is not installed, and for anything in it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Unused(f"{self.__name__}.{name}")

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise ImportError(f"{self.__name__} is not installed")


def outcome(part: str, args: cli.argparse.Namespace, deadline: float) -> dict[str, Any]:
    """The figures of a part and its seconds, or the error that ended it."""
    import torch

    def end(_number: int, _frame: object) -> None:
        raise TimeoutError("no time was left")

    name, *details = part.split()
    parts: dict[str, Callable[..., dict[str, Any]]] = {
        "memory": memory,
        "steps": steps,
        "sampling": sampling,
        "learning": learning,
        "two": two_processes,
        "small": small_models,
    }
    start = time.perf_counter()
    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(1.0, deadline - time.monotonic()))
    try:
        figures = parts[name](args, *details)
    except Exception as error:  # the other parts go on
        figures = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    gc.collect()
    if args.device == "cuda":
        torch.cuda.empty_cache()
    return figures | {"seconds": round(time.perf_counter() - start, 2)}


def new_base(args: cli.argparse.Namespace) -> Any:
    """A base pipeline on the device, of random weights at full size."""
    import torch

    from riff.models.loading import load_base

    if args.base != FULL:
        return load_base(args.base).to(args.device)
    from demo.full_size import full_size_base

    with torch.device(args.device):  # there, random weights take no time
        return full_size_base(args.seed)


def configs_of(args: cli.argparse.Namespace, kind: str) -> dict[str, Any]:
    """The configurations of the models, without weights."""
    from riff.models.ldm import STABLE_DIFFUSION_1
    from riff.models.loading import load_base, read_configs

    if args.base == FULL:
        configs: dict[str, Any] = {"unet": STABLE_DIFFUSION_1.unet, "vae": STABLE_DIFFUSION_1.vae}
    else:
        configs = read_configs(args.base, ("unet", "vae"), lambda: load_base(args.base))
    if kind == "edit":
        return configs
    names = (
        "cross_attention_dim",
        "block_out_channels",
        "layers_per_block",
        "attention_head_dim",
        "down_block_types",
        "in_channels",
    )
    control = {name: configs["unet"][name] for name in (*names, "norm_num_groups") if name in configs["unet"]}
    from riff.models.control import hint_channels

    factor = 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
    return configs | {"controlnet": control | {"conditioning_embedding_out_channels": hint_channels(factor)}}


def objective_on_meta(kind: str, configs: dict[str, Any]) -> Any:
    from riff.training.control import control_on_meta
    from riff.training.edit import edit_on_meta

    return control_on_meta(configs) if kind == "control" else edit_on_meta(configs)


def memory(args: cli.argparse.Namespace, kind: str, preset: str) -> dict[str, Any]:
    """GiB of a training step, predicted and, on CUDA, measured; and seconds a step."""
    from riff.devices import default_precision
    from riff.training.memory import GIB, choose_savings
    from riff.training.options import TrainingOptions
    from riff.training.prediction import predict_peak

    savings, precision = choose_savings(preset, {}, default_precision(args.device), args.device)
    options, configs = TrainingOptions(batch_size=args.batch_size, savings=savings), configs_of(args, kind)
    predicted = predict_peak(objective_on_meta(kind, configs), configs, options, precision)
    seconds, measured = timed_steps(args, kind, options, precision, 3)
    return {
        "precision": precision,
        "predicted_gib": round(predicted.total / GIB, 3),
        "measured_gib": measured and round(measured / GIB, 3),
        "seconds_per_step": seconds,
    }


def timed_steps(
    args: cli.argparse.Namespace, kind: str, options: Any, precision: str, count: int, compiled: bool = False
) -> tuple[float, int | None]:
    """Seconds of a step of the training module, after a first one, and the peak of allocated bytes on CUDA."""
    from dataclasses import replace

    import torch
    from torch.nn.utils import clip_grad_norm_

    from riff.training.memory import HALF_TYPES
    from riff.training.optimizers import adamw
    from riff.training.prediction import example_batch, step_of

    configs = configs_of(args, kind)
    module, _ = step_of(objective_on_meta(kind, configs), configs, replace(options, compile=compiled), precision)()
    module.to(args.device).train()
    optimizer = adamw(module.named_parameters(), options)
    batch = {name: tensor.to(args.device) for name, tensor in example_batch(configs, options.batch_size).items()}

    def step(number: int) -> None:
        with torch.autocast(args.device, HALF_TYPES.get(precision), enabled=precision in HALF_TYPES):
            loss = module.noise_loss(batch, seed=(0, number))
        loss.backward()  # in fp16 without scaling, which takes no time to speak of
        clip_grad_norm_(module.trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return timed(step, count, args.device), peak_bytes(args.device)


def timed(step: Callable[[int], Any], count: int, device: str) -> float:
    """Seconds a step, after a first one, which is not counted; from then on the peak of memory is."""
    import torch

    step(0)
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    for number in range(1, count + 1):
        step(number)
    if device == "cuda":
        torch.cuda.synchronize()
    return round((time.perf_counter() - start) / count, 4)


def peak_bytes(device: str) -> int | None:
    import torch

    return torch.cuda.max_memory_allocated() if device == "cuda" else None


def steps(args: cli.argparse.Namespace, what: str) -> dict[str, Any]:
    """Seconds a training step here, and the plain way: float32, autoencoder and text encoder in the step, torch's AdamW."""
    from riff.devices import default_precision
    from riff.training.options import Savings, TrainingOptions

    kind = "control" if what == "compiled" else what
    options, precision = TrainingOptions(batch_size=args.batch_size, savings=Savings()), default_precision(args.device)
    ours, _ = timed_steps(args, kind, options, precision, args.steps, compiled=what == "compiled")
    if what == "compiled":
        return {"precision": precision, "seconds_per_step": ours}
    plain = plain_steps(args, kind)
    return {
        "precision": precision,
        "seconds_per_step": ours,
        "plain_seconds_per_step": plain,
        "times_faster": round(plain / ours, 2),
    }


def plain_steps(args: cli.argparse.Namespace, kind: str) -> float:
    import torch
    from plain_training import control_noise, edit_noise, plain_step

    from riff.models.control import attach_control
    from riff.models.edit import attach_edit

    pipeline: Any = attach_control(new_base(args)) if kind == "control" else attach_edit(new_base(args))
    pipeline.to(args.device)
    length = pipeline.tokenizer.model_max_length
    images = {name: torch.rand(args.batch_size, 3, 512, 512, device=args.device) for name in ("hint", "target", "input")}
    batch = images | {"tokens": torch.zeros(args.batch_size, length, dtype=torch.long, device=args.device)}
    models = (pipeline.controlnet, control_noise) if kind == "control" else (pipeline.unet, edit_noise)
    step = plain_step(pipeline, *models)
    return timed(lambda _: step(batch), args.steps, args.device)


def sampling(args: cli.argparse.Namespace, what: str) -> dict[str, Any]:
    """Seconds a clip, one by one and four at once."""
    import numpy as np

    from riff.models.control import attach_control
    from riff.models.edit import attach_edit
    from riff.sampling.edit import sample_edit
    from riff.sampling.options import EditOptions, SamplingOptions
    from riff.sampling.pipelines import prepare_pipeline, sample_control

    image = np.tile(np.arange(512, dtype=np.uint8), (512, 1))
    if what == "edit":
        edit = prepare_pipeline(attach_edit(new_base(args)), args.device)
        one = timed(lambda seed: sample_edit(edit, [image], ["add a vocal"], [seed], EditOptions(args.steps)), 2, args.device)
        return {"steps": args.steps, "seconds_per_clip": one}
    control = prepare_pipeline(attach_control(new_base(args)), args.device)
    if what == "compiled":
        for part in (control.unet, control.controlnet, control.vae.decoder):
            part.compile()
    edges, options = (image > 250).astype(np.uint8) * 255, SamplingOptions(args.steps)

    def draw(clips: int) -> Callable[[int], Any]:
        return lambda seed: sample_control(control, [edges] * clips, ["a vocal"] * clips, list(range(seed, seed + clips)), options)

    seconds = {f"seconds_per_clip_of_{clips}": timed(draw(clips), 2, args.device) / clips for clips in (1, 4)}
    return {"steps": args.steps, **seconds}


def learning(args: cli.argparse.Namespace) -> dict[str, Any]:
    """Real steps of an edit model of random weights on eight pairs, by Lightning; the loss must fall.

    Raises:
        RuntimeError: it did not.
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        losses = train_edit(args, Path(folder), args.learning_steps)
    share = max(1, len(losses) // 10)
    first, last = (round(sum(part) / share, 4) for part in (losses[:share], losses[-share:]))
    if not last < first:
        raise RuntimeError(f"the loss did not fall: {first} in the first tenth of {len(losses)} steps, {last} in the last")
    return {"steps": len(losses), "first_loss": first, "last_loss": last}


def train_edit(args: cli.argparse.Namespace, folder: Path, count: int, processes: Any = None) -> list[float]:
    """Losses of a run of an edit model of random weights, of the small model's shape or --base's."""
    import torch
    from diffusers import DDPMScheduler, UNet2DConditionModel

    from riff.devices import default_precision
    from riff.training.edit import EditObjective
    from riff.training.losses import FigureLog
    from riff.training.memory import choose_savings
    from riff.training.module import NoiseTraining
    from riff.training.options import RunSettings, TrainingOptions
    from riff.training.processes import ALONE
    from riff.training.run import run_training
    from riff.training.run_dir import RunDir, read_losses

    processes = processes or ALONE
    base = "mini" if args.base == FULL else args.base  # its checkpoint is small
    config = configs_of(SimpleNamespace(base=base), "edit")["unet"]
    channels, side, width = config["out_channels"], config["sample_size"], config["cross_attention_dim"]
    savings, precision = choose_savings(FULL, {}, default_precision(args.device), args.device)
    options = TrainingOptions(learning_rate=1e-3, batch_size=args.batch_size, max_steps=count, savings=savings, num_workers=0)
    torch.manual_seed(args.seed)
    shapes = {"moments": (2, channels, side, side), "image": (channels, side, side), "text": (77, width)}
    pairs = [{name: torch.randn(shape) for name, shape in shapes.items()} for _ in range(8)]
    for pair in pairs:
        pair["no_text"], pair["moments"][1] = torch.zeros(77, width), 0.1
    unet = UNet2DConditionModel.from_config(config | {"in_channels": 2 * channels})
    module = NoiseTraining(EditObjective(unet, 1.0), DDPMScheduler(), pairs, options, "", processes)  # type: ignore[arg-type]
    quiet = {"sample_every": 0, "validate_every": 0, "checkpoint_every": 0, "loggers": ()}
    settings = RunSettings(step=options, precision=precision, device=args.device, log_dir=folder, **quiet)
    run_dir = processes.from_first(lambda: RunDir.claim(folder))
    run_training(module, run_dir, settings, FigureLog(run_dir.validation))
    return [line["loss"] for line in read_losses(run_dir.losses)]


def two_processes(args: cli.argparse.Namespace, *_: str) -> dict[str, Any]:
    """Steps of two processes with a GPU each (NCCL), or on a CPU (gloo).

    Raises:
        RuntimeError: fewer than two GPUs, or a process failed.
    """
    import torch

    from riff.training.launch import run_in_processes

    if args.device == "cuda" and torch.cuda.device_count() < 2:
        raise RuntimeError("this machine has one GPU")
    folder = args.output / "two-processes"
    flags = ["--worker", "--base", args.base, "--batch_size", args.batch_size, "--steps", args.steps, "--device", args.device]
    command = [str(flag) for flag in (*flags, "--output", args.output)]

    def train(processes: Any) -> None:
        train_edit(args, folder, args.steps, processes)

    status = run_in_processes(__file__, command, args.device, "2", 1, train)
    if status:
        raise RuntimeError(f"the processes ended with status {status}")
    return {"steps": args.steps, "backend": "nccl" if args.device == "cuda" else "gloo", "status": status}


def small_models(args: cli.argparse.Namespace, *_: str) -> dict[str, Any]:
    """Training of the small ControlNet from the start on given pairs, by the script.

    Raises:
        RuntimeError: no pairs, or the script failed.
    """
    if args.train_data_dir is None:
        raise RuntimeError("needs ControlNet pairs in --train_data_dir")
    control, final = args.output / "control_ini", args.output / "riff-cnet-mini"
    add = ["cnet_riff_add_control.py", "--base", "mini", "--output", control, "--overwrite"]
    train = ["cnet_riff_training.py", "--model", control, "--train_data_dir", args.train_data_dir, "--output", final, "--overwrite"]
    train += ["--controlnet_only", "--batch_size", 8, "--learning_rate", 1e-3, "--lr_schedule", "cosine"]
    train += ["--max_steps", args.learning_steps, "--log_dir", args.output, "--device", args.device]
    for command in (add, train):
        done = subprocess.run([sys.executable, *map(str, command)], cwd=cli.ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return {"steps": args.learning_steps, "model": str(final)}


if __name__ == "__main__":
    sys.exit(main())
