"""musicnn (Pons and Serra, ISMIR 2019 late-breaking demo) in PyTorch: tags of a recording."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import librosa
import numpy as np
import torch
from torch import nn
from torch.nn.functional import batch_norm, conv1d, conv2d, linear, pad

from riff.audio.io import resample
from riff.errors import AudioError, ModelError
from riff.separation.tensorflow_checkpoint import NORM_TENSORS, layer_name

SAMPLE_RATE = 16_000
N_FFT = 512
HOP = 256
N_MELS = 96
PATCH = 187  # frames of the network's input, 3 s
NORM_EPSILON = 1e-3  # Keras' default
MIDDLE_KERNEL = 7  # frames
# Filters of the front end: (frames, bands) for timbre, frames for rhythm.
TIMBRE = ((7, 38), (7, 67))
RHYTHM = (128, 64, 32)

# MagnaTagATune's and the Million Song Dataset's fifty most frequent tags, in the order of the networks' outputs.
MTT_TAGS = (
    "guitar|classical|slow|techno|strings|drums|electronic|rock|fast|piano|ambient|beat|violin|vocal|synth|female|indian|opera|male|"
    "singing|vocals|no vocals|harpsichord|loud|quiet|flute|woman|male vocal|no vocal|pop|soft|sitar|solo|man|classic|choir|voice|"
    "new age|dance|male voice|female vocal|beats|harp|cello|no voice|weird|country|metal|female voice|choral"
)
MSD_TAGS = (
    "rock|pop|alternative|indie|electronic|female vocalists|dance|00s|alternative rock|jazz|beautiful|metal|chillout|"
    "male vocalists|classic rock|soul|indie rock|Mellow|electronica|80s|folk|90s|chill|instrumental|punk|oldies|blues|hard rock|"
    "ambient|acoustic|experimental|female vocalist|guitar|Hip-Hop|70s|party|country|easy listening|sexy|catchy|funk|electro|"
    "heavy metal|Progressive rock|60s|rnb|indie pop|sad|House|happy"
)


class Musicnn(nn.Module):
    """The network: log mel spectrogram patches to tags.

    Args:
        weights: TensorFlow's tensors by name; others, such as the optimizer's, are ignored.
        tags: of its outputs, separated by bars.
        source: where the weights came from, for messages.

    Raises:
        ModelError: a tensor is missing, of another shape, or not finite.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], tags: str, source: Path | str) -> None:
        super().__init__()
        shapes = expected_shapes(len(tags.split("|")))
        for name, shape in shapes.items():
            if name not in weights or weights[name].shape != shape or not np.isfinite(weights[name]).all():
                raise ModelError(f"{source}: no musicnn checkpoint ({name} is missing or invalid); download it again")
        self.tags = tags.split("|")
        for name in shapes:
            self.register_buffer(_buffer(name), _torch_axes(weights[name]))

    @torch.no_grad()
    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """float32 (patches, PATCH frames, N_MELS bands) of log mel -> tags, float32 (patches, tags), in [0, 1]."""
        image = self._norm(patches[:, None], 0)
        timbre = [self._front(pad(image, (0, 0, 3, 3)), number) for number in range(len(TIMBRE))]
        rhythm = [
            self._front(pad(image, (0, 0, (length - 1) // 2, length // 2)), number)  # TensorFlow's "same": one more at the end
            for number, length in enumerate(RHYTHM, start=len(TIMBRE))
        ]
        front = torch.cat(timbre + rhythm, dim=1)  # (patches, channels, frames)
        middle = [front, self._middle(front, 5)]
        for number in (6, 7):
            middle.append(self._middle(middle[-1], number) + middle[-1])
        features = torch.cat(middle, dim=1)
        pooled = torch.stack([features.amax(dim=2), features.mean(dim=2)], dim=2).flatten(1)  # max and mean, interleaved
        dense = linear(self._norm(pooled, 9), *self._layer("dense")).relu()
        return linear(self._norm(dense, 10), *self._layer("dense_1")).sigmoid()

    def _front(self, image: torch.Tensor, number: int) -> torch.Tensor:
        """(patches, 1, frames, bands) -> maximum over bands: (patches, channels, frames)."""
        return self._norm(conv2d(image, *self._layer(layer_name("conv2d", number))).relu(), number + 1).amax(dim=3)

    def _middle(self, x: torch.Tensor, number: int) -> torch.Tensor:
        """(patches, channels, frames) -> (patches, 64, frames)."""
        kernel, bias = self._layer(layer_name("conv2d", number))  # (out, 1, frames, channels)
        return self._norm(conv1d(x, kernel[:, 0].transpose(1, 2), bias, padding=MIDDLE_KERNEL // 2).relu(), number + 1)

    def _layer(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self.get_buffer(_buffer(f"{name}/kernel")), self.get_buffer(_buffer(f"{name}/bias"))

    def _norm(self, x: torch.Tensor, number: int) -> torch.Tensor:
        layer = layer_name("batch_normalization", number)
        mean, variance, gamma, beta = (self.get_buffer(_buffer(f"{layer}/{tensor}")) for tensor in NORM_TENSORS)
        return batch_norm(x, mean, variance, gamma, beta, eps=NORM_EPSILON)


def log_mel_patches(waveform: np.ndarray, sample_rate: int, hop: int = PATCH) -> np.ndarray:
    """The network's input: 3 s patches; the remainder at the end is dropped.

    As musicnn computes it: mel energies rounded to half precision, their logarithm in single precision.

    Args:
        waveform: float32, shape (channels, samples).
        hop: frames from one patch to the next; by default they do not overlap, as in the original.

    Returns:
        float32, shape (patches, PATCH, N_MELS), log10(10000 mel + 1).

    Raises:
        AudioError: shorter than one patch.
    """
    mono = resample(waveform.mean(axis=0, keepdims=True), sample_rate, SAMPLE_RATE)[0]
    # Reflect padding, librosa's default when the network was trained.
    mel = librosa.feature.melspectrogram(y=mono, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS, pad_mode="reflect").T
    if len(mel) < PATCH:
        raise AudioError(f"lasts {len(mono) / SAMPLE_RATE:.2f} s; tags need at least {PATCH * HOP / SAMPLE_RATE:.1f} s")
    log_mel = np.log10(10_000 * mel.astype(np.float16).astype(np.float32) + 1)
    return np.stack([log_mel[start : start + PATCH] for start in range(0, len(mel) - PATCH + 1, hop)])


def expected_shapes(num_tags: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a checkpoint's tensors by name, without the optimizer's."""
    kernels = [(*size, 1, 204) for size in TIMBRE] + [(length, 1, 1, 51) for length in RHYTHM]
    channels = sum(kernel[3] for kernel in kernels)
    kernels += [(MIDDLE_KERNEL, width, 1, 64) for width in (channels, 64, 64)]
    pooled = 2 * (channels + 3 * 64)
    layers: dict[str, tuple[int, ...]] = {layer_name("conv2d", number): kernel for number, kernel in enumerate(kernels)}
    layers |= {"dense": (pooled, 200), "dense_1": (200, num_tags)}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, kernel in layers.items():
        shapes |= {f"{name}/kernel": kernel, f"{name}/bias": kernel[-1:]}
    for number, width in enumerate((1, *(kernel[3] for kernel in kernels), pooled, 200)):
        shapes |= {f"{layer_name('batch_normalization', number)}/{tensor}": (width,) for tensor in NORM_TENSORS}
    return shapes


def _buffer(name: str) -> str:
    return name.replace("/", "__")


def _torch_axes(values: np.ndarray) -> torch.Tensor:
    """Kernels are (height, width, in, out) and (in, out); PyTorch wants (out, in, height, width) and (out, in)."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(values.ndim, (0,))
    return torch.tensor(values.transpose(axes), dtype=torch.float32)
