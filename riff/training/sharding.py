"""Models that are shared out over the processes of a run: each holds a part of every weight, gradient and optimizer state.

Parts are put together for checkpoints and for the result, which so look the same however many processes made them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard_models(models: Iterable[Any], mesh: DeviceMesh, half: bool) -> None:
    """Share diffusers' UNets and ControlNets out over the mesh in place, block by block: only one block is whole at a time.

    Args:
        half: compute in bfloat16, from weights that stay as they are; gradients are summed in float32.
    """
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16 if half else None, reduce_dtype=torch.float32)
    for model in models:
        model.to(memory_format=torch.contiguous_format)  # no other can be shared out
        for block in (*model.down_blocks, model.mid_block, *getattr(model, "up_blocks", ()), model):
            fully_shard(block, mesh=mesh, mp_policy=policy)


def reshard(model: nn.Module) -> None:
    """Let go of weights that a forward pass without a backward one has left whole, where the model is shared out."""
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def local_parts(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """This process's parts, which share their memory with the tensors; whole tensors as they are."""
    return [
        tensor.to_local().detach().requires_grad_(tensor.requires_grad) if isinstance(tensor, DTensor) else tensor
        for tensor in tensors
    ]


def whole(tensor: Any) -> Any:
    """A tensor that is shared out as one on the CPU, anything else as it is; all processes take part."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def whole_of_parts(parts: Iterable[torch.Tensor], like: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """What `local_parts` took apart, put together; `like` says how it was shared out."""
    return [
        whole(DTensor.from_local(part, one.device_mesh, one.placements, shape=one.shape, stride=one.stride()))
        if isinstance(one, DTensor)
        else part
        for part, one in zip(parts, like, strict=True)
    ]


def shared_like(tensor: Any, like: torch.Tensor) -> Any:
    """A whole tensor of the other's shape, shared out as that one is; anything else as it is."""
    if not isinstance(like, DTensor) or not isinstance(tensor, torch.Tensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def whole_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What the optimizer's `state_dict` would be with whole parameters."""
    state = optimizer.state_dict()
    return state | {"state": _map_tensors(state["state"], lambda _, tensor: whole(tensor))}


def load_whole_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """The way back of `whole_optimizer_state`, for parameters that are shared out in any way."""
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    of_number = dict(zip(numbers, parameters, strict=True))
    parts = _map_tensors(state["state"], lambda number, tensor: shared_like(tensor, of_number[number]))
    optimizer.load_state_dict({**state, "state": parts})


def _map_tensors(state: Mapping[int, Mapping[str, Any]], function: Any) -> dict[int, dict[str, Any]]:
    return {number: {name: function(number, value) for name, value in one.items()} for number, one in state.items()}


def whole_models(models: Mapping[str, Any], wanted: bool) -> dict[str, nn.Module]:
    """Models like those that were shared out, whole and on the CPU, by the same names; all processes take part.

    Args:
        wanted: False only takes part, and returns nothing.
    """
    made = {}
    for name, model in models.items():
        weights = {}
        for key, value in model.state_dict().items():
            full = whole(value)
            if wanted:
                weights[key] = full
        if wanted:
            made[name] = _without_sharding(model, weights)
    return made


def _without_sharding(model: Any, weights: dict[str, torch.Tensor]) -> nn.Module:
    original = next(one for one in type(model).__mro__ if not issubclass(one, FSDPModule))
    with torch.device("meta"):
        made = original.from_config(model.config)  # type: ignore[attr-defined]
    made.load_state_dict(weights, assign=True)
    return made
