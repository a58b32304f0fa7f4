"""The optimizer of a run, its learning rate, and AdamW with weights and moments in bf16, rounded stochastically."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from riff.training.options import TrainingOptions
from riff.training.processes import keyed_generator

CHUNK = 2**22  # elements updated in float32 at a time: about 100 MB of temporaries, and few kernel calls
LOWEST_RATE = 0.01  # final value of a decaying schedule, as a share of the learning rate


def adamw(
    named_parameters: Iterable[tuple[str, nn.Parameter]], options: TrainingOptions, fused: bool | None = None
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, ICLR 2019) of the parameters that require gradients, stored as `options.savings` says.

    Args:
        fused: whether torch's AdamW updates each parameter in one kernel, without temporaries (default: on CUDA).
    """
    groups = parameter_groups(named_parameters, options)
    on_cuda = groups[0]["params"][0].is_cuda
    settings: dict[str, Any] = {
        "lr": options.learning_rate,
        "betas": options.adam_betas,
        "eps": options.adam_epsilon,
        "weight_decay": options.weight_decay,
    }
    savings = options.savings
    if "bf16" in (savings.trained, savings.moments):
        moments = torch.bfloat16 if savings.moments == "bf16" else torch.float32
        return RoundedAdamW(groups, **settings, moments=moments, seed=options.seed)
    if savings.moments == "8bit" and on_cuda:
        try:
            from bitsandbytes.optim import AdamW8bit

            return AdamW8bit(groups, **settings)
        except ImportError:
            pass
    optimizer = torch.optim.AdamW(groups, **settings, fused=on_cuda if fused is None else fused)
    # Fused AdamW can unscale gradients itself, and Lightning then refuses to clip them. Without this attribute they are unscaled
    # before clipping, as with other optimizers.
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def parameter_groups(named_parameters: Iterable[tuple[str, nn.Parameter]], options: TrainingOptions) -> list[dict[str, Any]]:
    """The optimizer's groups: parameters that require gradients, by learning rate, in their order."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            factor = next((factor for start, factor in options.rate_factors if name.startswith(start)), 1.0)
            groups.setdefault(factor, []).append(parameter)
    return [{"params": parameters, "lr": options.learning_rate * factor} for factor, parameters in groups.items()]


def learning_rate_factor(options: TrainingOptions, step: int) -> float:
    """The factor of the learning rate in a step, counted from 0."""
    rise, done = min(1.0, (step + 1) / max(1, options.warmup_steps)), min(1.0, step / options.max_steps)
    if options.schedule == "constant":
        return rise
    fall = 1 - done if options.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return rise * (LOWEST_RATE + (1 - LOWEST_RATE) * fall)


class RoundedAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter, ICLR 2019) in float32 arithmetic, with weights and moments in float32 or bf16.

    bf16 has eight bits of mantissa, so that an update of less than a 512th of a weight is lost when it is rounded to nearest,
    and nearly all of a fine-tuning's are. Rounded up or down at random, with the odds that keep the mean, none is lost in the
    long run (Gupta et al., ICML 2015). The random bits are a function of (seed, step): a resumed run equals an uninterrupted one.

    Args:
        params: float32 or bf16 parameters, or groups of them. moments: the dtype of both moments.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        moments: torch.dtype = torch.bfloat16,
        seed: int = 0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "seed": seed})
        self._moments = moments

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        with torch.enable_grad():
            loss = closure() if closure else None
        for number, group in enumerate(self.param_groups):
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            for parameter in parameters:
                self._start(parameter)
                self.state[parameter]["step"] += 1
            step = int(self.state[parameters[0]]["step"])
            bits = RandomBits((group["seed"], number, step), parameters[0].device)
            tensors = [
                (parameter, parameter.grad, self.state[parameter]["exp_avg"], self.state[parameter]["exp_avg_sq"])
                for parameter in parameters
            ]
            for pieces in in_pieces(tensors, CHUNK):
                weights, gradients, means, squares = zip(*pieces, strict=True)
                update(weights, gradients, means, squares, group, step, bits)
        return loss

    def _start(self, parameter: torch.Tensor) -> None:
        if not self.state[parameter]:
            zeros = (torch.zeros_like(parameter, dtype=self._moments) for _ in range(2))
            self.state[parameter] = dict(zip(("exp_avg", "exp_avg_sq"), zeros, strict=True)) | {"step": torch.tensor(0.0)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of this class or of torch's AdamW. The base class would convert moments to their parameters' dtype."""
        super().load_state_dict(state_dict)
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for group in self.param_groups:
            group.setdefault("seed", self.defaults["seed"])
        for number, state in state_dict["state"].items():
            parameter = parameters[number]
            for name in ("exp_avg", "exp_avg_sq"):
                self.state[parameter][name] = state[name].to(parameter.device, self._moments)


def update(
    weights: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    means: Sequence[torch.Tensor],
    squares: Sequence[torch.Tensor],
    group: dict[str, Any],
    step: int,
    bits: RandomBits,
) -> None:
    """One step of AdamW, in place, on chunks of weights, their gradients and both moments."""
    (beta1, beta2), rate = group["betas"], group["lr"]
    gradient, mean, square, weight = map(flat, (gradients, means, squares, weights))
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    denominator = torch.div(square, 1 - beta2**step, out=gradient).sqrt_().add_(group["eps"])
    weight.mul_(1 - rate * group["weight_decay"]).addcdiv_(mean, denominator, value=-rate / (1 - beta1**step))
    for values, pieces in ((mean, means), (square, squares), (weight, weights)):
        if pieces[0].dtype == torch.bfloat16:
            round_stochastically(values, bits)
        parts = values.split([piece.numel() for piece in pieces])
        torch._foreach_copy_(list(pieces), [part.view(piece.shape) for part, piece in zip(parts, pieces, strict=True)])


def flat(pieces: Sequence[torch.Tensor]) -> torch.Tensor:
    """All values in a new float32 vector."""
    return torch.cat([piece.reshape(-1).float() for piece in pieces])


def round_stochastically(values: torch.Tensor, bits: RandomBits) -> None:
    """Round float32 values in place to one of their two neighbours in bf16, so that the mean over the random bits is the value.

    A float32 is a bf16 followed by sixteen bits. With sixteen random bits added, these carry into the bf16 with the probability of
    rounding up.
    """
    as_integers = values.view(torch.int32)
    as_integers.add_(bits.next(len(values))).bitwise_and_(-(2**16))


class RandomBits:
    """Sixteen random bits for each element, a function of the key alone."""

    def __init__(self, key: Sequence[int], device: torch.device) -> None:
        self._generator, self._device = keyed_generator(key, device), device

    def next(self, count: int) -> torch.Tensor:
        """int32, shape (count,), from 0 to 2**16 - 1."""
        return torch.randint(2**16, (count,), generator=self._generator, dtype=torch.int32, device=self._device)


def in_pieces(tensors: Sequence[tuple[torch.Tensor, ...]], max_elements: int) -> Iterator[list[tuple[torch.Tensor, ...]]]:
    """Split tuples of tensors of one shape along their first dimension, and group the pieces to at most `max_elements`.

    A single row with more elements is yielded alone.
    """
    pieces: list[tuple[torch.Tensor, ...]] = []
    elements = 0
    for same in tensors:
        rows = same[0].shape[0] if same[0].ndim else 1
        row = same[0].numel() // max(1, rows)
        step = max(1, max_elements // max(1, row))
        cut = zip(*(tensor.split(step) if tensor.ndim else [tensor] for tensor in same), strict=True)
        for piece in cut:
            if pieces and elements + piece[0].numel() > max_elements:
                yield pieces
                pieces, elements = [], 0
            pieces.append(piece)
            elements += piece[0].numel()
    if pieces:
        yield pieces
