"""The optimizer's groups and the learning rate's course."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from riff.training.optimizers import LOWEST_RATE, adamw, learning_rate_factor, parameter_groups
from riff.training.options import TrainingOptions


def test_rate_factors_multiply_the_rate_of_what_they_name() -> None:
    model = nn.ModuleDict({"hint": nn.Linear(2, 2), "body": nn.Linear(2, 2), "frozen": nn.Linear(2, 2).requires_grad_(False)})
    options = TrainingOptions(learning_rate=0.5, rate_factors=(("hint.weight", 4.0), ("hint", 2.0)))
    rates = {
        parameter: group["lr"] for group in parameter_groups(model.named_parameters(), options) for parameter in group["params"]
    }
    assert rates == {model["hint"].weight: 2.0, model["hint"].bias: 1.0, model["body"].weight: 0.5, model["body"].bias: 0.5}


def test_a_factor_scales_the_first_step() -> None:
    """Adam's first step is the learning rate's size, whatever the gradient's."""
    model = nn.ModuleDict({"hint": nn.Linear(1, 1, bias=False), "body": nn.Linear(1, 1, bias=False)})
    before = {name: parameter.item() for name, parameter in model.named_parameters()}
    optimizer = adamw(
        model.named_parameters(), TrainingOptions(learning_rate=1e-3, weight_decay=0.0, rate_factors=(("hint", 10.0),))
    )
    (model["hint"](torch.ones(1)) + 100 * model["body"](torch.ones(1))).sum().backward()
    optimizer.step()
    moved = {name: before[name] - parameter.item() for name, parameter in model.named_parameters()}
    assert moved["hint.weight"] == pytest.approx(1e-2, rel=1e-3)
    assert moved["body.weight"] == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(("schedule", "half"), [("constant", 1.0), ("linear", 0.505), ("cosine", 0.505)])
def test_the_rate_rises_and_falls(schedule: str, half: float) -> None:
    options = TrainingOptions(max_steps=100, warmup_steps=10, schedule=schedule)
    assert learning_rate_factor(options, 0) == pytest.approx(0.1, abs=0.01)
    assert learning_rate_factor(options, 50) == pytest.approx(half)
    assert learning_rate_factor(options, 100) == pytest.approx(1.0 if schedule == "constant" else LOWEST_RATE)
