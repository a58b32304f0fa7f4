"""What the scripts share: flags, exit statuses, progress, result folders and manifests."""

import argparse

from riff.cli.ending import EXIT_FAILURE, EXIT_INTERRUPTED, command, item_error, quieten_libraries, report, run, status_of
from riff.cli.manifest import ROOT, write_config, write_manifest
from riff.cli.numbers import BATCH, DENOISING_STEPS, GUIDANCE, PROCESSES, SEED, SHARE, WORKERS, real, seconds, times, whole
from riff.cli.parser import SEPARATORS, ArgumentParser, called_as
from riff.cli.progress import MinuteLines, Stopwatch, progress_bar, stdout_for_player, warn
from riff.cli.results import FILES_KEY, ResultFolder, check_new_files
from riff.cli.vocabulary import OLDER_NAMES, with_current_names
from riff.files import OUT_OF_SPACE
