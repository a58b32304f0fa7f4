"""Train an edit model, InstructPix2Pix on Riffusion, on pairs that preprocess_musdb.py made.

    python train_instruct_pix2pix.py --train_data_dir musdb-pix2pix/train --resolution 512 --max_steps 15000
    python train_instruct_pix2pix.py --memory 8 --dry_run
    accelerate launch train_instruct_pix2pix.py --dataset_name USER/NAME --precision fp16 --resume
    python train_instruct_pix2pix.py --train_data_dir musdb-pix2pix/train --devices 4

It takes the flags of diffusers' example. Latents and text embeddings are computed once and kept beside the pairs. Losses,
samples of held-out songs and checkpoints are written to lightning_logs/version_N/ and image_log/version_N/ in --log_dir;
validation.jsonl beside losses.jsonl holds the loss on held-out songs. The end, --max_train_time and Ctrl-C all leave a
pipeline in --output that diffusers' StableDiffusionInstructPix2PixPipeline loads, and SIGTERM a checkpoint;
--resume continues exactly where the newest run of this --output stopped, with its settings, or
starts a new run if there is none. All GPUs of the machine train together, each on batches of its own: N GPUs train as one
with N times the batch would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from riff import cli
from riff.cli.errors import REPLACE, named_flag, naming
from riff.errors import ExistsError, OptionError
from riff.training import flags

if TYPE_CHECKING:
    from riff.training.edit import EditSettings
    from riff.training.processes import Processes
    from riff.training.run import TrainingRun

# Flags of diffusers' example without effect here, and the reasons.
WITHOUT_EFFECT = {
    "enable_xformers_memory_efficient_attention": "PyTorch's own attention needs as little memory",
    "center_crop": "a spectrogram image is never cropped",
    "non_ema_revision": "name the revision with --revision",
}


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    _add_data(parser)
    _add_results(parser)
    _add_recipe(parser)
    _add_run(parser)
    _add_samples(parser)
    _add_example_flags(parser)
    args = parser.parse_with_config(argv, resume=_config_of_checkpoint)
    if args.random_flip:
        raise OptionError("--random_flip: a spectrogram that is flipped sounds backwards; leave the flag out")
    if args.val_image_url and not args.validation_prompt:
        raise OptionError("--val_image_url: needs an instruction in --validation_prompt")
    return args


def _add_data(parser: cli.ArgumentParser) -> None:
    parser.heading("model")
    add = parser.add_argument
    add(
        "--model",
        "--base",
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


def _add_results(parser: cli.ArgumentParser) -> None:
    parser.heading("results")
    part = "write the UNet alone, in half precision, with its base's name"
    flags.add_results(parser, Path("models/riff-pix2pix-final"), "folder for the result", "unet_only", part)
    parser.add_logger(project="riff-pix2pix")
    parser.add_flag("push_to_hub", default=False, help="upload the run and its result to the hub at the end")
    parser.add_argument("--repo_id", help="USER/NAME on the hub (default: the name of --output)")
    parser.add_argument("--token", help="token of the hub, instead of HF_TOKEN or `hf auth login`")


def _add_recipe(parser: cli.ArgumentParser) -> None:
    parser.heading("training")
    add = parser.add_argument
    add("--text_dropout", type=cli.SHARE, default=0.05, help="share of pairs trained without the instruction")
    add("--image_dropout", type=cli.SHARE, default=0.05, help="share of pairs trained without the input image")
    add("--both_dropout", type=cli.SHARE, default=0.05, help="share of pairs trained without either")
    add("--conditioning_dropout_prob", type=cli.SHARE, help="one share for all three")
    flags.add_loss(parser, snr_gamma=5.0)
    copy = "copy the bias of the base's first convolution too; False as in diffusers' example"
    parser.add_flag("copy_bias", default=True, help=copy)
    target = "what edited images show: mix, vocals alone, or auto: as in their manifest"
    add("--target", default="auto", choices=("auto", "mix", "vocals"), help=target)
    parser.heading("optimizer")
    flags.add_learning_rate(parser, 1e-4, "peak learning rate")
    parser.add_flag("scale_lr", default=False, help="multiply it by processes, accumulation and batch size")
    eight_bit = "the same as --optimizer_state 8bit; on CUDA, where bitsandbytes is installed"
    parser.add_flag("use_8bit_adam", default=False, help=eight_bit)
    add("--adam_beta1", type=cli.real(0, below=1), default=0.9, help="of AdamW")
    add("--adam_beta2", type=cli.real(0, below=1), default=0.999, help="of AdamW")
    add("--adam_weight_decay", type=cli.real(0), default=1e-2, help="of AdamW")
    add("--adam_epsilon", type=cli.real(above=0), default=1e-8, help="of AdamW")
    add("--max_grad_norm", type=cli.real(0), default=1.0, help="gradients are clipped to it; 0 is off")
    parser.add_seed()


def _add_run(parser: cli.ArgumentParser) -> None:
    add = parser.add_argument
    parser.heading("time")
    flags.add_time(parser, None, "total optimizer steps (default: those of --num_train_epochs)", None, checkpoint_every=500)
    add("--num_train_epochs", type=cli.whole(1), default=100, help="passes over the pairs")
    add("--checkpoints_total_limit", type=cli.whole(0), default=1, help="number of newest checkpoints kept; 0 is all")
    resume = "resume from a checkpoint with its settings; latest, or without PATH, is the newest of this --output, if there is one"
    add("--resume", nargs="?", const="latest", metavar="PATH", help=resume)
    flags.add_batches(parser, workers=0)
    parser.add_memory()
    parser.add_flag("allow_tf32", default=False, help="on CUDA, multiply float32 in TF32")
    auto = "auto is accelerate's, else bf16 on GPUs and CPUs that support it, or with bf16 weights; 16 on a T4 or V100, else 32"
    flags.add_precision(parser, auto)
    parser.add_machines()


def _add_samples(parser: cli.ArgumentParser) -> None:
    add = parser.add_argument
    flags.add_samples(parser, "steps between samples; 0 is never")
    add("--validation_epochs", type=cli.whole(0), help="the same in epochs")
    add("--num_validation_images", type=cli.whole(0), default=4, help="samples of held-out songs")
    add("--validation_prompt", help="one instruction for all samples (default: each pair's own)")
    add("--val_image_url", help="an image to edit with --validation_prompt too: a file or a URL")
    of = "of the samples, and of the model that --distill_steps distils (default: its recommendation, else"
    add("--guidance_scale", type=cli.GUIDANCE, help=f"{of} 7.5)")
    add("--image_guidance_scale", type=cli.GUIDANCE, help=f"{of} 1.5)")


def _add_example_flags(parser: cli.ArgumentParser) -> None:
    """Flags of diffusers' example without effect, so that its commands run as they are."""
    parser.heading("of diffusers' example, without effect")
    parser.add_argument("--non_ema_revision", help=WITHOUT_EFFECT["non_ema_revision"])
    parser.add_flag("center_crop", default=False, help=WITHOUT_EFFECT["center_crop"])
    parser.add_flag("random_flip", default=False, help="refused: a flipped spectrogram plays backwards")
    xformers = "enable_xformers_memory_efficient_attention"
    parser.add_flag(xformers, default=False, help=WITHOUT_EFFECT[xformers])
    parser.add_argument("--local_rank", type=cli.whole(-1), default=-1, help="set by the launcher")


@naming(**flags.NAMES)
def _config_of_checkpoint(args: cli.argparse.Namespace) -> Path | None:
    """The configuration file of the run to resume, None to start a new one."""
    if args.resume is None:
        return None
    from riff.training.run_dir import RunDir

    checkpoint = _checkpoint(args.resume, args.log_dir, args.output)
    return checkpoint and RunDir.of_checkpoint(checkpoint).config


def _checkpoint(resume: str | None, log_dir: Path, output: Path, report: Callable[[str], None] = lambda _: None) -> Path | None:
    """The checkpoint to resume from, None to start a new run. report: is called for each that cannot be read."""
    from riff.training.run_dir import find_checkpoint, newest_checkpoint, writes_to

    if resume in (None, "latest"):
        return newest_checkpoint(log_dir, writes_to(output), report) if resume else None
    return find_checkpoint(log_dir, resume)


def read_settings(args: cli.argparse.Namespace) -> EditSettings:
    from riff.data.stores import HubAccess
    from riff.training.edit import ConditioningDropout, EditSettings
    from riff.training.memory import launched_precision

    shared = flags.read(
        args,
        output=args.output,
        learning_rate=args.learning_rate,
        precision=launched_precision() if args.precision == "auto" else args.precision,
        moments="8bit" if args.use_8bit_adam else args.optimizer_state,
        adam_betas=(args.adam_beta1, args.adam_beta2),
        adam_epsilon=args.adam_epsilon,
        weight_decay=args.adam_weight_decay,
    )
    share, each = args.conditioning_dropout_prob, (args.text_dropout, args.image_dropout, args.both_dropout)
    return EditSettings(
        **shared,
        checkpoints_kept=args.checkpoints_total_limit or None,
        max_grad_norm=args.max_grad_norm,
        part_only=args.unet_only,
        model=args.model,
        copy_bias=args.copy_bias,
        downloads={key: getattr(args, key) for key in ("revision", "variant", "cache_dir") if getattr(args, key)},
        pairs=args.train_data_dir,
        dataset=args.dataset_name,
        dataset_config=args.dataset_config_name,
        columns={
            "input_file_path": args.original_image_column,
            "edited_file_path": args.edited_image_column,
            "edit_prompt": args.edit_prompt_column,
        },
        hub=HubAccess(args.token, args.cache_dir),
        resolution=args.resolution,
        max_pairs=args.max_train_samples,
        target=args.target,
        dropout=ConditioningDropout(*(each if share is None else (share, share, share))),
        epochs=args.num_train_epochs if args.max_steps is None else None,
        sample_epochs=args.validation_epochs,
        scale_rate=args.scale_lr,
        num_samples=args.num_validation_images,
        prompt=args.validation_prompt,
        image=args.val_image_url,
        guidance=args.guidance_scale,
        image_guidance=args.image_guidance_scale,
        upload_to=(args.repo_id or args.output.name) if args.push_to_hub else None,
    )


@cli.command
@naming(**flags.NAMES)
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from riff.data.records import EDIT_PAIRS

    pairs = None if args.dry_run or args.dataset_name else args.train_data_dir
    flags.check_inputs(args.model, "give a hub id, a folder, a file, or mini", pairs, EDIT_PAIRS)
    import torch

    from riff.training.launch import run_in_processes

    settings = read_settings(args)
    if args.allow_tf32 and settings.device == "cuda":
        torch.set_float32_matmul_precision("high")
    if args.dry_run:
        _print_plan(settings)
        return 0
    train = partial(_train, settings, _reasons_of_no_effect(args, settings.device))
    return run_in_processes(__file__, argv, settings.device, settings.devices, settings.num_nodes, train)


def _reasons_of_no_effect(args: cli.argparse.Namespace, device: str) -> dict[str, str]:
    """The given flags that have no effect, and why."""
    from importlib.util import find_spec

    reasons = {flag: reason for flag, reason in WITHOUT_EFFECT.items() if getattr(args, flag)}
    if args.allow_tf32 and device != "cuda":
        reasons["allow_tf32"] = "only CUDA has TF32"
    if args.use_8bit_adam and (device != "cuda" or find_spec("bitsandbytes") is None):
        reasons["use_8bit_adam"] = "it needs CUDA and bitsandbytes; AdamW is used instead"
    return reasons


def _print_plan(settings: EditSettings) -> None:
    from riff.models.loading import load_to_edit, read_configs
    from riff.training.edit import edit_on_meta
    from riff.training.prediction import print_plan

    def load() -> object:
        return load_to_edit(settings.model, settings.copy_bias, not settings.lora_rank, **settings.downloads)[0]

    configs = read_configs("" if settings.lora_rank else settings.model, ("unet", "vae"), load)  # adapters need a certain type
    print_plan(edit_on_meta(configs, settings.lora_rank), configs, settings)


@named_flag("", ExistsError, REPLACE)
@naming(**flags.NAMES)
def _train(settings: EditSettings, without_effect: dict[str, str], processes: Processes) -> None:
    from riff.inspection.prompt_stats import low_variety
    from riff.models.loading import load_to_edit
    from riff.models.sources import read_origin
    from riff.training.edit import EditObjective, edit_of_image, edit_on_meta, edit_samples, held_out_edits, prepare_edit_data
    from riff.training.run import TrainingRun

    def checkpoint() -> Path | None:
        return _checkpoint(settings.resume, settings.log_dir, settings.output, cli.warn)

    for flag, reason in without_effect.items() if processes.is_first else ():
        cli.warn(f"--{flag} has no effect: {reason}")
    run = TrainingRun(settings, processes, checkpoint, inputs=(settings.model,))
    upload = _prepare_upload(settings.upload_to, settings.hub.token) if settings.upload_to else None
    if settings.resume and run.resume is None:
        processes.print(f"no checkpoint of {settings.output} yet: starting a new run")

    with processes.first_goes_first():
        pipeline, base = load_to_edit(settings.model, settings.copy_bias, not settings.lora_rank, **settings.downloads)
        data = prepare_edit_data(settings, pipeline)
        clips = held_out_edits(data, settings.num_samples, settings.prompt)
        if settings.image and settings.prompt:
            clips.append(edit_of_image(settings.image, settings.prompt))
    processes.print(f"{len(data.training)} pairs to train on, {len(data.held_out)} held out (other songs)")
    few_prompts = low_variety([pair.edit_prompt for pair in data.training], [pair.song for pair in data.training])
    if few_prompts and processes.is_first:
        cli.warn(f"{few_prompts}; describe every song in the --prompt_file of preprocess_musdb.py and make the pairs again")

    run.settings = settings = settings.for_pairs(len(data.training), processes.count)
    rank = settings.lora_rank
    objective = EditObjective(pipeline.unet, pipeline.vae.config.scaling_factor, settings.dropout, rank, settings.step.seed)
    run.train(
        pipeline,
        objective,
        data,
        partial(edit_on_meta, lora_rank=rank),
        lambda folder, _: edit_samples(pipeline, clips, settings, folder),
    )
    recommended = {name: value for name, value in read_origin(settings.model).items() if name == "sampling" and settings.lora_rank}
    run.save(pipeline, settings.model, base, {"target": data.target, **recommended})
    if upload and processes.is_first:
        upload(run)


def _prepare_upload(repo_id: str, given_token: str | None) -> Callable[[TrainingRun], None]:
    """Check the repository's name and the token before hours of training; returns a function that uploads the run."""
    from riff.hub.card import read_run_card
    from riff.hub.client import check_repo_id, find_token
    from riff.hub.files import collect
    from riff.hub.publish import publish

    check_repo_id(repo_id)
    token = find_token(given_token)

    def upload(run: TrainingRun) -> None:
        version, output = run.dir.version, run.settings.output
        files = collect(version, run.dir.path.parent, run.dir.images.parent, output)
        card = read_run_card(repo_id, run.dir.path, output)
        publish(repo_id, files, token, card=card.text, message=f"Upload version {version}")

    return upload


if __name__ == "__main__":
    main()
