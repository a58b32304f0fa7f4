"""Hybrid Transformer Demucs (Rouard, Massa and Défossez, ICASSP 2023), through the demucs package."""

from __future__ import annotations

import numpy as np
import torch

from riff.errors import ModelError, OptionError
from riff.separation.stems import Stems
from riff.separation.stereo import separate_in_stereo

MODELS = {"demucs": "htdemucs", "demucs_ft": "htdemucs_ft"}  # the second is four models, each tuned to a stem: four times the time
OVERLAP = 0.25  # of the model's segments, crossfaded


class DemucsSeparator:
    """htdemucs or htdemucs_ft: vocals, drums, bass and other.

    The weights (80 MB, 4 times that for htdemucs_ft) come from the hub, as safetensors, on first use. The model sees a
    segment of 7.8 s at a time.

    Raises:
        OptionError: the package is not installed.
        ModelError: the weights cannot be had.
    """

    def __init__(self, name: str = "demucs", device: str = "cpu") -> None:
        try:
            from demucs.hf import get_hf_model
        except ImportError as error:
            raise OptionError(
                f"--separator {name}: the demucs package is not installed; pip install demucs==4.1.0, or choose another"
            ) from error
        self.name, self._device = name, device
        try:
            # Not demucs.pretrained.get_model: where the hub fails it falls back to pickled weights.
            self._model = get_hf_model(MODELS[name]).eval()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise ModelError(
                f"--separator {name}: the weights of {MODELS[name]} are not here, and the hub did not give them ({reason}); "
                "--separator repet needs none"
            ) from error

    def separate(self, waveform: np.ndarray, sample_rate: int) -> Stems:
        """Split float32 (channels, samples); see `riff.separation.separator.Separator`."""
        parts = separate_in_stereo(self._separate_stereo, waveform, sample_rate, self._model.samplerate)
        return Stems(dict(zip(self._model.sources, parts, strict=True)))

    @torch.no_grad()
    def _separate_stereo(self, song: np.ndarray) -> np.ndarray:
        """float32 (2, samples) at the model's rate -> (stems, 2, samples)."""
        from demucs.apply import apply_model

        mono = song.mean(axis=0)
        mean, deviation = float(mono.mean()), float(mono.std()) + 1e-8  # it was trained on songs of mean 0 and deviation 1
        mix = torch.from_numpy((song - mean) / deviation)[None]
        # Without random shifts of the song, which make the result another each time.
        parts = apply_model(self._model, mix, shifts=0, overlap=OVERLAP, device=self._device)[0]
        return (parts * deviation + mean).numpy()
