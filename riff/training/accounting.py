"""Whose every byte is, at the fullest moment of a training step; on real tensors and on fake ones that hold nothing."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from riff.data.datasets import Example
from riff.training.memory import HALF_TYPES
from riff.training.module import NoiseTraining
from riff.training.optimizers import adamw

WEIGHTS, CAST, MOMENTS, GRADIENTS = "weights", "cast weights", "optimizer's moments", "gradients"
INPUTS, ACTIVATIONS, TEMPORARIES = "batch", "activations", "temporaries"
IN_FLOAT32 = ("group_norm", "layer_norm")  # what autocast computes in float32 on CUDA, and not on a CPU


@dataclass(frozen=True)
class Peak:
    """The fullest moment of a training step.

    Attributes:
        stage: `forward`, `backward` or `step`, the optimizer's.
        parts: bytes. Weights; their copies in half precision, which autocast makes; the optimizer's moments; gradients; the
            batch; activations, born in the forward pass; temporaries, born later, recomputed activations among them.
    """

    stage: str
    parts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


class LiveMemory(TorchDispatchMode):
    """Count the bytes of all storages that tensor operations make, by part, from their birth to their end.

    Attributes:
        part: what is born now belongs to it. live: bytes by part. peak: the fullest moment since `forget_peak`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.part = self.stage = WEIGHTS
        self.live: Counter[str] = Counter()
        self._storages: dict[int, tuple[str, int]] = {}  # part and bytes by the storage's address
        self._live_bytes = 0
        self.forget_peak()

    def forget_peak(self) -> None:
        self.peak, self._peak_bytes = Peak(self.stage, dict(self.live)), self._live_bytes

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        is_cast = function is torch.ops.aten._to_copy.default and self.part_of(args[0]) == WEIGHTS
        part = CAST if is_cast and self.part != WEIGHTS else self.part
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor, part)
        return result

    def part_of(self, tensor: torch.Tensor) -> str | None:
        """The part that a tensor's storage belongs to, None where it is unknown."""
        return self._storages.get(tensor.untyped_storage()._cdata, (None, 0))[0]

    def give_to(self, part: str, tensor: torch.Tensor) -> None:
        """Count a tensor's storage in this part from now on."""
        key = tensor.untyped_storage()._cdata
        if key in self._storages:
            before, size = self._storages[key]
            self._storages[key] = part, size
            self.live[before] -= size
            self.live[part] += size

    def give_all(self, before: str, part: str) -> None:
        """Count what lives in one part in another from now on."""
        for key, (now, size) in self._storages.items():
            if now == before:
                self._storages[key] = part, size
        self.live[part] += self.live.pop(before, 0)

    def _add(self, tensor: torch.Tensor, part: str) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return
        self._storages[key] = part, size
        self.live[part] += size
        self._live_bytes += size
        weakref.finalize(storage, self._remove, key).atexit = False
        if self._live_bytes > self._peak_bytes:
            self.peak, self._peak_bytes = Peak(self.stage, dict(self.live)), self._live_bytes

    def _remove(self, key: int) -> None:
        part, size = self._storages.pop(key, (None, 0))
        if part is not None:
            self.live[part] -= size
            self._live_bytes -= size


@contextmanager
def norms_as_on_cuda() -> Iterator[None]:
    """Normalise in float32 under autocast as CUDA does, on the CPU, where it would stay in half precision."""

    def in_float32(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def norm(*args: Any, **kwargs: Any) -> torch.Tensor:
            if not torch.is_autocast_enabled("cpu"):
                return function(*args, **kwargs)
            return function(*map(_as_float32, args), **{name: _as_float32(value) for name, value in kwargs.items()})

        return norm

    originals = {name: getattr(functional, name) for name in IN_FLOAT32}
    for name, function in originals.items():
        setattr(functional, name, in_float32(function))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(functional, name, function)


def _as_float32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) else value


Build = Callable[[], tuple[NoiseTraining, Callable[[], Example]]]  # a module, and what makes its batches


def trace_step(build: Build, precision: str, max_grad_norm: float = 1.0) -> Peak:
    """Take an optimizer step as a run does (`run_training`), after one that made the optimizer's state, and account for it.

    Everything on the CPU is counted, and what only CUDA does is done: normalisation in float32, and AdamW in one kernel. What
    CUDA allocates besides is not known here: cuDNN's and cuBLAS's work spaces, its context, and the allocator's rounding.

    Args:
        build: makes the module with its weights as the run stores them; called here, so that its weights are counted.
        precision: `32`, `bf16` or `16`.
    """
    with LiveMemory() as memory, norms_as_on_cuda():
        module, new_batch = build()
        module.train()
        optimizer = adamw(module.named_parameters(), module.options, fused=True)
        memory.part = TEMPORARIES
        for parameter in module.trained:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        memory.give_all(TEMPORARIES, MOMENTS)  # what a step leaves behind
        with _counted_gradients(memory, module):
            _optimizer_step(memory, module, optimizer, new_batch, precision, max_grad_norm)
    return memory.peak


def _optimizer_step(
    memory: LiveMemory,
    module: NoiseTraining,
    optimizer: torch.optim.Optimizer,
    new_batch: Callable[[], Example],
    precision: str,
    max_grad_norm: float,
) -> None:
    memory.stage = "forward"
    memory.forget_peak()
    for number in range(min(2, module.options.accumulate)):  # the third is as the second
        memory.stage, memory.part = "forward", INPUTS
        batch = new_batch()
        memory.part = ACTIVATIONS
        with torch.autocast("cpu", HALF_TYPES.get(precision), enabled=precision in HALF_TYPES):
            loss = module.noise_loss(batch, seed=(0, number))
        memory.stage, memory.part = "backward", TEMPORARIES
        loss.backward()
        del loss, batch
    memory.stage = "step"
    clip_grad_norm_(module.trained, max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()


@contextmanager
def _counted_gradients(memory: LiveMemory, module: NoiseTraining) -> Iterator[None]:
    def count(parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            memory.give_to(GRADIENTS, parameter.grad)

    hooks = [parameter.register_post_accumulate_grad_hook(count) for parameter in module.trained]
    yield
    for hook in hooks:
        hook.remove()
