"""Deezer's Spleeter in PyTorch (Hennequin et al., JOSS 2020), with the weights of its TensorFlow checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, elu, leaky_relu, pad, relu

from riff.errors import ModelError
from riff.separation.spleeter_weights import find_weights
from riff.separation.stereo import StereoSeparator
from riff.separation.tensorflow_checkpoint import NORM_TENSORS, layer_name, read_checkpoint

SAMPLE_RATE = 44_100
FRAME = 4096  # samples
HOP = 1024
FRAMES = 512  # input of a network, 11.9 s; segments are separated independently
BINS = 1024  # below 11,025 Hz; above, all stems are silent
WINDOW_GAIN = 2 / 3  # of a squared Hann window, four of which overlap
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
        elu: ELU in encoder and decoder, where the others have LeakyReLU and ReLU.
        softmax: the networks' masks are normalised to sum to one before they are applied to the mix.
    """

    stems: tuple[str, ...]
    elu: bool = False
    softmax: bool = False


ARCHITECTURES = {
    2: Architecture(("vocals", "accompaniment")),
    4: Architecture(("vocals", "drums", "bass", "other"), elu=True),
    5: Architecture(("vocals", "piano", "drums", "bass", "other"), elu=True, softmax=True),
}


class SpleeterSeparator(StereoSeparator):
    """Spleeter's 2, 4 or 5 stems, one segment of 11.9 s at a time.

    As in the original, all stems are silent above 11 kHz, and they do not quite sum to the song.

    Args:
        model_dir: folder of the checkpoint (see `find_weights`).

    Raises:
        ModelError: no weights that can be found or downloaded, or those of another number of stems.
    """

    name, model_rate = "spleeter", SAMPLE_RATE

    def __init__(self, num_stems: int = 2, model_dir: Path | None = None, device: str = "cpu") -> None:
        folder = find_weights(num_stems, model_dir)
        self.model = SpleeterModel(ARCHITECTURES[num_stems], read_checkpoint(folder / "model"), folder).eval().to(device)
        self._device = device

    def separate_stereo(self, song: np.ndarray) -> dict[str, np.ndarray]:
        samples, names = song.shape[1], self.model.architecture.stems
        stems = np.empty((len(names), 2, samples), np.float32)
        position = -FRAME  # the first frame lies before the song
        for block in self._blocks(song):
            first, last = max(position, 0), min(position + block.shape[2], samples)
            if first < last:
                stems[:, :, first:last] = block[:, :, first - position : last - position]
            position += block.shape[2]
        return dict(zip(names, stems, strict=True))

    def _blocks(self, song: np.ndarray) -> Iterator[np.ndarray]:
        """Yield consecutive (stems, 2, samples) blocks of the song with one frame of zeros before it."""
        window = torch.hann_window(FRAME, device=self._device)
        frames = -(-(song.shape[1] + FRAME) // HOP)
        overlap = torch.zeros(len(self.model.architecture.stems), 2, FRAME - HOP, device=self._device)
        for first in range(0, frames, FRAMES):
            count = min(FRAMES, frames - first)
            segment = _zero_padded(song, first * HOP - FRAME, (count - 1) * HOP + FRAME)
            stems = self._mask(torch.from_numpy(segment).to(self._device), window, count)
            stems[..., : FRAME - HOP] += overlap
            overlap = stems[..., count * HOP :]
            yield stems[..., : count * HOP].cpu().numpy()
        yield overlap.cpu().numpy()

    @torch.no_grad()
    def _mask(self, segment: torch.Tensor, window: torch.Tensor, count: int) -> torch.Tensor:
        """(2, samples) of `count` frames -> (stems, 2, samples), whose ends lack the overlap with their neighbours."""
        spectrum = torch.fft.rfft(segment.unfold(1, FRAME, HOP) * window)[..., :BINS]  # (2, count, BINS)
        magnitude = torch.zeros(1, 2, FRAMES, BINS, device=self._device)
        magnitude[0, :, :count] = spectrum.abs()
        masks = self.model(magnitude)[:, 0, :, :count]  # (stems, 2, count, BINS)
        hops = FRAME // HOP
        stems = torch.zeros(len(masks), 2, count + hops - 1, HOP, device=self._device)
        for stem, mask in zip(stems, masks, strict=True):  # one by one: the frames of five stems at once are 80 MB
            frames = torch.fft.irfft(mask * spectrum, n=FRAME) * (window * WINDOW_GAIN)
            pieces = frames.unflatten(2, (hops, HOP))  # (2, count, 4, HOP)
            for hop in range(hops):
                stem[:, hop : hop + count] += pieces[:, :, hop]
        return stems.flatten(2)


def _zero_padded(song: np.ndarray, start: int, length: int) -> np.ndarray:
    """`song[:, start : start + length]` with zeros for what lies outside."""
    inside = song[:, max(0, start) : max(0, start + length)]
    before = max(0, -start)
    return np.pad(inside, ((0, 0), (before, length - before - inside.shape[1])))


class SpleeterModel(nn.Module):
    """A U-Net for each stem: magnitudes of a mix -> masks.

    Args:
        weights: TensorFlow's tensors by name.
        source: where the weights came from, for messages.

    Raises:
        ModelError: tensors are missing, of another shape, or of a model with more stems; names them.
    """

    def __init__(self, architecture: Architecture, weights: Weights, source: Path | str) -> None:
        super().__init__()
        _check_weights(architecture, weights, source)
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
    """One stem's network (Jansson et al., ISMIR 2017), with TensorFlow's padding."""

    def __init__(self, weights: Weights, number: int, with_elu: bool) -> None:
        super().__init__()
        self._inner: Activation = elu if with_elu else partial(leaky_relu, negative_slope=0.2)
        self._outer: Activation = elu if with_elu else relu
        depth = len(WIDTHS)
        self._down = _parameters(weights, "conv2d", number, depth + 1)
        self._up = _parameters(weights, "conv2d_transpose", number, depth)
        self._norms = _parameters(weights, "batch_normalization", number, 2 * depth, NORM_TENSORS)

    def forward(self, magnitude: torch.Tensor) -> torch.Tensor:
        """(batch, 2, 512, 1024) -> logits of the same shape."""
        *downward, last = self._down
        depth = len(downward)
        raw, x = [], magnitude
        for convolution, norm in zip(downward, self._norms, strict=False):
            raw.append(conv2d(pad(x, (1, 2, 1, 2)), *convolution, stride=2))
            x = self._inner(_normalise(raw[-1], norm))
        x = raw[-1]  # the deepest is not normalised
        for step, transposed in enumerate(self._up):
            if step:
                x = torch.cat([raw[depth - 1 - step], x], dim=1)
            x = conv_transpose2d(x, *transposed, stride=2)[:, :, 1:-2, 1:-2]
            x = _normalise(self._outer(x), self._norms[depth + step])
        return conv2d(pad(x, (3, 3, 3, 3)), *last, dilation=2)


def _parameters(
    weights: Weights, layer: str, network: int, count: int, tensors: Sequence[str] = ("kernel", "bias")
) -> nn.ModuleList:
    """One ParameterList for each of a network's `count` layers of a type, which the checkpoint numbers across the networks.

    A kernel's axes are (height, width, in, out), and (height, width, out, in) in a transposed convolution; PyTorch wants
    (out, in, height, width), and (in, out, height, width).
    """
    names = [layer_name(layer, network * count + i) for i in range(count)]

    def torch_axes(values: np.ndarray) -> nn.Parameter:
        tensor = torch.tensor(values.transpose(3, 2, 0, 1) if values.ndim == 4 else values, dtype=torch.float32)
        return nn.Parameter(tensor, requires_grad=False)

    return nn.ModuleList([nn.ParameterList([torch_axes(weights[f"{name}/{tensor}"]) for tensor in tensors]) for name in names])


def _normalise(x: torch.Tensor, norm: Sequence[torch.Tensor]) -> torch.Tensor:
    mean, variance, gamma, beta = norm
    scale = gamma * (variance + NORM_EPSILON).rsqrt()
    return torch.addcmul((beta - mean * scale)[:, None, None], x, scale[:, None, None])


def expected_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Shapes of a checkpoint's tensors by name."""
    ins, ups = (2, *WIDTHS), (*WIDTHS[::-1], 1)
    shapes: dict[str, tuple[int, ...]] = {}
    depth = len(WIDTHS)
    for number in range(len(architecture.stems)):
        for i in range(depth):
            down, up = layer_name("conv2d", number * (depth + 1) + i), layer_name("conv2d_transpose", number * depth + i)
            width_in = ups[i] * (2 if i else 1)  # with the skip connection
            shapes |= {f"{down}/kernel": (5, 5, ins[i], ins[i + 1]), f"{down}/bias": (ins[i + 1],)}
            shapes |= {f"{up}/kernel": (5, 5, ups[i + 1], width_in), f"{up}/bias": (ups[i + 1],)}
        last = layer_name("conv2d", number * (depth + 1) + depth)
        shapes |= {f"{last}/kernel": (4, 4, 1, 2), f"{last}/bias": (2,)}
        for i, width in enumerate((*WIDTHS, *ups[1:])):
            norm = layer_name("batch_normalization", number * 2 * depth + i)
            shapes |= {f"{norm}/{tensor}": (width,) for tensor in NORM_TENSORS}
    return shapes


def _check_weights(architecture: Architecture, weights: Weights, source: Path | str) -> None:
    """Raise ModelError where the weights are not those of this architecture."""
    shapes = expected_shapes(architecture)
    count = len(architecture.stems)
    missing = [name for name in shapes if name not in weights]
    if missing:
        raise ModelError(
            f"{source}: lacks {len(missing)} of {len(shapes)} tensors of Spleeter's {count}-stem model ({', '.join(missing[:3])}); "
            "is it the model of another number of stems?"
        )
    unfit = [name for name, shape in shapes.items() if weights[name].shape != shape]
    if unfit:
        name = unfit[0]
        raise ModelError(f"{source}: {name} has the shape {weights[name].shape} instead of {shapes[name]}; no Spleeter model")
    if layer_name("conv2d", count * (len(WIDTHS) + 1)) + "/kernel" in weights:
        raise ModelError(f"{source}: is a Spleeter model of more than {count} stems; choose its number or another folder")
    infinite = [name for name in shapes if not np.isfinite(weights[name]).all()]
    if infinite:
        raise ModelError(f"{source}: {infinite[0]} holds NaN or infinite values; get the checkpoint again")
