"""Distillation: the teacher is what a sampler predicts, the student's folder is sampled in its steps without a flag."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import last_error, run_script
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionInstructPix2PixPipeline
from PIL import Image
from safetensors.torch import load_file
from trainer_flags import edit_training_flags, training_flags

import cnet_riff_training
from riff.models.edit import attach_edit
from riff.models.encoders import encode_images, encode_texts
from riff.models.loading import load_base, load_control_pipeline
from riff.models.lora import FewStepScheduler
from riff.models.sources import LORA_FILE, SCHEDULER_FILE, adapted_model, read_origin
from riff.sampling.options import EditOptions, SamplingOptions
from riff.sampling.song import load_song_model
from riff.sampling.window_models import ControlWindows, EditWindows
from riff.training.control import ControlObjective
from riff.training.distillation import SUBSTEPS, Distillation, student_options
from riff.training.edit import EditObjective
from riff.training.options import TrainingOptions
from riff.training.run_dir import read_losses

DISTIL = ("--lora_rank", 4, "--distill_steps", 2)
QUICK = ("--val_freq", 0, "--validation_steps", 0, "--num_validation_images", 0)
PROMPT, SIZE = "add a sad song", 512
TEACHERS: dict[str, Any] = {"edit": EditOptions(20, 3.0, 6.0), "control": SamplingOptions(20, 3.0, 1.6)}


def new_objective(kind: str, tiny_base: Path, tiny_control: Path) -> tuple[Any, dict[str, torch.Tensor], Any]:
    """An objective with untrained adapters, an example, and a sampler's predictor of the same model without them."""
    grey = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    image = grey if kind == "edit" else (grey > 200).astype(np.uint8) * 255
    pipeline = attach_edit(load_base(str(tiny_base))) if kind == "edit" else load_control_pipeline(tiny_control)
    torch.manual_seed(1)
    if kind == "edit":  # as if trained
        torch.nn.init.normal_(pipeline.unet.conv_in.weight, std=0.1)
        predictor: Any = EditWindows(pipeline, image, PROMPT, TEACHERS["edit"])
        objective: Any = EditObjective(pipeline.unet, pipeline.vae.config.scaling_factor, lora_rank=4)
    else:
        for block in (*pipeline.controlnet.controlnet_down_blocks, pipeline.controlnet.controlnet_mid_block):
            torch.nn.init.normal_(block.weight, std=0.1)
        predictor = ControlWindows(pipeline, image, PROMPT, TEACHERS["control"])
        objective = ControlObjective(pipeline.unet, pipeline.controlnet, lora_rank=4)
    no_text, text = encode_texts(pipeline, ["", PROMPT])
    latents = encode_images(pipeline.vae, [image]).mode().detach() * pipeline.vae.config.scaling_factor
    batch = {"text": text[None], "no_text": no_text[None], "image": latents, "hint": torch.from_numpy(image)[None, None]}
    batch["moments"] = torch.stack([latents, torch.zeros_like(latents)], dim=1)
    return objective, {name: value.clone() for name, value in batch.items()}, predictor


@pytest.mark.parametrize("kind", TEACHERS)
def test_the_teacher_predicts_what_a_sampler_does(kind: str, tiny_base: Path, tiny_control: Path) -> None:
    objective, batch, predictor = new_objective(kind, tiny_base, tiny_control)
    noisy, timestep = torch.randn_like(batch["image"]), torch.tensor(500)
    with torch.no_grad():
        guided = objective.guided_noise(batch, noisy, timestep[None], TEACHERS[kind])
        unguided = objective.guided_noise(batch, noisy, timestep[None], student_options(TEACHERS[kind], 4))
        plain = objective.guided_noise(
            batch, noisy, timestep[None], EditOptions(4, 1.0, 1.0) if kind == "edit" else SamplingOptions(4, 1.0, 1.6)
        )
    expected = predictor.noise(noisy, timestep, [0])
    assert torch.allclose(guided, expected, atol=1e-4 * float(expected.abs().max()))
    assert torch.equal(unguided, plain)
    assert not torch.allclose(guided, unguided, atol=0.05)
    if kind == "edit":  # what a student without training predicts is the model's prediction from image and instruction
        assert torch.allclose(unguided, objective.predict_noise(batch, noisy, timestep[None], None), atol=1e-6)


def test_one_step_to_the_target_ends_where_the_teachers_steps_end(tiny_base: Path, tiny_control: Path) -> None:
    objective, batch, predictor = new_objective("edit", tiny_base, tiny_control)
    like, steps = load_base(str(tiny_base)).scheduler, 2
    module = Distillation(objective, like, [None], TrainingOptions(), "", teacher=TEACHERS["edit"], steps=steps)
    one_step, solver = (
        FewStepScheduler.like(like),
        DPMSolverMultistepScheduler.from_config(like.config, timestep_spacing="trailing", final_sigmas_type="sigma_min"),
    )
    one_step.set_timesteps(steps)
    solver.set_timesteps(steps * SUBSTEPS)
    noisy = torch.randn_like(batch["image"])
    for number, timestep in enumerate(one_step.timesteps):
        first = number * SUBSTEPS
        with torch.no_grad():
            target = module.teacher_clean(batch, noisy, torch.tensor([first]))
        kept = like.alphas_cumprod[timestep]
        ours = one_step.step((noisy - kept.sqrt() * target) / (1 - kept).sqrt(), timestep, noisy).prev_sample
        solver.set_timesteps(steps * SUBSTEPS)  # forgets the predictions before
        solver.set_begin_index(first)
        theirs = noisy
        for inner in solver.timesteps[first : first + SUBSTEPS]:
            theirs = solver.step(predictor.noise(theirs, inner, [0]), inner, theirs).prev_sample
        assert torch.allclose(ours, theirs, atol=2e-3 * float(theirs.abs().max()))
        noisy = theirs


@pytest.fixture(scope="module")
def distilled(edit_pairs: Path, tiny_edit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two steps of the script were run at once."""
    root = tmp_path_factory.mktemp("distilled")
    flags = edit_training_flags(edit_pairs, tiny_edit, root, *DISTIL, *QUICK[2:], "--val_freq", 2, "--max_train_steps", 2)
    run_script("train_instruct_pix2pix.py", *flags, "--guidance_scale", 3, "--image_guidance_scale", 6)
    return root


def test_a_resumed_distillation_equals_an_uninterrupted_one(
    distilled: Path, edit_pairs: Path, tiny_edit: Path, tmp_path: Path
) -> None:
    from train_instruct_pix2pix import main

    scales = ("--guidance_scale", 3, "--image_guidance_scale", 6)
    for steps in (1, 2):
        flags = edit_training_flags(edit_pairs, tiny_edit, tmp_path, *DISTIL, *QUICK, *scales, "--max_train_steps", steps)
        main([*flags, "--resume_from_checkpoint", "latest"])
    losses, expected = (read_losses(root / "lightning_logs/version_0/losses.jsonl") for root in (tmp_path, distilled))
    assert losses == expected
    ours, theirs = (load_file(root / "final" / LORA_FILE) for root in (tmp_path, distilled))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_students_folder_is_sampled_in_its_steps_without_a_flag(distilled: Path, tiny_edit: Path, tmp_path: Path) -> None:
    final = distilled / "final"
    assert {path.name for path in final.iterdir()} == {LORA_FILE, SCHEDULER_FILE, "riff.json", "manifest.json"}
    assert read_origin(final)["sampling"] == {"steps": 2, "guidance_scale": 1.0, "image_guidance_scale": 1.0}
    validation = read_losses(distilled / "lightning_logs/version_0/validation.jsonl")
    assert [line["step"] for line in validation] == [0, 2]
    model = load_song_model(str(final))
    assert model.options == EditOptions(2, 1.0, 1.0)
    backing = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    Image.fromarray(backing).save(tmp_path / "backing.png")
    passes: list[Any] = []
    counting = model.pipeline.unet.register_forward_hook(lambda *_: passes.append(1))
    from riff.sampling.edit import sample_edit

    ours = sample_edit(model.pipeline, [backing], [PROMPT], [5], model.options)[0]  # type: ignore[arg-type]
    counting.remove()
    assert len(passes) == 2
    stock = StableDiffusionInstructPix2PixPipeline.from_pretrained(tiny_edit)
    stock.load_lora_weights(final)
    stock.scheduler = DDIMScheduler.from_pretrained(final)
    stock.set_progress_bar_config(disable=True)
    image = stock(
        PROMPT,
        Image.fromarray(backing).convert("RGB"),
        num_inference_steps=2,
        guidance_scale=1.0,
        image_guidance_scale=1.0,
        output_type="np",
        generator=torch.Generator().manual_seed(5),
    ).images[0]
    assert np.abs(np.round(image.mean(axis=2) * 255) - ours).max() <= 1


def test_the_controlnets_base_is_distilled(pairs: Path, tiny_control: Path, tmp_path: Path) -> None:
    flags = [*training_flags(pairs, tiny_control, tmp_path), *DISTIL, *QUICK[:2], "--logger_freq", 1, "--max_steps", 1]
    cnet_riff_training.main([str(flag) for flag in flags])
    model = load_song_model(str(tmp_path / "final"))
    assert model.options == SamplingOptions(2, 1.0, 1.0)
    assert type(model.pipeline.scheduler) is FewStepScheduler


def test_adapters_find_their_model_beside_them(distilled: Path, tiny_edit: Path, tmp_path: Path) -> None:
    shutil.copytree(distilled / "final", tmp_path / "adapters")
    origin = read_origin(tmp_path / "adapters") | {"base": f"elsewhere/{tiny_edit.name}"}
    (tmp_path / "adapters/riff.json").write_text(json.dumps(origin))
    assert adapted_model(tmp_path / "adapters") == f"elsewhere/{tiny_edit.name}"
    (tmp_path / tiny_edit.name).mkdir()
    assert adapted_model(tmp_path / "adapters") == str(tmp_path / tiny_edit.name)


def test_few_steps_are_learnt_by_adapters(tiny_edit: Path) -> None:
    refused = run_script(
        "train_instruct_pix2pix.py", "--pretrained_model_name_or_path", tiny_edit, *DISTIL[2:], "--dry_run", code=2
    )
    assert "--distill_steps: few steps are learnt by adapters; give --lora_rank" in last_error(refused)
