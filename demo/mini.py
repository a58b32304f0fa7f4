"""The stages of models/riffusion-mini, each kept when it is done: clips, autoencoder, latents, diffusion, folder."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from demo.autoencoder import AutoencoderRecipe, encode_images, rebuild_images, train_autoencoder
from demo.card import mini_card
from demo.clips import Clips, load_or_make_clips
from demo.diffusion import DiffusionRecipe, new_scheduler, train_diffusion
from demo.tokenizer import add_words, instruction_texts, train_tokenizer
from riff.cli.errors import named_output
from riff.files import atomic_folder, atomic_path, write_json, write_text
from riff.models.folders import check_output, model_folder, write_weights
from riff.pairs.instructions import NOTHING
from riff.seeds import new_generator, seed_after
from riff.spectrogram.params import CLIP_FRAMES, STANDARD

EXAMPLE_PROMPTS = (
    "Generate an uplifting male vocal rock melody",
    "Generate a sad female vocal ballad melody",
    "Generate a happy female vocal pop melody",
    "Generate a calm male vocal reggae melody",
    "Generate an intense female vocal electronic melody",
)


def make_mini(args: Namespace, training_catalogue: int, validation_catalogue: int, validation_clips: int) -> None:
    """Train what is not trained yet, and write the model's folder.

    Raises:
        OptionError: the folder holds a model and --overwrite was not given, or something else.
    """
    with named_output():
        replaces = check_output(args.output, args.overwrite)
    clips = load_or_make_clips(args.work, training_catalogue, args.num_clips, args.num_workers)
    unseen = load_or_make_clips(args.work, validation_catalogue, validation_clips, args.num_workers)
    autoencoder_recipe = replace(AutoencoderRecipe(), steps=args.autoencoder_steps)
    diffusion_recipe = replace(DiffusionRecipe(), steps=args.unet_steps)
    vae, autoencoder_curve = _autoencoder(args.work, clips, autoencoder_recipe, args.init, args.seed)
    latents = _latents(args.work / f"latents-{args.num_clips}-{args.autoencoder_steps}.safetensors", vae, clips)
    latents, prompts = _with_silence(vae, latents, clips.prompts)
    tokenizer = train_tokenizer(prompts)
    unet, text_encoder, diffusion_curve = _diffusion(args.work, latents, prompts, tokenizer, diffusion_recipe, args.init, args.seed)
    tokenizer = add_words(tokenizer, text_encoder, instruction_texts(), args.seed)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    facts = {
        "init": str(args.init) if args.init else None,
        "clips": len(clips.prompts),
        "psnr_unseen_db": psnr(rebuild_images(vae, unseen.images), unseen.images),
        "autoencoder": asdict(autoencoder_recipe),
        "diffusion": asdict(diffusion_recipe),
        "curves": {"autoencoder": autoencoder_curve, "diffusion": diffusion_curve},
    }
    with model_folder(args.output, {}, replaces) as folder:
        write_weights(pipeline, folder, torch.float16)
        pipeline.to(dtype=torch.float32)
        _save_examples(pipeline, folder / "examples.png", args.seed)
        write_json(folder / "training.json", facts)
        write_text(folder / "README.md", mini_card(facts))
    print(f"wrote {args.output}: {facts['psnr_unseen_db']:.1f} dB there and back on unseen songs")


def psnr(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of uint8 images."""
    error = np.mean((ours.astype(np.float64) - theirs.astype(np.float64)) ** 2)
    return float(10 * np.log10(255.0**2 / error))


def _autoencoder(work: Path, clips: Clips, recipe: AutoencoderRecipe, init: Path | None, seed: int) -> tuple[AutoencoderKL, list]:
    folder = work / f"autoencoder-{recipe.steps}"
    if not folder.exists():
        start = AutoencoderKL.from_pretrained(init, subfolder="vae", dtype=torch.float32) if init else None
        model, curve = train_autoencoder(clips.images, recipe, seed, start)
        with atomic_folder(folder) as temporary:
            model.save_pretrained(temporary)
            write_json(temporary / "curve.json", curve)
    return AutoencoderKL.from_pretrained(folder).eval(), json.loads((folder / "curve.json").read_text())


def _latents(file: Path, vae: AutoencoderKL, clips: Clips) -> torch.Tensor:
    """Scaled latents of every clip, float32."""
    if not file.exists():
        with atomic_path(file) as temporary:
            save_file({"latents": encode_images(vae, clips.images) * vae.config.scaling_factor}, temporary)
    return load_file(file)["latents"]


def _with_silence(vae: AutoencoderKL, latents: torch.Tensor, prompts: Sequence[str]) -> tuple[torch.Tensor, list[str]]:
    """The clips and, one in 32 of them, silence for the words that ask for no vocal."""
    blank = encode_images(vae, np.full((1, STANDARD.n_mels, CLIP_FRAMES), 255, np.uint8)) * vae.config.scaling_factor
    count = len(prompts) // 32
    return torch.cat([latents, blank.expand(count, -1, -1, -1)]), [*prompts, *(NOTHING[i % len(NOTHING)] for i in range(count))]


def _diffusion(
    work: Path,
    latents: torch.Tensor,
    prompts: Sequence[str],
    tokenizer: object,
    recipe: DiffusionRecipe,
    init: Path | None,
    seed: int,
) -> tuple[UNet2DConditionModel, CLIPTextModel, list]:
    folder = work / f"diffusion-{recipe.steps}"
    if not folder.exists():
        start = UNet2DConditionModel.from_pretrained(init, subfolder="unet", dtype=torch.float32) if init else None
        unet, text_encoder, curve = train_diffusion(latents, prompts, tokenizer, recipe, seed, start)  # type: ignore[arg-type]
        with atomic_folder(folder) as temporary:
            unet.save_pretrained(temporary / "unet")
            text_encoder.save_pretrained(temporary / "text_encoder")
            write_json(temporary / "curve.json", curve)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    return unet, text_encoder, json.loads((folder / "curve.json").read_text())


def _save_examples(pipeline: StableDiffusionPipeline, path: Path, seed: int) -> None:
    """One sample a style, side by side."""
    pipeline.set_progress_bar_config(disable=True)
    generators = [new_generator(seed_after(seed, i)) for i in range(len(EXAMPLE_PROMPTS))]
    images = pipeline(
        list(EXAMPLE_PROMPTS), num_inference_steps=30, guidance_scale=4.0, generator=generators, output_type="np"
    ).images
    row = np.concatenate([np.pad(image.mean(axis=2), ((0, 0), (0, 8)), constant_values=1.0) for image in images], axis=1)
    Image.fromarray((row * 255).round().astype(np.uint8)).save(path)
