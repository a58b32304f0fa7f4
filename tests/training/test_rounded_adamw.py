"""AdamW in bf16: rounding that loses nothing on average, and states that go on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import mse_loss

from riff.training.optimizers import RandomBits, RoundedAdamW, adamw, in_pieces, round_stochastically
from riff.training.options import Savings, TrainingOptions

CPU = torch.device("cpu")
BF16 = Savings(trained="bf16", moments="bf16")


@settings(max_examples=40, deadline=None)
@given(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), st.integers(0, 9))
def test_rounding_takes_a_neighbour_and_keeps_the_mean(value: float, seed: int) -> None:
    values = torch.full((20_000,), value)
    round_stochastically(values, RandomBits((seed,), CPU))
    assert torch.equal(values, values.bfloat16().float())
    step = 2**-7 * abs(value)  # of eight bits of mantissa, at the most
    assert (values.max() - values.min()).item() <= step
    five_deviations = 5 * step / 2 / len(values) ** 0.5
    assert values.double().mean().item() == pytest.approx(torch.tensor(value).item(), abs=five_deviations)


def test_nan_and_representable_values_stay() -> None:
    values = torch.tensor([0.0, -0.0, 1.5, -(2.0**-100), float("inf"), -float("inf"), float("nan")])
    before = values.clone()
    round_stochastically(values, RandomBits((0,), CPU))
    assert torch.equal(values[:6], before[:6])
    assert values[6].isnan()


def test_updates_smaller_than_a_step_of_bf16_are_not_lost() -> None:
    """A thousand steps of 1e-5 from 1: rounded to nearest the weight would not change, since its neighbour is 0.0039 away."""
    weight = nn.Parameter(torch.ones(4000, dtype=torch.bfloat16))
    nearest = weight.detach().clone()
    optimizer = RoundedAdamW([weight], lr=1e-5, weight_decay=0.0)
    for _ in range(1000):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        nearest -= 1e-5
    assert nearest.eq(1).all()
    assert weight.float().mean().item() == pytest.approx(1 - 1000 * 1e-5, abs=1e-3)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    """Losses of a regression on fixed data, computed as mixed precision does."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(256, 8, generator=generator)
    targets = torch.sin(inputs @ torch.randn(8, 2, generator=generator))
    losses = []
    for _ in range(steps):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = mse_loss(model(inputs).float(), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))


def optimizer_of(model: nn.Module, savings: Savings) -> torch.optim.Optimizer:
    return adamw(model.named_parameters(), TrainingOptions(learning_rate=1e-3, savings=savings))


def test_it_learns_as_float32_does_and_rounding_to_nearest_does_not() -> None:
    def run(dtype: torch.dtype, make: Callable[[nn.Module], torch.optim.Optimizer]) -> float:
        model = small_model().to(dtype)
        return sum(train(model, make(model), 600)[-50:]) / 50

    full = run(torch.float32, lambda model: optimizer_of(model, Savings()))
    rounded = run(torch.bfloat16, lambda model: optimizer_of(model, BF16))
    nearest = run(torch.bfloat16, lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3))
    assert rounded < 1.1 * full + 0.005
    assert nearest > 1.2 * rounded


def test_in_float32_it_is_torchs_own() -> None:
    ours, theirs = small_model(), small_model()
    settings: dict[str, Any] = {"lr": 1e-3, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
    optimizers = (
        RoundedAdamW(ours.parameters(), **settings, moments=torch.float32),
        torch.optim.AdamW(theirs.parameters(), **settings),
    )
    for _ in range(20):
        for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn_like(mine)
            reference.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("savings", [BF16, Savings(moments="bf16"), Savings(trained="bf16")], ids=str)
def test_a_resumed_optimizer_equals_an_uninterrupted_one(savings: Savings, tmp_path: Path) -> None:
    dtype = torch.bfloat16 if savings.trained == "bf16" else torch.float32
    uninterrupted = small_model().to(dtype)
    train(uninterrupted, optimizer_of(uninterrupted, savings), 5)
    first = small_model().to(dtype)
    stopped = optimizer_of(first, savings)
    train(first, stopped, 2)
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    going_on = optimizer_of(first, savings)
    going_on.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    train(first, going_on, 3)
    moments = {state["exp_avg"].dtype for state in going_on.state.values()}
    assert moments == {torch.bfloat16 if savings.moments == "bf16" else torch.float32}
    assert all(torch.equal(*both) for both in zip(first.parameters(), uninterrupted.parameters(), strict=True))


@pytest.mark.parametrize(("before", "after"), [(Savings(), BF16), (BF16, Savings()), (Savings(), Savings(moments="bf16"))])
def test_a_run_may_go_on_with_other_savings(before: Savings, after: Savings) -> None:
    model = small_model()
    optimizer = optimizer_of(model, before)
    losses = train(model, optimizer, 200)
    other = optimizer_of(model, after)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert max(train(model, other, 50)) < 1.2 * losses[-1]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 5), max_size=3).map(tuple), min_size=1, max_size=5), st.integers(1, 40))
def test_pieces_hold_everything_once_and_no_more_than_they_may(shapes: list[tuple[int, ...]], most: int) -> None:
    tensors = [(torch.zeros(shape), torch.zeros(shape)) for shape in shapes]
    for group in in_pieces(tensors, most):
        largest_row = max(piece[0].numel() // (piece[0].shape[0] if piece[0].ndim else 1) for piece in group)
        assert sum(piece.numel() for piece, _ in group) <= max(most, largest_row)
        for one, other in group:
            one.add_(1)
            other.add_(2)
    assert all(one.eq(1).all() and other.eq(2).all() for one, other in tensors)


def test_a_large_parameter_takes_small_temporaries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("riff.training.optimizers.CHUNK", 2**14)
    weight = nn.Parameter(torch.zeros(1024, 256, dtype=torch.bfloat16))
    optimizer = RoundedAdamW([weight], lr=1e-3)
    for _ in range(2):
        weight.grad = torch.ones_like(weight)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            optimizer.step()
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest <= 4 * 2**14


class Regression(pl.LightningModule):
    """The smallest module whose gradients Lightning clips."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        return self.layer(batch).pow(2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.named_parameters(), TrainingOptions(), fused=True)


def test_fused_adamw_lets_its_gradients_be_clipped() -> None:
    module = Regression()
    before = copy.deepcopy(module.layer.weight.detach())
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", precision="bf16-mixed", max_steps=2, gradient_clip_val=1.0, **quiet)
    trainer.fit(module, torch.utils.data.DataLoader(torch.ones(4, 3), batch_size=2))
    assert not torch.equal(before, module.layer.weight)
