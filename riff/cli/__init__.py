"""What every root script shares: flags, the way errors end, progress, and the run manifest."""

import argparse

from riff.cli.ending import EXIT_FAILURE, EXIT_INTERRUPTED, OUT_OF_SPACE, command, item_error, quieten_libraries, report, run
from riff.cli.manifest import ROOT, write_config, write_manifest
from riff.cli.parser import ArgumentParser, called_as, choose_device
from riff.cli.progress import MinuteLines, Stopwatch, progress_bar, warn
from riff.cli.results import FILES_KEY, ResultFolder, check_new_files

__all__ = [
    "EXIT_FAILURE",
    "EXIT_INTERRUPTED",
    "FILES_KEY",
    "OUT_OF_SPACE",
    "ROOT",
    "ArgumentParser",
    "MinuteLines",
    "ResultFolder",
    "Stopwatch",
    "argparse",
    "called_as",
    "check_new_files",
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
