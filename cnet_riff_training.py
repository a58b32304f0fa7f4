"""Train the ControlNet that cnet_riff_add_control.py attached, on the pairs that make_cnet_dataset.py made.

    python cnet_riff_training.py --train_data_dir train-data/ --max_steps 100000
    python cnet_riff_training.py --train_data_dir train-data/ --max_steps 100000 --batch_size 1 --save_gpu_memory True
    python cnet_riff_training.py --resume
    python cnet_riff_training.py --train_data_dir train-data/ --max_steps 100000 --devices 4 --strategy fsdp

Latents and text embeddings are computed once and kept beside the pairs. Losses, samples of held-out songs and checkpoints
lie in lightning_logs/version_N/ and image_log/version_N/. The end, --max_train_time and Ctrl-C all leave a pipeline in
--output that diffusers' StableDiffusionControlNetPipeline loads; --resume goes on exactly where a run stopped. All GPUs of
the machine train together, each on batches of its own: N of them do what one with N times the batch would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from riff import cli


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    _add_places(parser)
    _add_recipe(parser)
    _add_run(parser)
    _add_samples(parser)
    return parser.parse_with_config(argv, resume=_settings_of_checkpoint)


def _add_places(parser: cli.ArgumentParser) -> None:
    add = parser.add_argument
    add("--train_data_dir", type=Path, default=Path("train-data"), help="folder of pairs")
    add("--control_method", default="", help="name of the way of control: reads prompt-METHOD.json, names the result")
    add("--model", default="models/control_riffusion_ini", help="pipeline to train: folder with an attached ControlNet")
    add("--base", help="base of a --model that is a ControlNet alone: hub id, folder, file or mini (default: as it says itself)")
    add("--output", type=Path, help="folder for the result (default: models/riff-cnet-final, or riff-cnet-METHOD-final)")
    parser.add_flag("controlnet_only", default=False, help="write the ControlNet alone, in half precision, with its base's name")
    add("--log_dir", type=Path, default=Path("."), help="where lightning_logs/ and image_log/ lie")


def _add_recipe(parser: cli.ArgumentParser) -> None:
    add = parser.add_argument
    add("--max_steps", type=int, default=100_000, help="optimizer steps in all")
    add("--batch_size", type=int, default=4, help="pairs a batch, for each process")
    add("--accumulate_gradient_batches", type=int, default=1, help="batches to one optimizer step")
    add("--learning_rate", type=float, help="peak learning rate (default: 1e-5, or 2e-6 with --sd_locked False)")
    add("--lr_schedule", default="constant", choices=("constant", "cosine"), help="cosine falls to a hundredth at --max_steps")
    add("--warmup_steps", type=int, default=0, help="steps in which the learning rate rises")
    add("--prompt_dropout", type=float, default=0.5, help="share of pairs trained without their prompt")
    parser.add_flag("sd_locked", default=True, help="keep the base as it is; False also trains the UNet's decoder")
    parser.add_flag("only_mid_control", default=False, help="control the middle block alone")
    parser.add_seed()


def _add_run(parser: cli.ArgumentParser) -> None:
    add = parser.add_argument
    add("--max_train_time", default="00:12:00:00", help="stop after this time, DD:HH:MM:SS")
    parser.add_flag("save_gpu_memory", default=False, help="recompute activations; 8-bit Adam where bitsandbytes is installed")
    add("--precision", default="auto", choices=("auto", "32", "16", "bf16"), help="auto is bf16 on CUDA and 32 elsewhere")
    add("--num_workers", type=int, default=2, help="processes that read pairs")
    add("--checkpoint_freq", type=int, default=1000, help="steps between checkpoints; the newest is kept")
    add("--resume", nargs="?", const="newest", help="go on from a checkpoint (default: the newest), with its settings")
    parser.add_device()
    parser.add_machines()


def _add_samples(parser: cli.ArgumentParser) -> None:
    add = parser.add_argument
    add("--val_share", type=float, default=0.1, help="share of songs held out for the samples")
    add("--logger_freq", type=int, default=500, help="steps between samples of held-out songs")
    add("--sample_steps", type=int, default=20, help="denoising steps of a sample")


def _settings_of_checkpoint(args: cli.argparse.Namespace) -> Path | None:
    """The settings that a resumed run started with."""
    if args.resume is None:
        return None
    from riff.training.places import RunPlaces, find_checkpoint

    return RunPlaces.of_checkpoint(find_checkpoint(args.log_dir, args.resume)).config


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from riff.training.launch import start_processes
    from riff.training.processes import join_processes

    device = cli.choose_device(args.device)
    status = start_processes(__file__, argv, device, args.devices, args.num_nodes)
    if status is None:
        with join_processes(device) as processes:
            _train(args, device, processes)
    return status or 0


def _train(args: cli.argparse.Namespace, device: str, processes: Any) -> None:
    from riff.files import make_folder
    from riff.models.control import load_control_pipeline, save_control_pipeline
    from riff.models.folders import read_origin
    from riff.sampling.control import SamplingOptions
    from riff.training.control import ControlObjective, held_out_clips, prepare_control_data, train_control
    from riff.training.places import RunPlaces, find_checkpoint
    from riff.training.strategies import check_strategy

    settings = _run_settings(args, device)
    check_strategy(settings.strategy, settings.precision)
    output = args.output or Path("models") / "-".join(["riff-cnet", *filter(None, [args.control_method]), "final"])
    make_folder(output.parent)  # better now than after hours of training
    resume = find_checkpoint(args.log_dir, args.resume) if args.resume else None
    places = RunPlaces.of_checkpoint(resume) if resume else RunPlaces.next(args.log_dir)
    with processes.first_goes_first():
        pipeline = load_control_pipeline(args.model, args.base)
        data = prepare_control_data(args.train_data_dir, args.control_method, pipeline, device, args.val_share)
    processes.say(f"{len(data.training)} pairs to train on, {len(data.held_out)} held out (other songs)")
    origin = read_origin(args.model)
    base = args.base or origin.get("base") or args.model
    objective = ControlObjective(pipeline.unet, pipeline.controlnet, args.prompt_dropout, args.sd_locked, args.only_mid_control)
    step, reason = train_control(
        pipeline,
        objective,
        data,
        _training_options(args),
        places,
        replace(settings, on_start=lambda: cli.write_config(places.config, args)),
        sampling=SamplingOptions(steps=args.sample_steps),
        clips=held_out_clips(data),
        resume=resume,
        processes=processes,
    )
    if not processes.is_first:
        return
    origin |= {"base": base, "steps": step, "version": places.version}
    save_control_pipeline(pipeline, output, origin, args.controlnet_only, half=args.controlnet_only)
    cli.write_manifest(output / "manifest.json", {**vars(args), "base": base}, steps=step, version=places.version)
    print(f"{reason + '; ' if reason else ''}step {step}: {output} (samples in {places.images}, losses in {places.losses})")


def _training_options(args: cli.argparse.Namespace) -> Any:
    from riff.training.options import TrainingOptions

    return TrainingOptions(
        learning_rate=args.learning_rate or (1e-5 if args.sd_locked else 2e-6),
        batch_size=args.batch_size,
        accumulate=args.accumulate_gradient_batches,
        max_steps=args.max_steps,
        warmup_steps=args.warmup_steps,
        schedule=args.lr_schedule,
        save_memory=args.save_gpu_memory,
        eight_bit_adam=args.save_gpu_memory and args.strategy != "fsdp",  # it cannot work on parts
        num_workers=args.num_workers,
        seed=args.seed,
    )


def _run_settings(args: cli.argparse.Namespace, device: str) -> Any:
    from riff.training.run import RunSettings
    from riff.training.stopping import parse_duration

    return RunSettings(
        device=device,
        precision=_precision(args, device),
        max_seconds=parse_duration(args.max_train_time),
        sample_every=args.logger_freq,
        checkpoint_every=args.checkpoint_freq,
        strategy=args.strategy,
    )


def _precision(args: cli.argparse.Namespace, device: str) -> str:
    return ("bf16" if device == "cuda" else "32") if args.precision == "auto" else args.precision


if __name__ == "__main__":
    cli.run(main)
