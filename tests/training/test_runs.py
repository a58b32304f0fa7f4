"""Runs that are interrupted, resumed, started twice, or write to a folder in use: nothing is lost, and errors are reported."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

import cnet_riff_training
import train_instruct_pix2pix
from riff import cli
from riff.errors import DataError, ExistsError, Interrupted, ModelError, OptionError, TrainingError
from riff.files import read_mapping, write_json
from riff.hub.files import final_model
from riff.hub.files import newest_checkpoint as uploaded_checkpoint
from riff.models.control import attach_control
from riff.models.edit import attach_edit
from riff.models.folders import check_output, model_folder
from riff.models.loading import load_base
from riff.models.sources import ORIGIN_FILE
from riff.training import launch
from riff.training.checkpoints import CheckpointLog, check_checkpoint
from riff.training.control import ControlObjective
from riff.training.data import describe_data
from riff.training.edit import ConditioningDropout, EditObjective
from riff.training.losses import FigureLog
from riff.training.memory import PRESETS, store_weights
from riff.training.module import NoiseTraining
from riff.training.options import Advice, RunSettings, TrainingOptions
from riff.training.run import kept_by_checkpoint, run_training
from riff.training.run_dir import RunDir, checkpoints_in, default_output, find_checkpoint, newest_checkpoint, read_losses


def content(training: list[str], held_out: list[str], prompt: str = "sing") -> dict[str, Any]:
    def records(songs: list[str]) -> list[Any]:
        return [SimpleNamespace(song=song) for song in songs]

    return describe_data(records(training), records(held_out), lambda record: prompt)


def small_module(base: Path, fingerprint: str = "vae-text", data: dict[str, Any] | None = None, **options: Any) -> NoiseTraining:
    """An edit model on three examples of noise."""
    torch.manual_seed(0)
    pipeline = attach_edit(load_base(str(base)))
    text = {"text": torch.randn(77, 32), "no_text": torch.zeros(77, 32)}
    examples = [{"moments": torch.rand(2, 4, 16, 16), "image": torch.rand(4, 16, 16)} | text for _ in range(3)]
    objective = EditObjective(pipeline.unet, pipeline.vae.config.scaling_factor, ConditioningDropout(0, 0, 0))
    chosen = TrainingOptions(**({"batch_size": 1, "num_workers": 0, "max_steps": 3, "learning_rate": 1e-4} | options))
    return NoiseTraining(objective, pipeline.scheduler, examples, chosen, fingerprint, data=data)  # type: ignore[arg-type]


def small_run(
    module: NoiseTraining, root: Path, resume: Path | None = None, callbacks: Sequence[pl.Callback] = (), **more: Any
) -> tuple[int, str]:
    run_dir = RunDir.of_checkpoint(resume) if resume else RunDir.claim(root)
    chosen: dict[str, Any] = {"sample_every": 0, "checkpoint_every": 1000, "loggers": ()} | more
    settings = RunSettings(flags={"seed": 0}, advice=Advice("python train.py"), **chosen)
    return run_training(module, run_dir, settings, FigureLog(run_dir.validation), callbacks=callbacks, resume=resume)


@pytest.fixture(scope="module")
def stopped(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run of three steps of two batches each."""
    root = tmp_path_factory.mktemp("stopped")
    small_run(small_module(tiny_base, data=content(["a", "b"], ["c"]), accumulate=2), root)
    return RunDir(root, 0).checkpoints / "step=000003.ckpt"


class At(pl.Callback):
    """Call a function after a step."""

    def __init__(self, step: int, act: Callable[[], Any]) -> None:
        self._step, self._act = step, act

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self._step:
            self._act()


def send(*numbers: int) -> Callable[[], None]:
    def act() -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    return act


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """A disk that is full, for this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Where a result goes


def save(folder: Path, replaces: list[str], version: int = 0) -> None:
    with model_folder(folder, {"version": version}, replaces) as new:
        write_json(new / "unet" / "config.json", {"version": version})
        write_json(new / "model_index.json", {"unet": ["diffusers", "UNet2DConditionModel"]})


def test_only_a_model_of_this_project_is_replaced_and_only_with_overwrite(tmp_path: Path) -> None:
    out = tmp_path / "out"
    save(out, check_output(out, overwrite=False))
    for allowed in ({"overwrite": False}, {"overwrite": False, "version": 1}):
        with pytest.raises(ExistsError, match=r"out: holds a model already$"):
            check_output(out, **allowed)
    (out / "unet" / "mine.txt").write_text("mine")
    (out / "notes").mkdir()
    (out / "notes" / "mine.txt").write_text("mine")
    save(out, check_output(out, overwrite=False, version=0))
    save(out, check_output(out, overwrite=True), version=2)
    assert read_mapping(out / "unet" / "config.json") == {"version": 2}
    assert {file.read_text() for file in out.rglob("mine.txt")} == {"mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_model_of_an_earlier_version_is_replaced_part_by_part(tmp_path: Path) -> None:
    write_json(tmp_path / "model_index.json", {"vae": ["diffusers", "AutoencoderKL"], "safety_checker": None})
    for name in ("vae/config.json", "diffusion_pytorch_model.safetensors", ORIGIN_FILE, "manifest.json", "mine.json"):
        write_json(tmp_path / name, {})
    save(tmp_path, check_output(tmp_path, overwrite=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", "model_index.json", ORIGIN_FILE, "unet"]


def test_a_folder_of_anything_else_is_refused_and_logs_may_lie_in_it(tmp_path: Path) -> None:
    out, logs = tmp_path / "out", tmp_path / "out" / "logs"
    (logs / "lightning_logs" / "version_0").mkdir(parents=True)
    (out / ".out.tmp.1").mkdir()  # of a process that was killed, in a container where another has its number
    beside = (logs / "lightning_logs" / "version_1", logs / "image_log" / "version_1")
    assert check_output(out, overwrite=False, beside=beside) == []
    (out / "precious.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OptionError, match=r"holds precious\.txt, and no model of this project"):
            check_output(out, overwrite, beside=beside)
    with pytest.raises(OptionError, match="is a file"):
        check_output(out / "precious.txt", overwrite=True)
    assert check_output(tmp_path / "a" / "b", overwrite=False) == []


@pytest.mark.parametrize("output", ["precious", ".", "models"])
def test_both_trainers_refuse_before_they_train(
    output: str, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("precious/mine.txt", "models/riff-cnet-mini/config.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=rf"^--output {output}: holds .*, and no model of this project"):
        cnet_riff_training.main(
            ["--output", output, "--overwrite", "--device", "cpu", "--model", str(tiny_base), "--train_data_dir", "."]
        )
    with pytest.raises(OptionError, match=rf"^--output {output}: holds"):
        train_instruct_pix2pix.main(["--output_dir", output, "--overwrite", "--device", "cpu", "--train_data_dir", "."])
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["config.json", "mine.txt"]


def test_a_result_that_cannot_be_written_is_reported_with_how_to_resume(stopped: Path, tmp_path: Path) -> None:
    settings = RunSettings(advice=Advice("python train.py"))
    run_dir, command = RunDir.of_checkpoint(stopped), f"python train.py --resume {stopped}"

    def prevented(act: Callable[[], Any]) -> str:
        with pytest.raises((TrainingError, Interrupted)) as raised, kept_by_checkpoint(run_dir, settings):
            act()
        assert command in str(raised.value)
        return str(raised.value)

    with files_of_at_most(1000):
        message = prevented(lambda: (tmp_path / "x").write_bytes(b"0" * 10_000))
    assert message.startswith("the result was not written: ")
    assert "File too large (the disk at /" in message
    assert "SIGTERM: the result was not written; resume from step 3" in prevented(send(signal.SIGTERM))
    assert "holds x by now" in prevented(lambda: (_ for _ in ()).throw(OptionError("holds x by now")))


# A run's own folder


def _claim(root: Path, start: Any, taken: Any) -> None:
    start.wait()
    for _ in range(20):
        taken.put(RunDir.claim(root).version)


def test_runs_that_start_at_the_same_moment_take_different_folders(tmp_path: Path) -> None:
    (tmp_path / "image_log" / "version_4").mkdir(parents=True)
    context = multiprocessing.get_context("fork")
    start, taken = context.Barrier(3), context.SimpleQueue()
    processes = [context.Process(target=_claim, args=(tmp_path, start, taken)) for _ in range(3)]
    for process in processes:
        process.start()
    versions = sorted(taken.get() for _ in range(60))
    for process in processes:
        process.join()
    assert versions == list(range(5, 65))


def test_a_running_run_is_not_resumed(stopped: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("riff.training.run.LOCK_WAIT_S", 0)
    found = []

    def resume_too() -> None:
        kept = RunDir(tmp_path, 0).checkpoints / "step=000001.ckpt"
        with pytest.raises(OptionError, match=r"version_0: process \d+ on .* is writing there"):
            small_run(small_module(tiny_base), tmp_path, kept)
        found.append(kept)

    small_run(small_module(tiny_base, max_steps=2), tmp_path, callbacks=[At(2, resume_too)], checkpoint_every=1)
    assert found


# What ends a run


def test_sigterm_leaves_a_checkpoint_and_prints_how_to_resume(
    tiny_base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted) as raised:
        small_run(small_module(tiny_base), tmp_path, callbacks=[At(2, send(signal.SIGTERM, signal.SIGTERM))])
    kept = RunDir(tmp_path, 0).checkpoints / "step=000002.ckpt"
    assert cli.report(raised.value) == 143
    assert capfd.readouterr().err.strip().splitlines() == [
        "SIGTERM: saving a checkpoint after this step",
        f"SIGTERM: resume from step 2, the last that was saved: python train.py --resume {kept}",
    ]
    assert checkpoints_in(kept.parent) == [kept]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_ctrl_c_is_acknowledged_and_a_second_one_prints_what_is_saved(
    tiny_base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert small_run(small_module(tiny_base), tmp_path, callbacks=[At(2, send(signal.SIGINT))]) == (2, "interrupted")
    assert "interrupted: the run ends after this step and is saved; press Ctrl-C again" in capfd.readouterr().err
    kept = RunDir(tmp_path, 0).checkpoints / "step=000002.ckpt"
    with pytest.raises(Interrupted, match=rf"interrupted: resume from step 2, .* --resume {kept}$") as raised:
        small_run(small_module(tiny_base), tmp_path, kept, callbacks=[At(3, send(signal.SIGINT, signal.SIGINT))])
    assert cli.status_of(raised.value) == 130
    with pytest.raises(Interrupted, match="interrupted: start again, for no checkpoint was written yet"):
        small_run(small_module(tiny_base), tmp_path, callbacks=[At(1, send(signal.SIGINT, signal.SIGINT))])


def test_sigterm_reaches_all_processes_of_a_run() -> None:
    program = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(143)); print(); time.sleep(60)"
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)]
    timer = threading.Timer(2, send(signal.SIGTERM))
    try:
        timer.start()
        assert launch._run(("-c", program), {0: {"N": "0"}, 1: {"N": "1"}}) == 143
    finally:
        timer.join()
        for number, handler in before:
            signal.signal(number, handler)


def test_an_error_before_the_first_step_is_shown_as_it_is(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Invalid learning rate"):
        small_run(small_module(tiny_base, learning_rate=-1.0), tmp_path)


def test_a_full_disk_ends_a_run_with_the_command_that_resumes(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint does not go through the folder for temporary files, and half of one is not left."""
    monkeypatch.setenv("TMPDIR", "/nowhere")
    place = RunDir(tmp_path, 0).checkpoints
    with pytest.raises(TrainingError) as raised, files_of_at_most(100_000):
        small_run(small_module(tiny_base), tmp_path, checkpoint_every=1)
    full = rf"{place}/step=000001.ckpt: File too large (the disk at /"
    assert str(raised.value).startswith(full)
    assert str(raised.value).endswith("make room, then start again, for no checkpoint was written yet")
    assert list(place.iterdir()) == []
    with (
        ExitStack() as stack,
        pytest.raises(
            TrainingError, match=r"step=000002\.ckpt: File too .*; make room, then resume from step 1, .*step=000001\.ckpt$"
        ),
    ):
        small_run(
            small_module(tiny_base),
            tmp_path,
            callbacks=[At(2, lambda: stack.enter_context(files_of_at_most(100_000)))],
            checkpoint_every=1,
        )


# Which checkpoint


def test_unreadable_checkpoints_are_skipped_and_reported(stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = RunDir(tmp_path, 7).checkpoints
    place.mkdir(parents=True)
    whole = stopped.read_bytes()
    for name, data in (("step=000003", whole), ("step=000004", whole[: len(whole) // 2]), (".step=000005.tmp.1", whole)):
        (place / f"{name}.ckpt").write_bytes(data)
    message: list[str] = []
    assert find_checkpoint(tmp_path, "newest", message.append) == place / "step=000003.ckpt" == uploaded_checkpoint(place)
    (line,) = message
    assert line.startswith(f"{place}/step=000004.ckpt: cannot be read as a checkpoint")
    assert "step=000004.ckpt" in capsys.readouterr().err
    (place / "step=000003.ckpt").unlink()
    with pytest.raises(OptionError, match=r"resume: no checkpoint under .* that can be read"):
        find_checkpoint(tmp_path, "newest")
    with pytest.raises(ModelError, match="no checkpoint"):
        uploaded_checkpoint(place)


def test_steps_are_compared_as_numbers(stopped: Path, tmp_path: Path) -> None:
    """Beyond 999,999, and where a run was resumed from an earlier step than its last."""
    for step in (999_998, 999_999, 1_000_000):
        (tmp_path / f"step={step:06d}.ckpt").write_bytes(stopped.read_bytes())
    assert uploaded_checkpoint(tmp_path).name == "step=1000000.ckpt"
    strategy = SimpleNamespace(reduce_boolean_decision=lambda value: value)
    trainer: Any = SimpleNamespace(
        global_step=1_000_001, strategy=strategy, is_global_zero=True, save_checkpoint=lambda path: path.write_bytes(b"")
    )
    module: Any = SimpleNamespace(trained=[torch.zeros(1)])
    CheckpointLog(tmp_path, 1, 2).on_train_batch_end(trainer, module)
    assert [path.name for path in checkpoints_in(tmp_path)] == ["step=1000000.ckpt", "step=1000001.ckpt"]
    trainer.global_step = 1_000
    CheckpointLog(tmp_path, 1, 1).on_train_batch_end(trainer, module)
    assert [path.name for path in checkpoints_in(tmp_path)] == ["step=001000.ckpt"]


def test_of_several_runs_the_newest_checkpoint_resumes(stopped: Path, tmp_path: Path) -> None:
    for version, seconds in ((9, 200), (10, 100)):
        file = RunDir(tmp_path, version).checkpoints / "step=000003.ckpt"
        file.parent.mkdir(parents=True)
        file.write_bytes(stopped.read_bytes())
        os.utime(file, (seconds, seconds))
    (tmp_path / "lightning_logs" / "version_9 (copy)").mkdir()
    assert newest_checkpoint(tmp_path) == RunDir(tmp_path, 9).checkpoints / "step=000003.ckpt"


# Resuming with other settings


def test_other_frozen_models_are_refused_and_earlier_checkpoints_go_on(stopped: Path, tiny_base: Path) -> None:
    assert check_checkpoint(stopped, small_module(tiny_base, "vae-text-unet")) == 3  # written when less was kept of them
    with pytest.raises(ModelError, match="of another model"):
        check_checkpoint(stopped, small_module(tiny_base, "vae-other-unet"))
    names = []
    for change in (0.0, 1e-3):
        pipeline = attach_control(load_base(str(tiny_base)))
        pipeline.unet.mid_block.resnets[0].conv1.weight.data += change
        names.append(ControlObjective(pipeline.unet, pipeline.controlnet).frozen_name)
    assert names[0] != names[1]


@pytest.mark.parametrize(("training", "held_out"), [(["a", "b", "c"], []), (["a"], ["b", "c"]), (["a", "c"], ["b"])])
def test_songs_do_not_change_between_training_and_validation(
    stopped: Path, tiny_base: Path, training: list[str], held_out: list[str]
) -> None:
    with pytest.raises(
        DataError,
        match=r"would change between training and validation, .*resume with the share of held-out songs and the pairs it was",
    ):
        check_checkpoint(stopped, small_module(tiny_base, data=content(training, held_out)))


def test_other_pairs_and_another_seed_are_reported(stopped: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_checkpoint(stopped, small_module(tiny_base, data=content(["a", "b"], ["c"])))
    assert capsys.readouterr().err == ""
    check_checkpoint(stopped, small_module(tiny_base, data=content(["a", "b", "d"], ["c"])))
    assert "was trained on other pairs (2 then, 3 now); resuming with the present ones" in capsys.readouterr().err
    check_checkpoint(stopped, small_module(tiny_base, data=content(["a", "b"], ["c"], "hum"), seed=4))
    message = capsys.readouterr().err
    assert "was trained on other pairs (2 then, 2 now)" in message
    assert "seed 4 instead of 0: from here on the pairs come in another order" in message


@pytest.mark.parametrize(
    ("options", "batches", "position"), [({"accumulate": 4}, 4, 6 + 4), ({"accumulate": 2, "batch_size": 4}, 2, 2 + 2)]
)
def test_a_resumed_run_may_change_batch_size_and_accumulation(
    stopped: Path, tiny_base: Path, tmp_path: Path, options: dict[str, Any], batches: int, position: int
) -> None:
    """Six examples were seen: batches of four continue at the next that starts behind them."""
    kept = RunDir(tmp_path, 0).checkpoints / stopped.name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(stopped.read_bytes())
    module, seen = small_module(tiny_base, max_steps=4, **options), []

    class Count(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            seen.append(module.batches_done)

    assert small_run(module, tmp_path, kept, [Count()]) == (4, "")
    assert len(seen) == batches
    assert seen[-1] == position


def test_a_checkpoint_at_the_last_step_only_writes_the_result(stopped: Path, tiny_base: Path, tmp_path: Path) -> None:
    kept = RunDir(tmp_path, 0).checkpoints / stopped.name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(stopped.read_bytes())
    module = small_module(tiny_base, accumulate=2)
    assert small_run(module, tmp_path, kept) == (3, "")
    weights = torch.load(kept, weights_only=True)["state_dict"]
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in weights.items())


@pytest.mark.parametrize(
    ("script", "place", "resume"),
    [(cnet_riff_training, "--log_dir", "--resume"), (train_instruct_pix2pix, "--logging_dir", "--resume_from_checkpoint")],
)
def test_a_run_that_resumes_on_another_gpu_chooses_its_memory_preset_anew(
    script: Any, place: str, resume: str, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its configuration keeps `auto`; what the user chose is kept."""

    def settings_on(gib: int, *flags: str) -> RunSettings:
        monkeypatch.setattr("riff.training.memory.gpu_memory", lambda: gib * 2**30)
        return script.read_settings(script.parse_args([*flags, "--device", "cuda"]))

    monkeypatch.setattr("riff.training.flags.choose_device", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    kept = RunDir(tmp_path, 0).checkpoints / stopped.name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(stopped.read_bytes())
    for flags, presets in (((), ("8", "24", "full")), (("--memory", "12"), ("12", "12", "12"))):
        first = settings_on(8, *flags)
        cli.write_config(RunDir(tmp_path, 0).config, cli.argparse.Namespace(**first.flags))
        resumed = [settings_on(gib, place, str(tmp_path), resume, str(kept)) for gib in (24, 80)]
        assert tuple(settings.preset for settings in (first, *resumed)) == presets
        assert [settings.step.savings.moments for settings in resumed] == (["bf16"] * 2 if flags else ["32"] * 2)


@pytest.mark.parametrize(("before", "after"), [("8", "24"), ("24", "8"), ("12", "full")])
def test_a_checkpoint_goes_on_with_another_memory_preset(before: str, after: str, tiny_base: Path, tmp_path: Path) -> None:
    """Weights and moments are converted: the losses are those of one preset but for rounding."""

    def train(preset: str, steps: int, root: Path, resume: Path | None = None) -> list[float]:
        module = small_module(tiny_base, max_steps=steps, savings=PRESETS[preset])
        store_weights(module.objective.models, PRESETS[preset], "bf16")
        small_run(module, root, resume, precision="bf16")
        return [line["loss"] for line in read_losses(RunDir(root, 0).losses)]

    train(before, 2, tmp_path / "changed")
    changed = train(after, 4, tmp_path / "changed", RunDir(tmp_path / "changed", 0).checkpoints / "step=000002.ckpt")
    assert changed == pytest.approx(train("full", 4, tmp_path / "same"), rel=0.05)


def test_the_result_of_a_control_method_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the run's configuration; earlier versions wrote the control method alone."""
    monkeypatch.chdir(tmp_path)
    output = default_output("canny")
    assert output == Path("models/riff-cnet-canny-final")
    output.mkdir(parents=True)
    for number, text in enumerate(("control_method: canny\noutput: null\n", f"output: {output}\n", "control_method: ''\n")):
        run = tmp_path / "lightning_logs" / f"version_{number}"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(text)
        assert final_model(run) == (output if number < 2 else None)
    args = cnet_riff_training.parse_args(["--control_method", "canny", "--device", "cpu"])
    settings = cnet_riff_training.read_settings(args)
    cli.write_config(tmp_path / "config.yaml", cli.argparse.Namespace(**settings.flags))
    written = read_mapping(tmp_path / "config.yaml")
    assert (written["output"], written["memory"], "overwrite" in written) == (str(output), "auto", False)
