"""How several processes share the work of one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from riff.errors import OptionError
from riff.training.processes import Processes
from riff.training.sharding import load_whole_optimizer_state, reshard, shared_like, whole, whole_optimizer_state


def check_strategy(name: str, precision: str) -> None:
    """Refuse what cannot be trained with.

    Args:
        name: `auto`, `ddp`, `fsdp` or `deepspeed`. precision: `32`, `bf16` or `16`.

    Raises:
        OptionError: names the way out.
    """
    if name == "deepspeed":
        raise OptionError(
            "--strategy deepspeed: its checkpoints are folders of parts that a run of another size could not go on from; "
            "take fsdp, which shares out as much and keeps one file"
        )
    if name == "fsdp" and precision == "16":
        raise OptionError("--strategy fsdp: 16-bit floats overflow without a scaler, which it has not; train in bf16 or 32 bits")


def new_strategy(name: str, processes: Processes) -> Strategy | str:
    """Lightning's strategy for these processes.

    Args:
        name: `auto`, `ddp` or `fsdp`; one process needs none of them.
    """
    if processes.count == 1:
        return "auto"
    if name == "fsdp":
        return ShardingStrategy(processes.count)
    return DDPStrategy(gradient_as_bucket_view=True)


class ShardingStrategy(ModelParallelStrategy):
    """PyTorch's fully sharded data parallelism, with the checkpoints of a run that shares nothing out."""

    def __init__(self, processes: int) -> None:
        super().__init__(data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False)

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        reshard(self.lightning_module)
        # What is frozen is in no checkpoint, and gathering it would cost the most.
        return {name: whole(value) for name, value in self.lightning_module.named_parameters() if value.requires_grad}

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        return whole_optimizer_state(optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)

    @torch.no_grad()
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        parameters = dict(self.lightning_module.named_parameters())
        for name, value in checkpoint["state_dict"].items():
            parameters[name].copy_(shared_like(value, parameters[name]))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            load_whole_optimizer_state(optimizer, state)
