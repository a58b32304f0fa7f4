"""How often is an edit performed, by training recipe? Each ingredient's share by leaving it out.

    python demo/make_songs.py --num_songs 700 --seconds 11 --seed 1 --edit_prompts 6 --output outputs/control-songs
    python benchmarks/edit_recipes.py --songs_dir outputs/control-songs --steps 2000 --recipes ours predecessor
    python benchmarks/edit_recipes.py --songs_dir outputs/control-songs --steps 800

Trains every recipe for the same steps on the same songs with train_instruct_pix2pix.py, measures each with
tools/evaluate_samples.py on songs that none saw, and prints one table. What is done already is not done again. --recipes
takes some of them: two calls with different ones share the work of two cores (OMP_NUM_THREADS=1). The recipe `predecessor` is
that of riff-pix2pix's README and inference script: one wording, the whole mix as target, the example's dropout and fresh bias,
scales 1.5 and 10.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from riff import cli

PLAIN = ("--snr_gamma", "0")
AVERAGE = (*PLAIN, "--use_ema", "--ema_decay", "0.999")
COLUMNS = (
    "edited",
    "performed",
    "backing_kept",
    "grey_levels",
    "chroma_cosine",
    "onset_correlation",
    "register_obeyed",
    "nearest_training",
)


@dataclass(frozen=True)
class Recipe:
    """target: of the pairs, mix or vocals. kinds: of edits in them. one_wording: every instruction in the same words.
    flags: of training. scales: image and text guidance, None for --scales. trained_as: the recipe whose model is sampled."""

    target: str = "vocals"
    kinds: tuple[str, ...] = ("add", "remove", "noop")
    one_wording: bool = False
    flags: tuple[str, ...] = AVERAGE
    scales: tuple[float, float] | None = None
    trained_as: str | None = None

    @property
    def data(self) -> str:
        return "-".join([self.target, *self.kinds, "one-wording" if self.one_wording else "varied"])


OURS = Recipe()
RECIPES = {
    "predecessor": Recipe("mix", ("add",), True, (*PLAIN, "--conditioning_dropout_prob", "0.05", "--no-copy_bias"), (1.5, 10.0)),
    "predecessor, our scales": Recipe("mix", ("add",), True, trained_as="predecessor"),
    "ours": OURS,
    "ours, the mix as target": replace(OURS, target="mix"),
    "ours, without no-op pairs": replace(OURS, kinds=("add",)),
    "ours, one wording": replace(OURS, one_wording=True),
    "ours, joint dropout": replace(OURS, flags=(*AVERAGE, "--text_dropout", "0", "--image_dropout", "0", "--both_dropout", "0.05")),
    "ours, with min-SNR": replace(OURS, flags=(*AVERAGE, "--snr_gamma", "5")),
    "ours, without average": replace(OURS, flags=PLAIN),
    "ours, fresh bias": replace(OURS, flags=(*AVERAGE, "--no-copy_bias")),
}


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--songs_dir", type=Path, default=Path("outputs/control-songs"), help="songs with stems, prompt files, to train on")
    add("--recipes", nargs="+", default=list(RECIPES), choices=tuple(RECIPES), help="those to train and measure")
    add("--steps", type=cli.whole(1), default=800, help="training steps of 8 pairs")
    add("--songs", default="demo:24", help="tools/evaluate_samples.py --songs")
    add(
        "--scales",
        type=cli.GUIDANCE,
        nargs=2,
        default=(1.0, 3.0),
        help="image and text guidance of all recipes but the predecessor's",
    )
    add("--work", type=Path, default=Path("outputs/edit-recipes"), help="pairs, models and evaluations")
    add("--output", type=Path, help="where the figures go (default: benchmarks/results/edit_recipes_STEPS.json)")
    args = parser.parse_args(argv)
    args.output = args.output or Path(f"benchmarks/results/edit_recipes_{args.steps}.json")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    for name in args.recipes:
        make_pairs(args, RECIPES[name])
        train(args, name)
        evaluate(args, name)
    found = {name: results(args, name) for name in RECIPES if (folder(args, name) / "evaluation" / "results.json").exists()}
    width = max(map(len, found)) + 2
    print(" " * width + "".join(f"{column:>{len(column) + 2}}" for column in COLUMNS))
    for name, means in found.items():
        print(f"{name:{width}}" + "".join(f"{means['add'].get(c, float('nan')):{len(c) + 2}.3f}" for c in COLUMNS))
    cli.write_manifest(args.output, vars(args), results=found)


def make_pairs(args: cli.argparse.Namespace, recipe: Recipe) -> None:
    """All pairs of a target are made once; a recipe's own are links to those it takes, with its wording."""
    made = args.work / "pairs" / recipe.target
    script(
        "preprocess_musdb.py",
        *(["--with_noop"] if recipe.target == "vocals" else ["--with_noop", "--with_removal"]),
        root_data_dir=args.songs_dir,
        output_dir=made,
        target=recipe.target,
        prompt_filepath=args.songs_dir / "edit_prompts.json",
    )
    own = args.work / "pairs" / recipe.data
    if own.exists():
        return
    from riff.files import atomic_folder

    with atomic_folder(own) as temporary:
        for name in ("input_image", "edited_image"):
            shutil.copytree(made / name, temporary / name, copy_function=os.link)
        shutil.copy(made / "manifest.json", temporary)
        (made / ".cache").mkdir(exist_ok=True)
        (temporary / ".cache").symlink_to((made / ".cache").resolve())
        lines = chosen_records(made / "metadata.jsonl", recipe, args.songs_dir / "prompt_file.json")
        (temporary / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def chosen_records(file: Path, recipe: Recipe, prompts: Path) -> Iterator[dict[str, Any]]:
    """The records of a recipe's kinds; with one wording, additions are "add" and the vocal of the song's prompt."""
    of_song = {Path(line["file"]).stem: line["prompt"] for line in map(json.loads, prompts.read_text().splitlines())}
    for record in map(json.loads, file.read_text().splitlines()):
        if record["kind"] in recipe.kinds:
            if recipe.one_wording and record["kind"] == "add":
                record["edit_prompt"] = of_song[record["song"]].replace("Generate", "add")
            yield record


def train(args: cli.argparse.Namespace, name: str) -> None:
    recipe, place = RECIPES[name], folder(args, name)
    if recipe.trained_as or (place / "model").exists():
        return
    script(
        "train_instruct_pix2pix.py",
        "--unet_only",
        *recipe.flags,
        pretrained_model_name_or_path="mini",
        train_data_dir=args.work / "pairs" / recipe.data,
        output_dir=place / "model",
        logging_dir=place,
        train_batch_size=8,
        max_train_steps=args.steps,
        learning_rate=8e-4,
        lr_scheduler="cosine",
        lr_warmup_steps=50,
        mixed_precision="bf16",
        val_share=0.01,
        validation_steps=2000,
        num_validation_images=2,
        checkpointing_steps=1000,
        resume_from_checkpoint="latest",
    )


def evaluate(args: cli.argparse.Namespace, name: str) -> None:
    recipe, place = RECIPES[name], folder(args, name)
    image_scale, text_scale = recipe.scales or args.scales
    if (place / "evaluation" / "results.json").exists():
        return
    script(
        "tools/evaluate_samples.py",
        experiment="edit",
        model=folder(args, recipe.trained_as or name) / "model",
        songs=args.songs,
        image_scale=image_scale,
        scale=text_scale,
        train_data_dir=args.work / "pairs" / recipe.data,
        output=place / "evaluation",
    )


def results(args: cli.argparse.Namespace, name: str) -> dict[str, Any]:
    return dict(json.loads((folder(args, name) / "evaluation" / "results.json").read_text())["means"])


def folder(args: cli.argparse.Namespace, name: str) -> Path:
    return Path(args.work) / f"{args.steps}-steps" / name.replace(", ", "-").replace(" ", "-")


def script(name: str, *flags: str, **values: object) -> None:
    root = Path(__file__).parent.parent
    pairs = [text for flag, value in values.items() for text in (f"--{flag}", str(value))]
    subprocess.run([sys.executable, root / name, *flags, *pairs], check=True)


if __name__ == "__main__":
    cli.run(main)
