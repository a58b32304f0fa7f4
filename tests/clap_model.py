"""A CLAP model of the real classes, small enough for a test."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapProcessor,
    ClapTextConfig,
    RobertaTokenizer,
)


def save_tiny_clap(path: Path) -> Path:
    """A CLAP model of 13,000 random weights with a tokenizer of single letters, saved as the real ones are."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {token: index for index, token in enumerate([*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    text = ClapTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=80,
    )
    audio = ClapAudioConfig(
        patch_embeds_hidden_size=8,
        depths=[1, 1],
        num_attention_heads=[1, 2],
        hidden_size=16,
        num_hidden_layers=2,
        spec_size=64,
        num_mel_bins=16,
        window_size=2,
    )
    torch.manual_seed(0)
    model = ClapModel(ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=8))
    with torch.no_grad():  # the default initialisation tells no two sounds apart
        for weights in model.parameters():
            weights.add_(0.2 * torch.randn_like(weights))
    extractor = ClapFeatureExtractor(feature_size=16, hop_length=2400, truncation="rand_trunc")
    model.save_pretrained(path)
    ClapProcessor(extractor, RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=64)).save_pretrained(path)
    return path
