"""Low-rank adapters of a UNet (LoRA: Hu et al., ICLR 2022), by peft and in diffusers' files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler

from riff.errors import ModelError, OptionError
from riff.models.folders import model_folder
from riff.models.sources import LORA_FILE, SCHEDULER_FILE, as_model_error
from riff.seeds import torch_seed

# All layers of the transformer blocks, and the convolutions of the residual blocks, which hold most of a small UNet.
TARGETS = (
    *("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
    *("conv1", "conv2", "conv_shortcut"),
)


class FewStepScheduler(DDIMScheduler):
    """DDIM in steps that begin at pure noise, for which a model was distilled."""

    @classmethod
    def like(cls, scheduler: Any) -> FewStepScheduler:
        """With another scheduler's noise levels."""
        return cls.from_config(scheduler.config, timestep_spacing="trailing", clip_sample=False)

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Of other schedulers; DDIM keeps no state between its steps."""


def add_lora(unet: Any, rank: int, seed: int = 0) -> None:
    """Freeze a UNet and add trainable adapters of this rank, in place; its output does not change yet.

    Raises:
        OptionError: peft is not installed.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise OptionError("lora_rank: needs the package peft; pip install peft") from error
    unet.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed))
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS)))


@contextmanager
def without_lora(unet: Any) -> Iterator[None]:
    """Use a UNet without its adapters inside the block."""
    unet.disable_lora()
    try:
        yield
    finally:
        unet.enable_lora()


def save_lora(
    pipeline: Any, folder: str | Path, origin: dict[str, Any], replaces: Iterable[str] = (), scheduler: Any | None = None
) -> None:
    """Write the adapters of a pipeline's UNet, in half precision, as a folder for `load_lora_weights` of diffusers' pipelines.

    Args:
        origin: its `base` is the model that was adapted. replaces: as in `model_folder`.
        scheduler: the adapted model's, of few steps, for `from_pretrained` of diffusers' DDIMScheduler; None for any.
    """
    from peft.utils import get_peft_model_state_dict

    with model_folder(folder, origin, replaces) as temporary:
        layers = {name: tensor.half() for name, tensor in get_peft_model_state_dict(pipeline.unet).items()}
        type(pipeline).save_lora_weights(temporary, unet_lora_layers=layers)
        if scheduler is not None:
            DDIMScheduler.from_config(scheduler.config).save_pretrained(temporary)


def fuse_lora(pipeline: Any, folder: Path) -> Any:
    """Add the adapters in a folder to the weights of a pipeline, in place, and give it their scheduler if they have one.

    Raises:
        ModelError: they cannot be read, or do not fit.
    """
    try:
        pipeline.unet.load_lora_adapter(folder, prefix="unet", weight_name=LORA_FILE, use_safetensors=True)
        pipeline.unet.fuse_lora()
        pipeline.unet.unload_lora()
        if (folder / SCHEDULER_FILE).is_file():
            pipeline.scheduler = FewStepScheduler.from_pretrained(folder)
    except ImportError as error:
        raise ModelError(f"{folder}: holds adapters, which need the package peft; pip install peft") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise as_model_error(error, str(folder), "") from error
    return pipeline
