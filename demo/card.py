"""The cards of the small models: what they are, how they were made, and what they cannot do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def mini_card(facts: dict[str, Any]) -> str:
    """The README of models/riffusion-mini."""
    autoencoder, diffusion = facts["autoencoder"], facts["diffusion"]
    start = ", autoencoder and UNet from the weights of the model before" if facts["init"] else ""
    return f"""---
license: mit
library_name: diffusers
pipeline_tag: text-to-image
tags: [riffusion, spectrogram, music, stable-diffusion]
---
# riffusion-mini

A small latent-diffusion model in Riffusion's folder format, so that every tool of riff-cnet runs at once, without a network
and without a GPU. It generates 512x512 mel spectrograms (5.11 s) of synthetic songs from prompts such as
"Generate an uplifting male vocal rock melody". `StableDiffusionPipeline.from_pretrained` loads it.

![one sample a style](examples.png)

## What it was trained on
{facts["clips"]:,} clips of {facts["clips"] // 4:,} songs that the project makes itself (catalogue 1 of
`demo/make_songs.py`), of each the mix twice, its vocals alone and its backing alone. What they are made of
is said in [docs/demo_songs.md](../../docs/demo_songs.md). No recorded music.

## How
`python demo/train_riffusion_mini.py` on two CPU cores{start}.

- Autoencoder: factor 16, {autoencoder["latent_channels"]} latent channels; {autoencoder["steps"]:,} steps of
  {autoencoder["batch_size"]} crops of 512x{autoencoder["crop_frames"]}, peak learning rate {autoencoder["learning_rate"]}.
- Text encoder and UNet: 32x32 latents, widths {diffusion["block_out_channels"]}; {diffusion["steps"]:,} steps of
  {diffusion["batch_size"]}, peak learning rate {diffusion["learning_rate"]}, caption dropped {diffusion["caption_dropout"]:.0%}.

There and back through the autoencoder on 128 clips that it never saw: **{facts["psnr_unseen_db"]:.1f} dB** PSNR.

{_curve_table(facts["curves"])}

## What it cannot do
It knows synthetic songs and the words of their prompts. Vocals alone are asked
for in the words of edits ("add a sad female vocal ballad melody"), silence by words that ask for no change; it knows no others. It
has never heard a recording, sings no words, and its images are softer than a real spectrogram. It is a stand-in to try and
to test the tools with, not an instrument: for music, give the same commands the real Riffusion.
"""


def _curve_table(curves: dict[str, Sequence[Sequence[float]]]) -> str:
    """Every curve's loss at ten places."""
    rows = ["| loss after this share of the steps | " + " | ".join(curves) + " |", "|---|" + "---|" * len(curves)]
    for tenth in range(1, 11):
        values = [curve[max(0, len(curve) * tenth // 10 - 1)][1] if curve else float("nan") for curve in curves.values()]
        rows.append(f"| {tenth * 10} % | " + " | ".join(f"{value:.4f}" for value in values) + " |")
    return "\n".join(rows)
