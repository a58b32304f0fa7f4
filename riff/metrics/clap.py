"""Does a sound fit its description, and embeddings of sounds for `frechet_distance`: CLAP, optional, for its weights are 780 MB.

Contrastive language-audio pretraining (Wu et al., ICASSP 2023) puts sounds and texts into one space.
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
from riff.models.base import explain, looks_like_path

# Trained on music. The general one, laion/clap-htsat-unfused, misjudges it: a music model's samples that score 0.31 by a
# checkpoint that heard music score 0.13 by a general one. Figures of two checkpoints do not compare.
DEFAULT_CLAP = "laion/larger_clap_music"
REVISIONS = {DEFAULT_CLAP: "refs/pr/1"}  # the hub's own conversion to safetensors, which the main revision lacks
BATCH = 8


@dataclass(frozen=True)
class Clap:
    """A loaded model; see `load_clap`.

    Attributes:
        name: the hub id or folder it came from, to be written beside every figure.
    """

    name: str
    model: Any
    processor: Any

    def embed_sounds(self, waveforms: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """One embedding a sound.

        What is longer than the model hears at once, 10 s, is cut into pieces whose embeddings are averaged by length: the model's
        own way, a piece at random, would not give the same figure twice. What is shorter is repeated, as in its training.

        Args:
            waveforms: float32, each of shape (samples,) or (channels, samples), of any length.

        Returns:
            float32, shape (sounds, dimensions), of unit length.

        Raises:
            DataError: a sound without samples, or with samples that are not finite.
        """
        extractor = self.processor.feature_extractor
        pieces: list[np.ndarray] = []
        owners: list[int] = []
        for owner, waveform in enumerate(waveforms):
            mono = to_channels(np.atleast_2d(waveform).astype(np.float32), 1)
            if mono.size == 0 or not np.isfinite(mono).all():
                raise DataError(f"CLAP: sound {owner + 1} holds no samples, or some that are not finite; leave it out")
            heard = resample(mono, sample_rate, extractor.sampling_rate)[0]
            pieces += [heard[start : start + extractor.nb_max_samples] for start in range(0, len(heard), extractor.nb_max_samples)]
            owners += [owner] * (len(pieces) - len(owners))
        sums = np.zeros((len(waveforms), self.model.config.projection_dim), np.float32)
        for first in range(0, len(pieces), BATCH):
            batch = pieces[first : first + BATCH]
            for owner, piece, embedding in zip(owners[first:], batch, self._embed_pieces(batch), strict=False):
                sums[owner] += len(piece) * embedding
        return _unit(sums)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """One embedding a text: float32, shape (texts, dimensions), of unit length."""
        embedded = [np.zeros((0, self.model.config.projection_dim), np.float32)]
        for first in range(0, len(texts), BATCH):
            tokens = self.processor.tokenizer(
                list(texts[first : first + BATCH]), padding=True, truncation=True, return_tensors="pt"
            )
            with torch.inference_mode():
                found = self.model.get_text_features(**tokens.to(self.model.device))
            embedded.append(_pooled(found))
        return _unit(np.concatenate(embedded))

    def _embed_pieces(self, pieces: Sequence[np.ndarray]) -> np.ndarray:
        extractor = self.processor.feature_extractor
        features = extractor(list(pieces), sampling_rate=extractor.sampling_rate, return_tensors="pt")
        # No piece is longer than the model hears; a fusing extractor would call one of them so, at random.
        features["is_longer"] = torch.zeros(len(pieces), 1, dtype=torch.bool)
        with torch.inference_mode():
            found = self.model.get_audio_features(**features.to(self.model.device, self.model.dtype))
        return _pooled(found)


def load_clap(model: str = DEFAULT_CLAP, device: str = "cpu") -> Clap:
    """Load a CLAP model and its processor, from safetensors alone.

    Args:
        model: hub id, or a folder that `save_pretrained` of `ClapModel` and `ClapProcessor` made.
        device: torch device.

    Raises:
        ModelError: nothing there, not such a model, or a hub that cannot be reached.
    """
    if looks_like_path(model) and not Path(model).is_dir():
        raise ModelError(f"{model}: no such folder; give a folder with a CLAP model, or a hub id such as {DEFAULT_CLAP}")
    revision = REVISIONS.get(model, "main")
    try:
        network, found = ClapModel.from_pretrained(model, revision=revision, use_safetensors=True, output_loading_info=True)
        processor = ClapProcessor.from_pretrained(model, revision=revision)
    except Exception as error:  # the libraries raise whatever comes up inside them
        way_out = f"where there is a network: hf download {model} --revision {revision}"
        raise explain(error, model, way_out) from error
    if found["missing_keys"]:
        raise ModelError(f"{model}: these are not the weights of a CLAP model; give a folder or hub id that holds one")
    return Clap(model, network.eval().to(device), processor)


def optional_clap(model: str, device: str, say: Callable[[str], object]) -> Clap | None:
    """`load_clap`, or None after one line to `say` that tells what is left out, why, and how to have it."""
    try:
        return load_clap(model, device)
    except ModelError as error:
        say(f"CLAP scores are left out: {error}")
        return None


def clap_scores(clap: Clap, waveforms: Sequence[np.ndarray], texts: Sequence[str], sample_rate: int) -> np.ndarray:
    """How well each sound fits its own text: the cosine of their embeddings.

    Args:
        waveforms: float32, each of shape (samples,) or (channels, samples). texts: as many.

    Returns:
        float32, shape (sounds,), [-1, 1], higher is better; independent of the sounds' order. True descriptions of music score
        around 0.3 to 0.5: read a figure beside that of the true mix and that of another song's text.

    Raises:
        DataError: not one text a sound, or what `Clap.embed_sounds` raises.
    """
    if len(waveforms) != len(texts):
        raise DataError(f"{len(waveforms)} sounds and {len(texts)} texts cannot be compared; give one text a sound")
    return (clap.embed_sounds(waveforms, sample_rate) * clap.embed_texts(texts)).sum(axis=1).clip(-1, 1)


def _pooled(found: Any) -> np.ndarray:
    """float32, shape (batch, dimensions); transformers 4 returns the tensor itself, 5 an object that holds it."""
    return getattr(found, "pooler_output", found).float().cpu().numpy()


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
