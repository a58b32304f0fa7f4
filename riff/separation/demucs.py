"""Hybrid Transformer Demucs (Rouard, Massa and Défossez, ICASSP 2023), through the demucs package."""

from __future__ import annotations

import numpy as np
import torch

from riff.downloads import one_line
from riff.errors import ModelError, OptionError
from riff.separation.stereo import StereoSeparator

MODELS = {"demucs": "htdemucs", "demucs_ft": "htdemucs_ft"}  # the second is four models, each fine-tuned on a stem
OVERLAP = 0.25  # of the model's segments, crossfaded


class DemucsSeparator(StereoSeparator):
    """htdemucs or htdemucs_ft: vocals, drums, bass and other.

    The weights (80 MB, 4 times that for htdemucs_ft) come from the hub, as safetensors, on first use. The model processes
    segments of 7.8 s.

    Raises:
        OptionError: the package is not installed.
        ModelError: the weights cannot be loaded.
    """

    def __init__(self, name: str = "demucs", device: str = "cpu") -> None:
        try:
            from demucs.hf import get_hf_model
        except ImportError as error:
            way_out = "pip install demucs==4.1.0, or choose another separator"
            raise OptionError(f"separator {name}: the demucs package is not installed; {way_out}") from error
        self.name, self._device = name, device
        try:
            # Not demucs.pretrained.get_model: where the hub fails it falls back to pickled weights.
            self._model = get_hf_model(MODELS[name]).eval()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            missing = f"the weights of {MODELS[name]} are not here, and the hub did not give them ({one_line(error)})"
            raise ModelError(f"separator {name}: {missing}; the separator repet needs none") from error
        self.model_rate = self._model.samplerate

    @torch.no_grad()
    def separate_stereo(self, song: np.ndarray) -> dict[str, np.ndarray]:
        from demucs.apply import apply_model

        mono = song.mean(axis=0)
        mean, deviation = float(mono.mean()), float(mono.std()) + 1e-8  # it was trained on songs of mean 0 and deviation 1
        mix = torch.from_numpy((song - mean) / deviation)[None]
        # Without random shifts of the song, with which each result would differ.
        parts = apply_model(self._model, mix, shifts=0, overlap=OVERLAP, device=self._device)[0]
        return dict(zip(self._model.sources, (parts * deviation + mean).numpy(), strict=True))
