"""What every root script shares: flags, the way errors end, progress, and the run manifest."""

import argparse

from riff.cli.ending import EXIT_FAILURE, EXIT_INTERRUPTED, OUT_OF_SPACE, command, item_error, quieten_libraries, report, run
from riff.cli.manifest import ROOT, write_config, write_manifest
from riff.cli.parser import ArgumentParser, called_as, choose_device
from riff.cli.progress import MinuteLines, Stopwatch, progress_bar, warn

__all__ = [
    "EXIT_FAILURE",
    "EXIT_INTERRUPTED",
    "OUT_OF_SPACE",
    "ROOT",
    "ArgumentParser",
    "MinuteLines",
    "Stopwatch",
    "argparse",
    "called_as",
    "choose_device",
    "command",
    "item_error",
    "progress_bar",
    "quieten_libraries",
    "report",
    "run",
    "warn",
    "write_config",
    "write_manifest",
]
