"""CLAP: similarity of audio and text, and audio embeddings for `frechet_distance`. Optional: its weights are 780 MB.

Contrastive language-audio pretraining (Wu et al., ICASSP 2023) embeds audio and text in one space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import ClapModel, ClapProcessor

from riff.audio.io import resample, to_channels
from riff.errors import DataError, ModelError
from riff.models.sources import as_model_error, looks_like_path

# Trained on music: samples of a music model that score 0.31 by it score 0.13 by the general laion/clap-htsat-unfused. Scores of
# two checkpoints are not comparable.
DEFAULT_CLAP = "laion/larger_clap_music"
REVISIONS = {DEFAULT_CLAP: "refs/pr/1"}  # the hub's own conversion to safetensors, which the main revision lacks
BATCH = 8


@dataclass(frozen=True)
class Clap:
    """A loaded model; see `load_clap`.

    Attributes:
        name: its hub id or folder, to be reported with every score.
    """

    name: str
    model: Any
    processor: Any

    def embed_sounds(self, waveforms: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """One embedding for each waveform.

        Waveforms longer than the model's input, 10 s, are cut into pieces whose embeddings are averaged, weighted by length (the
        model's own way, a random piece, is not deterministic). Shorter ones are repeated, as in its training.

        Args:
            waveforms: float32, each of shape (samples,) or (channels, samples), of any length.

        Returns:
            float32, shape (waveforms, dimensions), of unit length.

        Raises:
            DataError: a waveform without samples, or with samples that are not finite.
        """
        extractor = self.processor.feature_extractor
        pieces: list[np.ndarray] = []
        owners: list[int] = []
        for owner, waveform in enumerate(waveforms):
            mono = to_channels(np.atleast_2d(waveform).astype(np.float32), 1)
            if mono.size == 0 or not np.isfinite(mono).all():
                raise DataError(f"CLAP: sound {owner + 1} holds no samples, or some that are not finite; leave it out")
            resampled = resample(mono, sample_rate, extractor.sampling_rate)[0]
            pieces += [
                resampled[start : start + extractor.nb_max_samples] for start in range(0, len(resampled), extractor.nb_max_samples)
            ]
            owners += [owner] * (len(pieces) - len(owners))
        sums = np.zeros((len(waveforms), self.model.config.projection_dim), np.float32)
        for first in range(0, len(pieces), BATCH):
            batch = pieces[first : first + BATCH]
            for owner, piece, embedding in zip(owners[first:], batch, self._embed_pieces(batch), strict=False):
                sums[owner] += len(piece) * embedding
        return _unit(sums)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """One embedding for each text: float32, shape (texts, dimensions), of unit length."""
        embedded = [np.zeros((0, self.model.config.projection_dim), np.float32)]
        for first in range(0, len(texts), BATCH):
            tokens = self.processor.tokenizer(
                list(texts[first : first + BATCH]), padding=True, truncation=True, return_tensors="pt"
            )
            with torch.inference_mode():
                features = self.model.get_text_features(**tokens.to(self.model.device))
            embedded.append(_pooled(features))
        return _unit(np.concatenate(embedded))

    def _embed_pieces(self, pieces: Sequence[np.ndarray]) -> np.ndarray:
        extractor = self.processor.feature_extractor
        features = extractor(list(pieces), sampling_rate=extractor.sampling_rate, return_tensors="pt")
        # No piece is longer than the model's input; a fusing extractor would mark one as such, at random.
        features["is_longer"] = torch.zeros(len(pieces), 1, dtype=torch.bool)
        with torch.inference_mode():
            embeddings = self.model.get_audio_features(**features.to(self.model.device, self.model.dtype))
        return _pooled(embeddings)


def load_clap(model: str = DEFAULT_CLAP, device: str = "cpu") -> Clap:
    """Load a CLAP model and its processor, from safetensors alone.

    Args:
        model: hub id, or a folder written by `save_pretrained` of `ClapModel` and `ClapProcessor`.
        device: torch device.

    Raises:
        ModelError: no such model, a model of another type, or an unreachable hub.
    """
    if looks_like_path(model) and not Path(model).is_dir():
        raise ModelError(f"{model}: no such folder; give a folder with a CLAP model, or a hub id such as {DEFAULT_CLAP}")
    revision = REVISIONS.get(model, "main")
    try:
        network, loading = ClapModel.from_pretrained(model, revision=revision, use_safetensors=True, output_loading_info=True)
        processor = ClapProcessor.from_pretrained(model, revision=revision)
    except Exception as error:  # the libraries raise errors of any type
        way_out = f"where there is a network: hf download {model} --revision {revision}"
        raise as_model_error(error, model, way_out) from error
    if loading["missing_keys"]:
        raise ModelError(f"{model}: these are not the weights of a CLAP model; give a folder or hub id that holds one")
    return Clap(model, network.eval().to(device), processor)


def optional_clap(model: str, device: str, say: Callable[[str], object]) -> Clap | None:
    """`load_clap`, or None after a line to `say` with the reason and the remedy."""
    try:
        return load_clap(model, device)
    except ModelError as error:
        say(f"CLAP scores are left out: {error}")
        return None


def clap_scores(clap: Clap, waveforms: Sequence[np.ndarray], texts: Sequence[str], sample_rate: int) -> np.ndarray:
    """Cosine similarity of each waveform and its own text.

    Args:
        waveforms: float32, each of shape (samples,) or (channels, samples). texts: as many.

    Returns:
        float32, shape (waveforms,), [-1, 1], higher is better; independent of their order. True descriptions of music score
        around 0.3 to 0.5: compare with the scores of the true mix and of another song's text.

    Raises:
        DataError: not one text a waveform, or as `Clap.embed_sounds`.
    """
    if len(waveforms) != len(texts):
        raise DataError(f"{len(waveforms)} sounds and {len(texts)} texts cannot be compared; give one text a sound")
    return (clap.embed_sounds(waveforms, sample_rate) * clap.embed_texts(texts)).sum(axis=1).clip(-1, 1)


def _pooled(features: Any) -> np.ndarray:
    """float32, shape (batch, dimensions); transformers 4 returns the tensor itself, 5 an output object."""
    return getattr(features, "pooler_output", features).float().cpu().numpy()


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
