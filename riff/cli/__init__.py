"""What every root script shares: flags, the way errors end, progress, and the run manifest."""

import argparse

from riff.cli.ending import EXIT_FAILURE, EXIT_INTERRUPTED, OUT_OF_SPACE, command, quieten_libraries, report, run
from riff.cli.manifest import ROOT, write_config, write_manifest
from riff.cli.numbers import BATCH, DENOISING_STEPS, GUIDANCE, PROCESSES, SEED, SHARE, WORKERS, real, seconds, whole
from riff.cli.parser import ArgumentParser, called_as, choose_device
from riff.cli.progress import MinuteLines, Stopwatch, progress_bar, warn

__all__ = [
    "BATCH",
    "DENOISING_STEPS",
    "EXIT_FAILURE",
    "EXIT_INTERRUPTED",
    "GUIDANCE",
    "OUT_OF_SPACE",
    "PROCESSES",
    "ROOT",
    "SEED",
    "SHARE",
    "WORKERS",
    "ArgumentParser",
    "MinuteLines",
    "Stopwatch",
    "argparse",
    "called_as",
    "choose_device",
    "command",
    "progress_bar",
    "quieten_libraries",
    "real",
    "report",
    "run",
    "seconds",
    "warn",
    "whole",
    "write_config",
    "write_manifest",
]
