"""Train an edit model, InstructPix2Pix on Riffusion, on pairs that preprocess_musdb.py made.

    python train_instruct_pix2pix.py --train_data_dir musdb-pix2pix/train --resolution 512 --max_train_steps 15000
    python train_instruct_pix2pix.py --memory 8 --dry_run
    accelerate launch train_instruct_pix2pix.py --dataset_name USER/NAME --mixed_precision fp16 --resume_from_checkpoint latest
    python train_instruct_pix2pix.py --train_data_dir musdb-pix2pix/train --devices 4

It takes the flags of diffusers' example. Latents and text embeddings are computed once and kept beside the pairs. Losses,
samples of held-out songs and checkpoints are written to lightning_logs/version_N/ and image_log/version_N/ in --logging_dir;
validation.jsonl beside losses.jsonl holds the loss on held-out songs. The end, --max_train_time and Ctrl-C all leave a
pipeline in --output_dir that diffusers' StableDiffusionInstructPix2PixPipeline loads, and SIGTERM a checkpoint;
--resume_from_checkpoint latest continues exactly where the newest run of this --output_dir stopped, with its settings, or
starts a new run if there is none. All GPUs of the machine train together, each on batches of its own: N GPUs train as one
with N times the batch would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riff import cli

if TYPE_CHECKING:
    from riff.training.memory import MemoryLog
    from riff.training.options import TrainingOptions
    from riff.training.processes import Processes
    from riff.training.run import RunSettings

# Flags of diffusers' example without effect here, and the reasons.
WITHOUT_EFFECT = {
    "enable_xformers_memory_efficient_attention": "PyTorch's own attention needs as little memory",
    "center_crop": "a spectrogram image is never cropped",
    "non_ema_revision": "name the revision with --revision",
}


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    _add_places(parser)
    _add_recipe(parser)
    _add_run(parser)
    _add_samples(parser)
    _add_example_flags(parser)
    return parser.parse_with_config(argv, resume=_settings_of_checkpoint)


def _add_places(parser: cli.ArgumentParser) -> None:
    parser.heading("model")
    add = parser.add_argument
    add(
        "--pretrained_model_name_or_path",
        default="riffusion/riffusion-model-v1",
        help="base: hub id, folder, .ckpt or .safetensors file, or mini (in the repository); or an edit model to train on",
    )
    add("--revision", help="revision of a base on the hub")
    add("--variant", help="variant of the base's files, such as fp16")
    parser.heading("data")
    add(
        "--train_data_dir",
        type=Path,
        default=Path("musdb-pix2pix/train"),
        help="edit pairs: a folder (metadata.jsonl); shards that tools/pack_dataset.py or upload_musdb.py made, as 'DIR/*.tar' or "
        "'DIR/pairs-{000000..000031}.parquet'; or USER/NAME of a data set of shards on the hub",
    )
    add("--dataset_name", help="instead of it: any data set that `datasets` reads, of the hub or a folder")
    add("--dataset_config_name", help="configuration of the data set")
    add("--original_image_column", default="original_image", help="its column of input images")
    add("--edited_image_column", default="edited_image", help="its column of edited images")
    add("--edit_prompt_column", default="edit_prompt", help="its column of instructions")
    add("--resolution", type=cli.whole(1), help="required height and width of the images (default: any that fits the model)")
    add("--max_train_samples", type=cli.whole(1), help="number of training pairs (default: all)")
    add("--cache_dir", type=Path, help="folder of downloads and latents of the hub's data sets (default: the user's cache)")
    parser.heading("results")
    add("--output_dir", type=Path, default=Path("models/riff-pix2pix-final"), help="folder for the result")
    parser.add_overwrite("a model in --output_dir; a resumed run replaces its own without")
    parser.add_flag("unet_only", default=False, help="write the UNet alone, in half precision, with its base's name")
    add("--logging_dir", type=Path, default=Path("."), help="folder of lightning_logs/ and image_log/")
    parser.add_logger(project="riff-pix2pix", older_name="--report_to")
    parser.add_flag("push_to_hub", default=False, help="upload the run and its result to the hub at the end")
    add("--hub_model_id", help="USER/NAME on the hub (default: the name of --output_dir)")
    add("--hub_token", help="token of the hub, instead of HF_TOKEN or `hf auth login`")


def _add_recipe(parser: cli.ArgumentParser) -> None:
    parser.heading("training")
    add = parser.add_argument
    add("--text_dropout", type=cli.SHARE, default=0.05, help="share of pairs trained without the instruction")
    add("--image_dropout", type=cli.SHARE, default=0.05, help="share of pairs trained without the input image")
    add("--both_dropout", type=cli.SHARE, default=0.05, help="share of pairs trained without either")
    add("--conditioning_dropout_prob", type=cli.SHARE, help="one share for all three")
    add("--snr_gamma", type=cli.real(0), default=5.0, help="gamma of the loss's min-SNR weight; 0 is off, as in diffusers' example")
    parser.add_flag("use_ema", default=False, help="average the weights over the steps")
    add("--ema_decay", type=cli.real(0, below=1), default=0.9999, help="of the average; lower for short runs")
    parser.add_flag(
        "copy_bias", default=True, help="copy the bias of the base's first convolution too; False as in diffusers' example"
    )
    targets = ("auto", "mix", "vocals")
    add(
        "--target",
        default="auto",
        choices=targets,
        help="what edited images show: mix, vocals alone, or auto: as in their manifest",
    )
    parser.heading("optimizer")
    add("--learning_rate", type=cli.real(above=0), default=1e-4, help="peak learning rate")
    parser.add_flag("scale_lr", default=False, help="multiply it by processes, accumulation and batch size")
    schedules = ("constant", "constant_with_warmup", "cosine", "linear")
    add("--lr_scheduler", default="constant", choices=schedules, help="cosine and linear decay to a hundredth")
    add("--lr_warmup_steps", type=cli.whole(0), default=0, help="steps in which the learning rate rises, with every schedule")
    parser.add_flag(
        "use_8bit_adam", default=False, help="the same as --optimizer_state 8bit; on CUDA, where bitsandbytes is installed"
    )
    add("--adam_beta1", type=cli.real(0, below=1), default=0.9, help="of AdamW")
    add("--adam_beta2", type=cli.real(0, below=1), default=0.999, help="of AdamW")
    add("--adam_weight_decay", type=cli.real(0), default=1e-2, help="of AdamW")
    add("--adam_epsilon", type=cli.real(above=0), default=1e-8, help="of AdamW")
    add("--max_grad_norm", type=cli.real(0), default=1.0, help="gradients are clipped to it; 0 is off")
    parser.add_seed()


def _add_run(parser: cli.ArgumentParser) -> None:
    add = parser.add_argument
    parser.heading("time")
    add("--max_train_steps", type=cli.whole(1), help="total optimizer steps (default: those of --num_train_epochs)")
    add("--num_train_epochs", type=cli.whole(1), default=100, help="passes over the pairs")
    add("--max_train_time", metavar="TIME", help="stop after this time, DD:HH:MM:SS (default: never)")
    add("--train_batch_size", type=cli.BATCH, default=4, help="pairs in a batch of one process")
    add("--gradient_accumulation_steps", type=cli.whole(1), default=1, help="batches of an optimizer step")
    add("--checkpointing_steps", type=cli.whole(0), default=500, help="steps between checkpoints; 0 writes one at the end alone")
    add("--checkpoints_total_limit", type=cli.whole(0), default=1, help="number of newest checkpoints kept; 0 is all")
    add("--resume_from_checkpoint", metavar="PATH", help="resume from a checkpoint's path, or from the latest of this --output_dir")
    parser.add_memory()
    parser.add_flag("allow_tf32", default=False, help="on CUDA, multiply float32 in TF32")
    add(
        "--mixed_precision",
        choices=("no", "fp16", "bf16"),
        help="default: accelerate's, else bf16 on GPUs and CPUs that support it, or with bf16 weights; no on a T4 or V100",
    )
    add("--dataloader_num_workers", type=cli.WORKERS, default=0, help="data loader processes")
    parser.add_machines()


def _add_samples(parser: cli.ArgumentParser) -> None:
    add = parser.add_argument
    parser.add_held_out()
    add("--validation_steps", type=cli.whole(0), default=500, help="steps between samples; 0 is never")
    add("--validation_epochs", type=cli.whole(0), help="the same in epochs")
    add("--num_validation_images", type=cli.whole(0), default=4, help="samples of held-out songs")
    add("--validation_prompt", help="one instruction for all samples (default: each pair's own)")
    add("--val_image_url", help="an image to edit with --validation_prompt too: a file or a URL")
    add("--guidance_scale", type=cli.GUIDANCE, default=7.5, help="of the samples")
    add("--image_guidance_scale", type=cli.GUIDANCE, default=1.5, help="of the samples")


def _add_example_flags(parser: cli.ArgumentParser) -> None:
    """Flags of diffusers' example without effect, so that its commands run as they are."""
    parser.heading("of diffusers' example, without effect")
    parser.add_argument("--non_ema_revision", help=WITHOUT_EFFECT["non_ema_revision"])
    parser.add_flag("center_crop", default=False, help=WITHOUT_EFFECT["center_crop"])
    parser.add_flag("random_flip", default=False, help="refused: a flipped spectrogram plays backwards")
    xformers = "enable_xformers_memory_efficient_attention"
    parser.add_flag(xformers, default=False, help=WITHOUT_EFFECT[xformers])
    parser.add_argument("--local_rank", type=cli.whole(-1), default=-1, help="set by the launcher")


def _settings_of_checkpoint(args: cli.argparse.Namespace) -> Path | None:
    """The configuration file of the run to resume, None to start a new one."""
    checkpoint = _checkpoint(args)
    if checkpoint is None:
        return None
    from riff.training.run_dir import RunDir

    return RunDir.of_checkpoint(checkpoint).config


def _checkpoint(args: cli.argparse.Namespace, report: Callable[[str], None] = lambda _: None) -> Path | None:
    """The checkpoint to resume from, None to start a new run. report: is called for each that cannot be read."""
    from riff.errors import OptionError
    from riff.training.run_dir import newest_checkpoint, writes_to

    if args.resume_from_checkpoint in (None, "latest"):
        return newest_checkpoint(args.logging_dir, writes_to(args.output_dir), report) if args.resume_from_checkpoint else None
    if not Path(args.resume_from_checkpoint).is_file():
        raise OptionError(f"--resume_from_checkpoint {args.resume_from_checkpoint}: no such checkpoint; give a .ckpt, or latest")
    return Path(args.resume_from_checkpoint)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    import torch

    from riff.errors import OptionError
    from riff.training.launch import start_processes
    from riff.training.processes import join_processes

    if args.random_flip:
        raise OptionError("--random_flip: a spectrogram that is flipped sounds backwards; leave the flag out")
    if args.val_image_url and not args.validation_prompt:
        raise OptionError("--val_image_url: needs an instruction in --validation_prompt")
    device = cli.choose_device(args.device)
    if args.allow_tf32 and device == "cuda":
        torch.set_float32_matmul_precision("high")
    if args.dry_run:
        _print_plan(args, device)
        return 0
    status = start_processes(__file__, argv, device, args.devices, args.num_nodes)
    if status is None:
        with join_processes(device) as processes:
            if processes.is_first:
                _warn_of_flags_without_effect(args, device)
            _train(args, device, processes)
    return status or 0


def _warn_of_flags_without_effect(args: cli.argparse.Namespace, device: str) -> None:
    from importlib.util import find_spec

    reasons = {flag: reason for flag, reason in WITHOUT_EFFECT.items() if getattr(args, flag)}
    if args.allow_tf32 and device != "cuda":
        reasons["allow_tf32"] = "only CUDA has TF32"
    if args.use_8bit_adam and (device != "cuda" or find_spec("bitsandbytes") is None):
        reasons["use_8bit_adam"] = "it needs CUDA and bitsandbytes; AdamW is used instead"
    for flag, reason in reasons.items():
        cli.warn(f"--{flag} has no effect: {reason}")


def _print_plan(args: cli.argparse.Namespace, device: str) -> None:
    from riff.models.loading import load_to_edit, read_configs
    from riff.training.prediction import edit_on_meta, peak_text, plan_text, predict_peak

    options, precision, preset = _training_options(args, 1, 1, device)
    model = args.pretrained_model_name_or_path
    configs = read_configs(model, ("unet", "vae"), lambda: load_to_edit(model, args.copy_bias, **_downloads(args))[0])
    objective = edit_on_meta(configs)
    print(plan_text(preset, options.savings, precision, objective.models), flush=True)
    print(peak_text(predict_peak(objective, configs, options, precision, args.max_grad_norm), args.train_batch_size))


def _downloads(args: cli.argparse.Namespace) -> dict[str, Any]:
    """Download options of `load_to_edit`."""
    return {key: getattr(args, key) for key in ("revision", "variant", "cache_dir") if getattr(args, key)}


def _train(args: cli.argparse.Namespace, device: str, processes: Processes) -> None:
    from riff.hub.names import check_repo_id, find_token
    from riff.inspection.prompt_stats import low_variety
    from riff.models.folders import check_output, save_pipeline
    from riff.models.loading import load_to_edit
    from riff.sampling.options import EditOptions
    from riff.training.edit import (
        ConditioningDropout,
        EditObjective,
        edit_of_image,
        edit_samples,
        held_out_edits,
        prepare_edit_data,
    )
    from riff.training.loggers import check_loggers
    from riff.training.prediction import MemoryWatch, edit_on_meta
    from riff.training.run import kept_by_checkpoint
    from riff.training.run_dir import RunDir
    from riff.training.train import train
    from riff.training.validation import FigureLog

    resume = processes.from_first(lambda: _checkpoint(args, cli.warn))
    if processes.is_first:  # before hours of training, not after
        check_loggers(args.report_to)
        version = RunDir.of_checkpoint(resume).version if resume else None
        logs = RunDir(args.logging_dir, 0)
        beside, inputs = (logs.path, logs.images), (args.pretrained_model_name_or_path,)
        replaces = check_output(args.output_dir, "--output_dir", args.overwrite, inputs=inputs, beside=beside, version=version)
    repo_id = args.hub_model_id or args.output_dir.name
    if args.push_to_hub:
        check_repo_id(repo_id)
        find_token(args.hub_token)
    if args.resume_from_checkpoint and resume is None:
        processes.print(f"no checkpoint of {args.output_dir} yet: starting a new run")

    with processes.first_goes_first():
        pipeline, base = load_to_edit(args.pretrained_model_name_or_path, args.copy_bias, **_downloads(args))
        data = prepare_edit_data(
            *_open_pairs(args),
            pipeline,
            device,
            args.val_share,
            args.resolution,
            args.max_train_samples,
            args.target,
        )
        clips = held_out_edits(data, args.num_validation_images, args.validation_prompt)
        if args.val_image_url:
            clips.append(edit_of_image(args.val_image_url, args.validation_prompt))
    processes.print(f"{len(data.training)} pairs to train on, {len(data.held_out)} held out (other songs)")
    few_prompts = low_variety([pair.edit_prompt for pair in data.training], [pair.song for pair in data.training])
    if few_prompts and processes.is_first:
        cli.warn(f"{few_prompts}; describe every song in the --prompt_filepath of preprocess_musdb.py and make the pairs again")

    share = args.conditioning_dropout_prob
    shares = (args.text_dropout, args.image_dropout, args.both_dropout) if share is None else (share, share, share)
    objective = EditObjective(pipeline.unet, pipeline.vae.config.scaling_factor, ConditioningDropout(*shares))
    epoch = -(-len(data.training) // (args.train_batch_size * args.gradient_accumulation_steps * processes.count))
    options, precision, preset = _training_options(args, epoch, processes.count, device)
    watch = MemoryWatch(device, preset)
    settings = _run_settings(args, device, epoch, precision, watch.log)
    if processes.is_first:
        configs = {name: getattr(pipeline, name).config for name in ("unet", "vae")}
        watch.predict(lambda: edit_on_meta(configs), configs, options, settings)

    run_dir = RunDir.of_checkpoint(resume) if resume else processes.from_first(lambda: RunDir.claim(args.logging_dir))
    settings = replace(settings, on_start=lambda: cli.write_config(run_dir.config, args))
    figures, sampling = (
        FigureLog(run_dir.validation),
        EditOptions(args.sample_steps, args.guidance_scale, args.image_guidance_scale),
    )
    samples = edit_samples(pipeline, clips, sampling, run_dir.images, settings.sample_every, args.seed)
    step, reason = train(pipeline, objective, data, options, run_dir, settings, figures, samples, resume, processes)
    if not processes.is_first:
        return

    origin = {"base": base, "steps": step, "version": run_dir.version, "target": data.target}
    arguments, memory = {**vars(args), "base": base}, watch.report()
    with kept_by_checkpoint(run_dir, settings):
        save_pipeline(pipeline, args.output_dir, origin, args.unet_only, half=args.unet_only, replaces=replaces)
        cli.write_manifest(args.output_dir / "manifest.json", arguments, steps=step, version=run_dir.version, memory=memory)
    print(
        f"{reason + '; ' if reason else ''}step {step}: {args.output_dir} (samples in {run_dir.images}, losses in {run_dir.path})"
    )
    if args.push_to_hub:
        from riff.hub.card import read_run_card
        from riff.hub.files import collect
        from riff.hub.publish import publish

        files = collect(run_dir.version, run_dir.path.parent, run_dir.images.parent, args.output_dir)
        card, message = read_run_card(repo_id, run_dir.path, args.output_dir), f"Upload version {run_dir.version}"
        publish(repo_id, files, find_token(args.hub_token), card=card.text, message=message)


def _open_pairs(args: cli.argparse.Namespace) -> tuple[Any, list[Any]]:
    """The store and the records of the pairs."""
    from riff.data.records import EDIT_PAIRS
    from riff.data.stores import HubAccess, open_dataset, open_pairs

    hub = HubAccess(args.hub_token, args.cache_dir)
    if args.dataset_name is None:
        return open_pairs(args.train_data_dir, EDIT_PAIRS, hub)
    columns = {
        "input_file_path": args.original_image_column,
        "edited_file_path": args.edited_image_column,
        "edit_prompt": args.edit_prompt_column,
    }
    return open_dataset(args.dataset_name, EDIT_PAIRS, columns, args.dataset_config_name, hub)


def _training_options(args: cli.argparse.Namespace, epoch: int, processes: int, device: str) -> tuple[TrainingOptions, str, str]:
    """The options of a step, its precision, and the memory preset. epoch: in optimizer steps."""
    from riff.training.memory import choose_preset, choose_savings
    from riff.training.options import TrainingOptions
    from riff.training.precision import requested_precision

    preset = choose_preset(args.memory, False, device)
    chosen = {
        "checkpointing": args.gradient_checkpointing,
        "trained": args.trained_weights,
        "moments": "8bit" if args.use_8bit_adam else args.optimizer_state,
    }
    savings, precision = choose_savings(preset, chosen, requested_precision(args.mixed_precision), device, averaged=args.use_ema)
    examples = processes * args.gradient_accumulation_steps * args.train_batch_size  # of an optimizer step
    options = TrainingOptions(
        learning_rate=args.learning_rate * (examples if args.scale_lr else 1),
        batch_size=args.train_batch_size,
        accumulate=args.gradient_accumulation_steps,
        max_steps=args.num_train_epochs * epoch if args.max_train_steps is None else args.max_train_steps,
        warmup_steps=args.lr_warmup_steps,
        schedule="constant" if args.lr_scheduler == "constant_with_warmup" else args.lr_scheduler,
        adam_betas=(args.adam_beta1, args.adam_beta2),
        adam_epsilon=args.adam_epsilon,
        weight_decay=args.adam_weight_decay,
        snr_gamma=args.snr_gamma,
        ema_decay=args.ema_decay if args.use_ema else 0.0,
        savings=savings,
        compile=args.compile,
        num_workers=args.dataloader_num_workers,
        seed=args.seed,
    )
    return options, precision, preset


def _run_settings(args: cli.argparse.Namespace, device: str, epoch: int, precision: str, memory_log: MemoryLog) -> RunSettings:
    from riff.training.run import RunSettings, stability_flags
    from riff.training.stopping import parse_duration

    return RunSettings(
        device=device,
        precision=precision,
        max_seconds=parse_duration(args.max_train_time) if args.max_train_time else float("inf"),
        sample_every=args.validation_steps if args.validation_epochs is None else args.validation_epochs * epoch,
        checkpoint_every=args.checkpointing_steps,
        validate_every=args.val_freq,
        validation_images=args.val_pictures,
        checkpoints_kept=args.checkpoints_total_limit or None,
        max_grad_norm=args.max_grad_norm,
        command=cli.called_as(),
        resume_flag="--resume_from_checkpoint",
        lower_rate=f"--learning_rate {args.learning_rate / 10:g}",
        suggestions=stability_flags(precision, "--mixed_precision", "no", "--lr_warmup_steps"),
        loggers=args.report_to,
        project=args.wandb_project,
        callbacks=(memory_log,),
    )


if __name__ == "__main__":
    main()
