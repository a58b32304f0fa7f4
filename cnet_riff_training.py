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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from riff import cli
from riff.cli.errors import REPLACE, named_flag, naming
from riff.errors import ExistsError, OptionError
from riff.training import flags

if TYPE_CHECKING:
    from riff.training.control import ControlSettings
    from riff.training.processes import Processes


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    _add_data(parser)
    _add_recipe(parser)
    _add_run(parser)
    parser.add_machines()
    flags.add_samples(parser, "steps between samples of held-out songs, and their edge F1; 0 is never")
    parser.add_logger(project="riff-cnet")
    args = parser.parse_with_config(argv, resume=_config_of_checkpoint)
    if args.lora_rank and args.base:
        raise OptionError("--lora_rank: adapters belong to one model, --model; leave --base out")
    return args


def _add_data(parser: cli.ArgumentParser) -> None:
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
    folder = "folder for the result (default: models/riff-cnet-final, or riff-cnet-METHOD-final)"
    part = "write the ControlNet alone, in half precision, with its base's name"
    flags.add_results(parser, None, folder, "controlnet_only", part)


def _add_recipe(parser: cli.ArgumentParser) -> None:
    parser.heading("training")
    flags.add_learning_rate(parser, None, "peak learning rate (default: 1e-5, with --sd_locked False 2e-6, of adapters 1e-4)")
    flags.add_loss(parser, snr_gamma=0.0)
    parser.add_argument("--prompt_dropout", type=cli.SHARE, default=0.5, help="share of pairs trained without their prompt")
    parser.add_flag("sd_locked", default=True, help="freeze the base; False also trains the UNet's decoder")
    parser.add_flag("only_mid_control", default=False, help="let the control act on the middle block alone")
    parser.add_seed()


def _add_run(parser: cli.ArgumentParser) -> None:
    add = parser.add_argument
    parser.heading("time")
    flags.add_time(parser, 100_000, "total optimizer steps", "00:12:00:00", checkpoint_every=1000)
    resume = "resume from a checkpoint, or without PATH from the newest, with its settings"
    add("--resume", nargs="?", const="newest", metavar="PATH", help=resume)
    flags.add_batches(parser, workers=2)
    parser.add_memory()
    add("--frozen_weights", choices=("32", "half"), help="storage of the base (default: of --memory)")
    parser.add_flag("save_gpu_memory", default=False, help="the same as --memory 12")
    auto = "auto is bf16 on GPUs and CPUs that support it, and where --memory stores weights in it; 16 on a T4 or V100, else 32"
    flags.add_precision(parser, auto)


@naming(**flags.NAMES)
def _config_of_checkpoint(args: cli.argparse.Namespace) -> Path | None:
    """The configuration file of the run to resume."""
    if args.resume is None:
        return None
    from riff.training.run_dir import RunDir, find_checkpoint

    return RunDir.of_checkpoint(find_checkpoint(args.log_dir, args.resume)).config


def read_settings(args: cli.argparse.Namespace) -> ControlSettings:
    from riff.training.control import ControlSettings
    from riff.training.run_dir import default_output

    default_rate = 1e-4 if args.lora_rank else 1e-5 if args.sd_locked else 2e-6
    shared = flags.read(
        args,
        output=args.output or default_output(args.control_method),
        learning_rate=default_rate if args.learning_rate is None else args.learning_rate,
        precision=None if args.precision == "auto" else args.precision,
        frozen=args.frozen_weights,
        moments=args.optimizer_state,
        save_memory=args.save_gpu_memory,
    )
    own = ("model", "base", "control_method", "prompt_dropout", "sd_locked", "only_mid_control")
    return ControlSettings(
        **shared, pairs=args.train_data_dir, part_only=args.controlnet_only, **{name: getattr(args, name) for name in own}
    )


@cli.command
@naming(**flags.NAMES)
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from riff.data.records import CONTROL_PAIRS

    remedy = "make it with cnet_riff_add_control.py, which attaches a ControlNet to a base"
    flags.check_inputs(args.model, remedy, None if args.dry_run else args.train_data_dir, CONTROL_PAIRS)
    from riff.training.launch import run_in_processes

    settings = read_settings(args)
    if args.dry_run:
        _print_plan(settings)
        return 0
    train = partial(_train, settings)
    return run_in_processes(__file__, argv, settings.device, settings.devices, settings.num_nodes, train)


def _print_plan(settings: ControlSettings) -> None:
    from riff.models.loading import load_control_pipeline, read_configs
    from riff.training.control import control_on_meta
    from riff.training.prediction import print_plan

    model = "" if settings.base else settings.model  # with another base, the folder's UNet configuration does not hold
    load = partial(load_control_pipeline, settings.model, settings.base)
    configs = read_configs(model, ("unet", "vae", "controlnet"), load)
    print_plan(control_on_meta(configs, **settings.scope), configs, settings)


@named_flag("", ExistsError, REPLACE)
@naming(**flags.NAMES)
def _train(settings: ControlSettings, processes: Processes) -> None:
    from riff.inspection.prompt_stats import low_variety
    from riff.models.loading import load_control_pipeline
    from riff.models.sources import read_origin
    from riff.training.control import ControlObjective, control_on_meta, control_samples, held_out_clips, prepare_control_data
    from riff.training.run import TrainingRun
    from riff.training.run_dir import find_checkpoint

    def checkpoint() -> Path | None:
        return find_checkpoint(settings.log_dir, settings.resume, cli.warn) if settings.resume else None

    run = TrainingRun(settings, processes, checkpoint, inputs=(settings.model, settings.base))
    with processes.first_goes_first():
        pipeline = load_control_pipeline(settings.model, settings.base)
        data = prepare_control_data(settings.pairs, settings.control_method, pipeline, settings.device, settings.val_share)
    processes.print(f"{len(data.training)} pairs to train on, {len(data.held_out)} held out (other songs)")
    few_prompts = low_variety([pair.prompt for pair in data.training], [pair.song for pair in data.training])
    if few_prompts and processes.is_first:
        cli.warn(f"{few_prompts}; describe every song in the --prompt_file of make_cnet_dataset.py and make the pairs again")

    objective = ControlObjective(pipeline.unet, pipeline.controlnet, settings.prompt_dropout, **settings.scope)
    samples = partial(control_samples, pipeline, held_out_clips(data), settings)
    run.train(pipeline, objective, data, partial(control_on_meta, **settings.scope), samples)

    origin = read_origin(settings.model)
    run.save(pipeline, settings.model, settings.base or origin.get("base") or settings.model, origin)


if __name__ == "__main__":
    main()
