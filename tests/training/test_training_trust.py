"""Validation is reproducible, and non-finite numbers end a run."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from riff.errors import TrainingError
from riff.inspection.prompt_stats import low_variety
from riff.models.edit import attach_edit
from riff.models.loading import load_base
from riff.spectrogram.edges import canny_edges
from riff.training.checkpoints import CheckpointLog
from riff.training.edit import ConditioningDropout, EditObjective
from riff.training.losses import FLUSH_EVERY, FigureLog, LossLog, ValidationLog, random_subset
from riff.training.module import NoiseTraining
from riff.training.options import TrainingOptions
from riff.training.processes import ALONE, Processes
from riff.training.progress import LINE_EVERY, ProgressLog, StopInTime
from riff.training.run_dir import read_losses
from riff.training.samples import LEAST_RANGE, Bounds, EdgeCurve, mean_edge_f1


def trainer_at(step: int, scaler: object = None, module: Any = None) -> Any:
    """As much of a trainer of one process as the callbacks use."""
    strategy = SimpleNamespace(
        reduce=lambda tensor, reduce_op: tensor,
        broadcast=lambda value: value,
        reduce_boolean_decision=lambda value: value,
        validation_step=module and module.validation_step,
    )
    precision = SimpleNamespace(scaler=scaler)
    more = {"accumulate_grad_batches": 1, "max_steps": 1000, "loggers": [], "is_global_zero": True}
    return SimpleNamespace(global_step=step, strategy=strategy, precision_plugin=precision, **more)


@pytest.fixture(scope="module")
def examples() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    text = {"text": torch.randn(77, 32, generator=generator), "no_text": torch.zeros(77, 32)}
    return [
        {"moments": torch.randn(2, 4, 32, 32, generator=generator).abs(), "image": torch.randn(4, 32, 32, generator=generator)}
        | text
        for _ in range(3)
    ]


def tiny_module(base: Path, processes: Processes = ALONE, **options: object) -> NoiseTraining:
    pipeline = attach_edit(load_base(str(base)))
    objective = EditObjective(pipeline.unet, pipeline.vae.config.scaling_factor, ConditioningDropout(0.3, 0.3, 0.3))
    return NoiseTraining(objective, pipeline.scheduler, [None], TrainingOptions(**options), "name", processes)  # type: ignore[arg-type]


def validate(module: NoiseTraining, examples: list, place: Path, step: int = 0) -> float:
    figures = FigureLog(place / "validation.jsonl")
    trainer = trainer_at(step, module=module)
    figures.on_train_start(trainer, module)
    ValidationLog(examples, figures, 1, 8).on_train_start(trainer, module)  # type: ignore[arg-type]
    return figures.curve("loss")[-1][1]


def test_the_loss_on_held_out_songs_is_the_same_at_every_validation(tiny_base: Path, examples: list, tmp_path: Path) -> None:
    """Whatever the batch and the seed, and without the training's random numbers; it falls as the songs are learnt."""
    module = tiny_module(tiny_base, batch_size=3, seed=1)
    state = torch.get_rng_state()
    first = validate(module, examples, tmp_path / "a")
    assert first == validate(module, examples, tmp_path / "a") == validate(module, examples, tmp_path / "b")
    assert torch.equal(torch.get_rng_state(), state)
    assert first == pytest.approx(validate(tiny_module(tiny_base, batch_size=8, seed=2), examples, tmp_path / "c"), rel=1e-5)
    optimizer = torch.optim.Adam(module.trained, 3e-3)
    batch = {name: torch.stack([example[name] for example in examples]) for name in examples[0]}
    for step in range(15):
        optimizer.zero_grad()
        module.noise_loss(batch, (step,)).backward()
        optimizer.step()
    assert validate(module, examples, tmp_path / "d") < 0.9 * first


def test_processes_share_a_validation(tiny_base: Path, examples: list, tmp_path: Path) -> None:
    """Together they compute the loss of one process: 8 images, 4 processes, batches of 3, of which the last process gets none."""
    alone = validate(tiny_module(tiny_base, batch_size=3), examples, tmp_path)
    sums: list[torch.Tensor] = []
    for rank in range(4):
        module = tiny_module(tiny_base, Processes(rank, 4, 4), batch_size=3)
        trainer = trainer_at(0, module=module)
        trainer.strategy.validation_step = Mock(side_effect=module.validation_step)

        def keep(tensor: torch.Tensor, reduce_op: str) -> torch.Tensor:
            sums.append(tensor)
            return torch.ones(2)

        trainer.strategy.reduce = keep
        ValidationLog(examples, FigureLog(tmp_path / f"{rank}.jsonl"), 1, 8).on_train_start(trainer, module)  # type: ignore[arg-type]
        assert trainer.strategy.validation_step.call_count == (rank < 3)
    total, count = torch.stack(sums).sum(dim=0).tolist()
    assert (count, total / count) == (8, pytest.approx(alone, rel=1e-5))


def test_validation_of_broken_weights_ends_the_run(tiny_base: Path, examples: list, tmp_path: Path) -> None:
    module = tiny_module(tiny_base, batch_size=8)
    module.trained[0].data.fill_(math.nan)
    with pytest.raises(TrainingError, match="step 7: the loss on held-out songs is not a finite number"):
        validate(module, examples, tmp_path, step=7)
    saved: list[Path] = []
    trainer = trainer_at(7)
    trainer.save_checkpoint = saved.append
    with pytest.raises(TrainingError, match="step 7: a weight is not a finite number"):
        CheckpointLog(tmp_path, 7, 1).on_train_batch_end(trainer, module)
    assert saved == []


def losses_of(log: LossLog, losses: list[float], scaler: object = None, gradients: list[float] | None = None) -> None:
    """Show a log these losses, step after step."""
    log.on_train_start(trainer_at(0), None)  # type: ignore[arg-type]
    for step, (loss, gradient) in enumerate(zip(losses, gradients or [1.0] * len(losses), strict=True), start=1):
        weight = torch.nn.Parameter(torch.ones(2))
        weight.grad = torch.full((2,), gradient)
        trainer = trainer_at(step, scaler)
        log.on_before_optimizer_step(
            trainer, SimpleNamespace(parameters=lambda weight=weight: [weight]), SimpleNamespace(param_groups=[{"lr": 1.0}])
        )
        log.on_train_batch_end(trainer, None, {"loss": torch.tensor(loss)})  # type: ignore[arg-type]


def test_a_loss_or_gradient_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    """With the step named, and the losses before it kept."""
    path = tmp_path / "losses.jsonl"
    with pytest.raises(TrainingError, match="step 3: the loss is not a finite number"):
        losses_of(LossLog(path), [0.5, 0.25, math.nan, 0.1])
    assert read_losses(path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
    with pytest.raises(TrainingError, match="step 2: the gradient is not a finite number"):
        losses_of(LossLog(path), [0.5, 0.25], gradients=[1.0, math.inf])


def test_steps_that_a_gradient_scaler_passes_over_are_no_end(tmp_path: Path) -> None:
    path = tmp_path / "losses.jsonl"
    losses_of(LossLog(path), [0.5, math.inf, 0.25, 0.25], scaler=object(), gradients=[math.inf, math.inf, math.nan, 1.0])
    assert [line["step"] for line in read_losses(path)] == [1, 3, 4]
    with pytest.raises(TrainingError, match=f"step 2: the loss is not a finite number in {FLUSH_EVERY} steps in a row"):
        losses_of(LossLog(path), [0.5] + [math.nan] * FLUSH_EVERY, scaler=object())


def test_a_line_that_was_being_written_at_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "losses.jsonl"
    path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    assert read_losses(path) == [{"step": 1, "loss": 0.5}]


def test_edges_of_their_own_score_one() -> None:
    generator = np.random.default_rng(0)
    images = [np.kron(generator.integers(0, 256, (16, 16), np.uint8), np.ones((8, 8), np.uint8)) for _ in range(2)]
    edges = [canny_edges(image) for image in images]
    assert mean_edge_f1(images, edges) == 1.0
    assert mean_edge_f1([np.full_like(images[0], 255)] * 2, edges) == 0.0
    assert 0 < mean_edge_f1(images[::-1], edges) < 1
    assert EdgeCurve.can_follow(edges)
    assert not EdgeCurve.can_follow([edges[0], images[0]])


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_control_holds_from_a_third_of_the_way(floor: float, ceiling: float, score: float) -> None:
    bounds = Bounds(floor, ceiling)
    assert bounds.holds(score) == (ceiling - floor >= LEAST_RANGE and score - floor >= (ceiling - floor) / 3 - 1e-9) or (
        math.isclose(score - floor, (ceiling - floor) / 3, abs_tol=1e-9)
    )
    assert not bounds.holds(floor)


@pytest.mark.parametrize(
    ("scores", "expected", "verdict"),
    [
        (
            [0.35, 0.45, 0.39],
            "step 20: the control has taken hold (edge F1 0.450; 0.300",
            "the control took hold by step 20 (edge F1 0.390",
        ),
        ([0.35, 0.39], "", "the control has not taken hold: train for more steps"),
        ([], "", ""),
    ],
)
def test_the_step_at_which_control_takes_hold_is_reported(
    scores: list[float],
    expected: str,
    verdict: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Once, and also when the run is resumed in between."""
    given_scores = iter([0.3, 0.6, *scores])
    monkeypatch.setattr("riff.training.samples.mean_edge_f1", lambda images, edges: next(given_scores))
    path = tmp_path / "validation.jsonl"
    for step, _ in enumerate(["bounds", *scores]):
        figures = FigureLog(path)  # as a resumed run has it
        trainer = trainer_at(10 * step)
        figures.on_train_start(trainer, None)  # type: ignore[arg-type]
        curve = EdgeCurve(figures)
        curve.add(trainer, [], []) if curve.is_bounded else curve.bound(trainer, [], [], [])
    assert curve.bounds == (0.3, 0.6)
    lines = capsys.readouterr().out.splitlines()
    assert [line[: len(expected)] for line in lines] == [expected] * bool(expected)
    curve.report()
    assert capsys.readouterr().out.startswith(verdict)


@pytest.mark.parametrize(
    ("prompts", "songs", "words"),
    [
        (["a", "b", "c"], ["x", "y", "z"], ""),
        (["a", "a", "b", "c"], ["x", "y", "z", "z"], ""),
        (
            ["a", "a", "a", "b", "c"],
            ["x", "y", "y", "z", "v"],
            "5 pairs of 4 songs have 3 different prompts, the commonest is on 60%",
        ),
        (["a", "a", "a"], ["x", "y", "z"], "have 1 different prompt, the commonest is on 100%"),
        (["a", "a", "a"], ["x", "y", "y"], ""),  # other songs are what is wanting
        ([f"{n % 10}" for n in range(100)], [f"{n}" for n in range(100)], ""),
        ([f"{n % 9}" for n in range(100)], [f"{n}" for n in range(100)], "100 pairs of 100 songs have 9 different prompts"),
    ],
)
def test_few_prompts_for_many_songs_are_named(prompts: list[str], songs: list[str], words: str) -> None:
    found = low_variety(prompts, songs)
    assert words in found
    assert bool(found) == bool(words)


def test_validation_uses_pairs_of_all_held_out_songs() -> None:
    records: list[Any] = [SimpleNamespace(song=song, number=number) for song in "abcd" for number in range(50)]
    chosen = random_subset(records, 32)
    assert len(chosen) == 32
    assert {record.song for record in chosen} == set("abcd")
    assert chosen == random_subset(records, 32)
    assert random_subset(records[:5], 32) == records[:5]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("limit", "left"), [(math.inf, "0:01:30 left"), (60, "0:00:20 left to the time limit")])
def test_the_time_left_is_that_of_this_call(
    limit: float, left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From step 900 on, 30 steps of 40 s in all took: 70 more take 1:33 (here 4/3 s each); or the time limit ends it before."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    stop, losses, figures = StopInTime(limit), LossLog(tmp_path / "losses.jsonl"), FigureLog(tmp_path / "validation.jsonl")
    stop.on_fit_start(trainer_at(900), None)  # type: ignore[arg-type]
    progress = ProgressLog(stop, losses, figures)
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        progress.on_train_start(trainer_at(900), None)  # type: ignore[arg-type]
        losses.recent.extend([0.5, 0.25])
        clock.now += 36
        progress.on_train_batch_end(trainer_at(928), None)  # type: ignore[arg-type]
        clock.now += 4
        figures._lines.append({"step": 930, "loss": 0.125})
        progress.on_train_batch_end(trainer_at(930), None)  # type: ignore[arg-type]
        progress.on_train_end(trainer_at(930), None)  # type: ignore[arg-type]
    stop.on_fit_end(trainer_at(930), None)  # type: ignore[arg-type]
    shown = terminal.getvalue()
    assert "930/1000, 1.33 s/step, loss 0.3750, held out 0.1250, " in shown
    assert left.replace("1:30", "1:33") in shown


def test_without_a_terminal_a_line_comes_every_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    stop = StopInTime(1e9)
    stop.on_fit_start(trainer_at(0), None)  # type: ignore[arg-type]
    progress = ProgressLog(stop, LossLog(tmp_path / "losses.jsonl"), FigureLog(tmp_path / "validation.jsonl"))
    progress.on_train_start(trainer_at(0), None)  # type: ignore[arg-type]
    for step in range(1, 6):
        clock.now += LINE_EVERY / 2
        progress.on_train_batch_end(trainer_at(step), None)  # type: ignore[arg-type]
    stop.on_fit_end(trainer_at(5), None)  # type: ignore[arg-type]
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["step 3 of 1000: 30.00 s/step, 8:18:30 left"]
