"""The page that the quickstart ends with."""

from __future__ import annotations

import json
from pathlib import Path

from riff.audio.io import read_audio
from riff.experiments.control import EXPERIMENT
from riff.experiments.pages import add_table
from riff.report.report import Report, Take, Version
from riff.training.run_dir import read_losses

SMOOTHED = 10  # steps to a point of the loss curve


def write_page(folder: Path, prompt: str, song: str, num_samples: int) -> Path:
    """Write `folder/index.html` from what the stages left there."""
    report = Report(
        "A new vocal over the same accompaniment",
        f"The song {song}, which no model has seen, and a vocal that a model generated for it. The models are small, were trained "
        "on synthesised songs, and sing no words.",
    )
    whole, original = folder / "whole-song", folder / "song" / f"{song}.wav"
    report.section("The whole song, before and after")
    report.text("Change between the versions while it plays, and listen for whether the new vocal keeps time and key.")
    versions = [
        Version("mix", "a vocal by riff-pix2pix-mini over the accompaniment", whole / "mix.wav"),
        Version("song", "as it was", original),
        Version("accompaniment", "the song without its vocal", whole / "accompaniment.wav"),
        Version("vocal", "the new vocal alone", whole / "vocal.wav"),
    ]
    report.player("the whole song, before and after", versions, read_audio(original).duration_s)
    report.takes([Take("spectrogram of the mix", whole / "overview.png")])
    shipped, fresh = folder / "samples-shipped", folder / "samples-fresh"
    report.section("What the ControlNets are given")
    report.text(
        "5.11 s of the separated accompaniment became an edge map, and two ControlNets on riffusion-mini generated spectrograms "
        f"that follow it, from the prompt: {prompt}."
    )
    report.takes(
        [
            Take("the song", audio=original),
            Take("its accompaniment, separated", shipped / "accompaniment.png", shipped / "accompaniment.wav"),
            Take("the accompaniment's edges: all that the model sees of it", shipped / "control.png"),
        ]
    )
    steps = json.loads((folder / "riff-cnet-fresh" / "manifest.json").read_text())["steps"]
    sections = (
        ("The shipped model, riff-cnet-mini", shipped, "measured-shipped"),
        (f"The model trained just now: {steps} steps, a few minutes' worth", fresh, "measured-fresh"),
    )
    for heading, samples, _ in sections:
        report.section(heading)
        names = [(f"sample-{index}", f"seed {index}") for index in range(num_samples)]
        report.takes([Take(caption, samples / f"{name}.png", samples / f"{name}.wav") for name, caption in names])
        report.takes([Take("accompaniment, edges, sample", samples / "sheet-0.png")])
    report.section("Proof: how well they follow the edges of songs that they have not seen")
    for heading, _, measured in sections:
        report.text(heading)
        results = json.loads((folder / measured / "results.json").read_text())
        arguments = results["arguments"]
        command = f"python tools/evaluate_samples.py --model {arguments['model']} --songs {arguments['songs']}"
        add_table(report, EXPERIMENT, results["means"], command)
    report.section("Training loss")
    report.chart({"loss": _smooth(_losses(folder))}, "step", "noise prediction loss")
    return report.write(folder / "index.html")


def _losses(folder: Path) -> list[tuple[float, float]]:
    """(step, loss) of the newest run."""
    runs = sorted(folder.glob("lightning_logs/version_*/losses.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    return [(line["step"], line["loss"]) for line in read_losses(runs[-1])]


def _smooth(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    groups = [points[start : start + SMOOTHED] for start in range(0, len(points), SMOOTHED)]
    return [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]
