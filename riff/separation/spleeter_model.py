"""Spleeter's networks in PyTorch, with the weights of its TensorFlow checkpoints (Hennequin et al., JOSS 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, elu, leaky_relu, pad, relu

from riff.errors import ModelError

WIDTHS = (16, 32, 64, 128, 256, 512)
NORM_EPSILON = 1e-3  # Keras' default
MASK_EPSILON = 1e-10

Weights = Mapping[str, np.ndarray]
Activation = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Architecture:
    """What differs between Spleeter's models.

    Attributes:
        stems: in the order of their networks in the checkpoint.
        elu: ELU in both halves, where the others have LeakyReLU and ReLU.
        softmax: the networks' masks are made to sum to one before they meet the mix.
    """

    stems: tuple[str, ...]
    elu: bool = False
    softmax: bool = False


ARCHITECTURES = {
    2: Architecture(("vocals", "accompaniment")),
    4: Architecture(("vocals", "drums", "bass", "other"), elu=True),
    5: Architecture(("vocals", "piano", "drums", "bass", "other"), elu=True, softmax=True),
}


class SpleeterModel(nn.Module):
    """A U-Net for every stem: magnitudes of a mix -> masks.

    Args:
        weights: TensorFlow's tensors by name.
        where: what the weights came from, for messages.

    Raises:
        ModelError: tensors are missing, of another shape, or of a model with more stems; names them.
    """

    def __init__(self, architecture: Architecture, weights: Weights, where: Path | str) -> None:
        super().__init__()
        check_weights(architecture, weights, where)
        self.architecture = architecture
        self.networks = nn.ModuleList([_UNet(weights, number, architecture.elu) for number in range(len(architecture.stems))])

    @torch.no_grad()
    def forward(self, magnitude: torch.Tensor) -> torch.Tensor:
        """float32 (batch, 2 channels, 512 frames, 1024 bins) -> masks (stems, batch, 2, 512, 1024) in [0, 1], summing to 1."""
        logits = torch.stack([network(magnitude) for network in self.networks])
        share = logits.softmax(dim=0) if self.architecture.softmax else logits.sigmoid()
        power = (share * magnitude).square()
        return (power + MASK_EPSILON / len(power)) / (power.sum(dim=0) + MASK_EPSILON)


class _UNet(nn.Module):
    """One stem's network (Jansson et al., ISMIR 2017), in TensorFlow's way of padding."""

    def __init__(self, weights: Weights, number: int, with_elu: bool) -> None:
        super().__init__()
        self._inner: Activation = elu if with_elu else _leaky
        self._outer: Activation = elu if with_elu else relu
        depth = len(WIDTHS)
        convolutions = [_layer("conv2d", number * (depth + 1) + i) for i in range(depth + 1)]
        transposed = [_layer("conv2d_transpose", number * depth + i) for i in range(depth)]
        norms = [_layer("batch_normalization", number * 2 * depth + i) for i in range(2 * depth)]
        self._down = _parameters(weights, convolutions, ("kernel", "bias"))
        self._up = _parameters(weights, transposed, ("kernel", "bias"))
        self._norms = _parameters(weights, norms, ("moving_mean", "moving_variance", "gamma", "beta"))

    def forward(self, magnitude: torch.Tensor) -> torch.Tensor:
        """(batch, 2, 512, 1024) -> logits of the same shape."""
        *downward, last = self._down
        depth = len(downward)
        raw, x = [], magnitude
        for convolution, norm in zip(downward, self._norms, strict=False):
            raw.append(conv2d(pad(x, (1, 2, 1, 2)), *convolution, stride=2))
            x = self._inner(_normalise(raw[-1], norm))
        x = raw[-1]  # the deepest goes on as it is, and its norm is not used
        for step, transposed in enumerate(self._up):
            if step:
                x = torch.cat([raw[depth - 1 - step], x], dim=1)
            x = conv_transpose2d(x, *transposed, stride=2)[:, :, 1:-2, 1:-2]
            x = _normalise(self._outer(x), self._norms[depth + step])
        return conv2d(pad(x, (3, 3, 3, 3)), *last, dilation=2)


def _parameters(weights: Weights, layers: Sequence[str], kinds: Sequence[str]) -> nn.ModuleList:
    """One ParameterList a layer.

    A kernel's axes are (height, width, in, out), and (height, width, out, in) in a transposed convolution; PyTorch wants
    (out, in, height, width), and (in, out, height, width).
    """

    def torch_axes(values: np.ndarray) -> nn.Parameter:
        tensor = torch.tensor(values.transpose(3, 2, 0, 1) if values.ndim == 4 else values, dtype=torch.float32)
        return nn.Parameter(tensor, requires_grad=False)

    return nn.ModuleList([nn.ParameterList([torch_axes(weights[f"{layer}/{kind}"]) for kind in kinds]) for layer in layers])


def _leaky(x: torch.Tensor) -> torch.Tensor:
    return leaky_relu(x, 0.2)


def _normalise(x: torch.Tensor, norm: Sequence[torch.Tensor]) -> torch.Tensor:
    mean, variance, gamma, beta = norm
    scale = gamma * (variance + NORM_EPSILON).rsqrt()
    return torch.addcmul((beta - mean * scale)[:, None, None], x, scale[:, None, None])


def _layer(kind: str, number: int) -> str:
    """TensorFlow's name of the n-th layer of a kind."""
    return f"{kind}_{number}" if number else kind


def expected_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """The tensors of a checkpoint and their shapes."""
    ins, ups = (2, *WIDTHS), (*WIDTHS[::-1], 1)
    shapes: dict[str, tuple[int, ...]] = {}
    depth = len(WIDTHS)
    for number in range(len(architecture.stems)):
        for i in range(depth):
            down, up = _layer("conv2d", number * (depth + 1) + i), _layer("conv2d_transpose", number * depth + i)
            into = ups[i] * (2 if i else 1)  # beside what came up stands what went down
            shapes |= {f"{down}/kernel": (5, 5, ins[i], ins[i + 1]), f"{down}/bias": (ins[i + 1],)}
            shapes |= {f"{up}/kernel": (5, 5, ups[i + 1], into), f"{up}/bias": (ups[i + 1],)}
        last = _layer("conv2d", number * (depth + 1) + depth)
        shapes |= {f"{last}/kernel": (4, 4, 1, 2), f"{last}/bias": (2,)}
        for i, width in enumerate((*WIDTHS, *ups[1:])):
            norm = _layer("batch_normalization", number * 2 * depth + i)
            shapes |= {f"{norm}/{kind}": (width,) for kind in ("moving_mean", "moving_variance", "gamma", "beta")}
    return shapes


def check_weights(architecture: Architecture, weights: Weights, where: Path | str) -> None:
    """Raise ModelError where the weights are not those of this architecture."""
    shapes = expected_shapes(architecture)
    count = len(architecture.stems)
    missing = [name for name in shapes if name not in weights]
    if missing:
        raise ModelError(
            f"{where}: lacks {len(missing)} of {len(shapes)} tensors of Spleeter's {count}-stem model ({', '.join(missing[:3])}); "
            "is it the model of another number of stems?"
        )
    unfit = [name for name, shape in shapes.items() if weights[name].shape != shape]
    if unfit:
        name = unfit[0]
        raise ModelError(f"{where}: {name} has the shape {weights[name].shape} instead of {shapes[name]}; no Spleeter model")
    if _layer("conv2d", count * (len(WIDTHS) + 1)) + "/kernel" in weights:
        raise ModelError(f"{where}: is a Spleeter model of more than {count} stems; choose its number or another folder")
    infinite = [name for name in shapes if not np.isfinite(weights[name]).all()]
    if infinite:
        raise ModelError(f"{where}: {infinite[0]} holds NaN or infinite values; get the checkpoint again")
