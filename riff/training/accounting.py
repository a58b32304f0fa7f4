"""Peak memory of a training step, by category; on real tensors, or on fake ones without data."""

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
IN_FLOAT32 = ("group_norm", "layer_norm")  # computed in float32 by autocast on CUDA, but not on a CPU


@dataclass(frozen=True)
class Peak:
    """Peak memory of a training step.

    Attributes:
        stage: when it occurs: `forward`, `backward` or `step`, the optimizer's.
        parts: bytes by category. Weights; their copies in half precision, which autocast makes; the optimizer's moments;
            gradients; the batch; activations, allocated in the forward pass; temporaries, allocated later, with recomputed
            activations.
    """

    stage: str
    parts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


class LiveMemory(TorchDispatchMode):
    """Count the bytes of all storages that tensor operations allocate, by category, until they are freed.

    Attributes:
        part: category of new storages. live: bytes by category. peak: since `reset_peak`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.part = self.stage = WEIGHTS
        self.live: Counter[str] = Counter()
        self._storages: dict[int, tuple[str, int]] = {}  # category and bytes by the storage's address
        self._live_bytes = 0
        self.reset_peak()

    def reset_peak(self) -> None:
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
        """The category of a tensor's storage, None where it is unknown."""
        return self._storages.get(tensor.untyped_storage()._cdata, (None, 0))[0]

    def assign(self, part: str, tensor: torch.Tensor) -> None:
        """Move a tensor's storage to another category."""
        key = tensor.untyped_storage()._cdata
        if key in self._storages:
            before, size = self._storages[key]
            self._storages[key] = part, size
            self.live[before] -= size
            self.live[part] += size

    def rename(self, before: str, part: str) -> None:
        """Move all storages of a category to another."""
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
    """Normalise in float32 under autocast, as on CUDA; a CPU would stay in half precision."""

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


Build = Callable[[], tuple[NoiseTraining, Callable[[], Example]]]  # a module, and a function that makes a batch


def trace_step(build: Build, precision: str, max_grad_norm: float = 1.0) -> Peak:
    """Peak memory of an optimizer step of `run_training`, after one that allocates the optimizer's state.

    All allocations on the CPU are counted, with normalisation in float32 and AdamW in one kernel, as on CUDA. Not counted:
    workspaces of cuDNN and cuBLAS, the CUDA context, and the allocator's rounding.

    Args:
        build: makes the module with its weights as the run stores them; called here, so that they are counted.
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
        memory.rename(TEMPORARIES, MOMENTS)  # what is left after a step
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
    memory.reset_peak()
    for number in range(min(2, module.options.accumulate)):  # the third equals the second
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
            memory.assign(GRADIENTS, parameter.grad)

    hooks = [parameter.register_post_accumulate_grad_hook(count) for parameter in module.trained]
    yield
    for hook in hooks:
        hook.remove()
