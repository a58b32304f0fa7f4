"""Train the ControlNet that cnet_riff_add_control.py attached, on the pairs that make_cnet_dataset.py made.

    python cnet_riff_training.py --train_data_dir train-data/ --max_steps 100000
    python cnet_riff_training.py --train_data_dir 'train-shards/*.tar' --max_steps 100000 --memory 8
    python cnet_riff_training.py --memory 8 --dry_run
    python cnet_riff_training.py --resume
    python cnet_riff_training.py --train_data_dir train-data/ --max_steps 100000 --devices 4

Latents and text embeddings are computed once and kept beside the pairs, or in the user's cache for those of the hub. Losses,
samples of held-out songs and checkpoints are written to lightning_logs/version_N/ and image_log/version_N/; validation.jsonl
beside losses.jsonl holds the loss on held-out songs and the edge F1 of their samples, which shows when the control takes hold.
The end, --max_train_time and Ctrl-C all leave a pipeline in --output that diffusers' StableDiffusionControlNetPipeline loads,
and SIGTERM a checkpoint; --resume continues exactly where a run stopped. All GPUs of the machine train together, each on
batches of its own: N GPUs train as one with N times the batch would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from riff import cli

if TYPE_CHECKING:
    from riff.training.memory import MemoryLog
    from riff.training.options import TrainingOptions
    from riff.training.processes import Processes
    from riff.training.run import RunSettings


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    _add_places(parser)
    _add_recipe(parser)
    _add_run(parser)
    _add_samples(parser)
    args = parser.parse_with_config(argv, resume=_settings_of_checkpoint)
    from riff.training.run_dir import default_output  # slow to import, and --help does not need it

    return cli.argparse.Namespace(**{**vars(args), "output": args.output or default_output(args.control_method)})


def _add_places(parser: cli.ArgumentParser) -> None:
    parser.heading("data and results")
    add = parser.add_argument
    add(
        "--train_data_dir",
        type=Path,
        default=Path("train-data"),
        help="pairs: a folder; shards that tools/pack_dataset.py made, as 'DIR/*.tar' or 'DIR/pairs-{000000..000031}.parquet'; or "
        "USER/NAME of a data set of shards on the hub",
    )
    add("--control_method", default="", help="name of the control method: reads prompt-METHOD.json, names the result")
    add("--model", default="models/control_riffusion_ini", help="pipeline to train: folder with an attached ControlNet")
    add("--base", help="base of a --model that is a ControlNet alone: hub id, folder, file or mini (default: the one it names)")
    add("--output", type=Path, help="folder for the result (default: models/riff-cnet-final, or riff-cnet-METHOD-final)")
    parser.add_flag("controlnet_only", default=False, help="write the ControlNet alone, in half precision, with its base's name")
    add("--log_dir", type=Path, default=Path("."), help="folder of lightning_logs/ and image_log/")
    parser.add_overwrite("a model in --output; a resumed run replaces its own without")


def _add_recipe(parser: cli.ArgumentParser) -> None:
    parser.heading("training")
    add = parser.add_argument
    schedules = "linear and cosine decay to a hundredth at --max_steps"
    add("--max_steps", type=cli.whole(1), default=100_000, help="total optimizer steps")
    add("--batch_size", type=cli.BATCH, default=4, help="pairs in a batch of one process")
    add("--accumulate_gradient_batches", type=cli.whole(1), default=1, help="batches of an optimizer step")
    add("--learning_rate", type=cli.real(above=0), help="peak learning rate (default: 1e-5, or 2e-6 with --sd_locked False)")
    add("--lr_schedule", default="constant", choices=("constant", "linear", "cosine"), help=schedules)
    add("--warmup_steps", type=cli.whole(0), default=0, help="steps in which the learning rate rises, with every schedule")
    add(
        "--snr_gamma",
        type=cli.real(0),
        default=0.0,
        help="gamma of the loss's min-SNR weight, usually 5; 0 weights all noise levels equally",
    )
    parser.add_flag("use_ema", default=False, help="average the weights over the steps, for samples and the result")
    add("--ema_decay", type=cli.real(0, below=1), default=0.9999, help="of the average; lower for short runs")
    add("--prompt_dropout", type=cli.SHARE, default=0.5, help="share of pairs trained without their prompt")
    parser.add_flag("sd_locked", default=True, help="freeze the base; False also trains the UNet's decoder")
    parser.add_flag("only_mid_control", default=False, help="let the control act on the middle block alone")
    parser.add_seed()


def _add_run(parser: cli.ArgumentParser) -> None:
    add = parser.add_argument
    parser.heading("time")
    add("--max_train_time", default="00:12:00:00", metavar="TIME", help="stop after this time, DD:HH:MM:SS")
    add(
        "--checkpoint_freq",
        type=cli.whole(0),
        default=1000,
        help="steps between checkpoints, of which the newest is kept; 0 writes one at the end alone",
    )
    add(
        "--resume",
        nargs="?",
        const="newest",
        metavar="PATH",
        help="resume from a checkpoint (without PATH: the newest) with its settings",
    )
    parser.add_memory()
    add("--frozen_weights", choices=("32", "half"), help="storage of the base (default: of --memory)")
    parser.add_flag("save_gpu_memory", default=False, help="the same as --memory 12")
    auto = "auto is bf16 on GPUs and CPUs that support it, and where --memory stores weights in it; 32 elsewhere (a T4, a V100)"
    add("--precision", default="auto", choices=("auto", "32", "16", "bf16"), help=auto)
    add("--num_workers", type=cli.WORKERS, default=2, help="data loader processes")
    parser.add_machines()


def _add_samples(parser: cli.ArgumentParser) -> None:
    add = parser.add_argument
    parser.add_held_out()
    add(
        "--logger_freq",
        type=cli.whole(0),
        default=500,
        help="steps between samples of held-out songs, and their edge F1; 0 is never",
    )
    parser.add_logger(project="riff-cnet")


def _settings_of_checkpoint(args: cli.argparse.Namespace) -> Path | None:
    """The configuration file of the run to resume."""
    if args.resume is None:
        return None
    from riff.training.run_dir import RunDir, find_checkpoint

    return RunDir.of_checkpoint(find_checkpoint(args.log_dir, args.resume)).config


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    _check_model(args.model)
    from riff.training.launch import start_processes
    from riff.training.processes import join_processes

    device = cli.choose_device(args.device)
    if args.dry_run:
        _print_plan(args, device)
        return 0
    status = start_processes(__file__, argv, device, args.devices, args.num_nodes)
    if status is None:
        with join_processes(device) as processes:
            _train(args, device, processes)
    return status or 0


def _check_model(model: str) -> None:
    from riff.errors import ModelError
    from riff.models.sources import looks_like_path

    if looks_like_path(model) and not Path(model).exists():
        raise ModelError(
            f"--model {model}: no such folder; make it with cnet_riff_add_control.py, which attaches a ControlNet to a base"
        )


def _print_plan(args: cli.argparse.Namespace, device: str) -> None:
    from riff.models.loading import load_control_pipeline, read_configs
    from riff.training.prediction import control_on_meta, peak_text, plan_text, predict_peak

    options, precision, preset = _training_options(args, device)
    model = "" if args.base else args.model  # with another base, the folder's UNet configuration does not hold
    configs = read_configs(model, ("unet", "vae", "controlnet"), lambda: load_control_pipeline(args.model, args.base))
    objective = control_on_meta(configs, sd_locked=args.sd_locked, only_mid_control=args.only_mid_control)
    print(plan_text(preset, options.savings, precision, objective.models), flush=True)
    print(peak_text(predict_peak(objective, configs, options, precision), args.batch_size))


def _train(args: cli.argparse.Namespace, device: str, processes: Processes) -> None:
    from riff.inspection.prompt_stats import low_variety
    from riff.models.folders import check_output, save_pipeline
    from riff.models.loading import load_control_pipeline
    from riff.models.sources import read_origin
    from riff.sampling.options import SamplingOptions
    from riff.training.control import ControlObjective, control_samples, held_out_clips, prepare_control_data
    from riff.training.loggers import check_loggers
    from riff.training.prediction import MemoryWatch, control_on_meta
    from riff.training.run import kept_by_checkpoint
    from riff.training.run_dir import RunDir, find_checkpoint
    from riff.training.train import train
    from riff.training.validation import FigureLog

    options, precision, preset = _training_options(args, device)
    watch = MemoryWatch(device, preset)
    settings = _run_settings(args, device, precision, watch.log)
    resume = processes.from_first(lambda: find_checkpoint(args.log_dir, args.resume, cli.warn) if args.resume else None)
    if processes.is_first:  # before hours of training, not after
        check_loggers(args.logger)
        version = RunDir.of_checkpoint(resume).version if resume else None
        logs = RunDir(args.log_dir, 0)
        beside, inputs = (logs.path, logs.images), (args.model, args.base)
        replaces = check_output(args.output, "--output", args.overwrite, inputs=inputs, beside=beside, version=version)

    with processes.first_goes_first():
        pipeline = load_control_pipeline(args.model, args.base)
        data = prepare_control_data(args.train_data_dir, args.control_method, pipeline, device, args.val_share)
    processes.print(f"{len(data.training)} pairs to train on, {len(data.held_out)} held out (other songs)")
    few_prompts = low_variety([pair.prompt for pair in data.training], [pair.song for pair in data.training])
    if few_prompts and processes.is_first:
        cli.warn(f"{few_prompts}; describe every song in the --prompt_file of make_cnet_dataset.py and make the pairs again")

    objective = ControlObjective(pipeline.unet, pipeline.controlnet, args.prompt_dropout, args.sd_locked, args.only_mid_control)
    if processes.is_first:
        configs = {name: getattr(pipeline, name).config for name in ("unet", "vae", "controlnet")}
        scope = {"sd_locked": args.sd_locked, "only_mid_control": args.only_mid_control}
        watch.predict(lambda: control_on_meta(configs, **scope), configs, options, settings)

    run_dir = RunDir.of_checkpoint(resume) if resume else processes.from_first(lambda: RunDir.claim(args.log_dir))
    settings = replace(settings, on_start=lambda: cli.write_config(run_dir.config, args))
    figures, sampling = FigureLog(run_dir.validation), SamplingOptions(steps=args.sample_steps)
    samples = control_samples(pipeline, held_out_clips(data), sampling, run_dir.images, figures, settings.sample_every, args.seed)
    step, reason = train(pipeline, objective, data, options, run_dir, settings, figures, samples, resume, processes)
    if not processes.is_first:
        return

    origin = read_origin(args.model)
    base = args.base or origin.get("base") or args.model
    origin |= {"base": base, "steps": step, "version": run_dir.version}
    arguments, memory = {**vars(args), "base": base}, watch.report()
    with kept_by_checkpoint(run_dir, settings):
        save_pipeline(pipeline, args.output, origin, args.controlnet_only, half=args.controlnet_only, replaces=replaces)
        cli.write_manifest(args.output / "manifest.json", arguments, steps=step, version=run_dir.version, memory=memory)
    print(f"{reason + '; ' if reason else ''}step {step}: {args.output} (samples in {run_dir.images}, losses in {run_dir.path})")


def _training_options(args: cli.argparse.Namespace, device: str) -> tuple[TrainingOptions, str, str]:
    """The options of a step, its precision, and the memory preset."""
    from riff.training.memory import choose_preset, choose_savings
    from riff.training.options import TrainingOptions

    preset = choose_preset(args.memory, args.save_gpu_memory, device)
    chosen = {
        "checkpointing": args.gradient_checkpointing,
        "frozen": args.frozen_weights,
        "trained": args.trained_weights,
        "moments": args.optimizer_state,
    }
    precision = None if args.precision == "auto" else args.precision
    savings, precision = choose_savings(preset, chosen, precision, device, averaged=args.use_ema)
    options = TrainingOptions(
        learning_rate=_learning_rate(args),
        batch_size=args.batch_size,
        accumulate=args.accumulate_gradient_batches,
        max_steps=args.max_steps,
        warmup_steps=args.warmup_steps,
        schedule=args.lr_schedule,
        snr_gamma=args.snr_gamma,
        ema_decay=args.ema_decay if args.use_ema else 0.0,
        savings=savings,
        compile=args.compile,
        num_workers=args.num_workers,
        seed=args.seed,
    )
    return options, precision, preset


def _learning_rate(args: cli.argparse.Namespace) -> float:
    return (1e-5 if args.sd_locked else 2e-6) if args.learning_rate is None else args.learning_rate


def _run_settings(args: cli.argparse.Namespace, device: str, precision: str, memory_log: MemoryLog) -> RunSettings:
    from riff.training.run import RunSettings, stability_flags
    from riff.training.stopping import parse_duration

    return RunSettings(
        device=device,
        precision=precision,
        max_seconds=parse_duration(args.max_train_time),
        sample_every=args.logger_freq,
        checkpoint_every=args.checkpoint_freq,
        validate_every=args.val_freq,
        validation_images=args.val_pictures,
        command=cli.called_as(),
        lower_rate=f"--learning_rate {_learning_rate(args) / 10:g}",
        suggestions=stability_flags(precision, "--precision", "32", "--warmup_steps"),
        loggers=args.logger,
        project=args.wandb_project,
        callbacks=(memory_log,),
    )


if __name__ == "__main__":
    main()
