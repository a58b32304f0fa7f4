"""The worker process of `riff.separation.spleeter_tf`: Spleeter in its own environment, one song after another.

Run by that environment's Python (3.8 to 3.11), so it imports nothing of riff.

    stdin, for each song:  {"samples": N} and a newline, then N x 2 float32
    stdout, for each song: {"stems": [NAME, ...]} and a newline, then N x 2 float32 for each name
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from typing import BinaryIO

BYTES_PER_SAMPLE = 2 * 4


def main(configuration: str) -> None:
    # TensorFlow and Spleeter print to stderr; only answers go to stdout.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # A script's own folder is searched first, and this one's modules are not for its environment.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path = [folder for folder in sys.path if os.path.abspath(folder) != here]
    songs: queue.Queue[tuple[int, bytes]] = queue.Queue()
    threading.Thread(target=read_songs, args=(sys.stdin.buffer, songs), daemon=True).start()
    try:
        separate_songs(configuration, songs, answers)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # a normal exit would abort because of the thread that waits for stdin


def read_songs(stdin: BinaryIO, songs: queue.Queue[tuple[int, bytes]]) -> None:
    """Read ahead of the separation, so that the end of stdin, when the parent closes it or dies, is noticed while it runs."""
    while header := stdin.readline():
        samples = json.loads(header)["samples"]
        body = stdin.read(samples * BYTES_PER_SAMPLE)
        if len(body) < samples * BYTES_PER_SAMPLE:
            break
        songs.put((samples, body))
    os._exit(0)  # the only way to end a process whose main thread is inside TensorFlow


def separate_songs(configuration: str, songs: queue.Queue[tuple[int, bytes]], answers: BinaryIO) -> None:
    import numpy as np
    from spleeter.separator import Separator

    separator = Separator(configuration, multiprocess=False)
    while True:
        samples, body = songs.get()
        stems = separator.separate(np.frombuffer(body, np.float32).reshape(samples, 2))
        wrong = [name for name, data in stems.items() if data.shape != (samples, 2)]
        if wrong:
            raise RuntimeError(f"Spleeter gave {stems[wrong[0]].shape} of {wrong[0]} for {samples} stereo samples")
        answers.write(json.dumps({"stems": list(stems)}).encode() + b"\n")
        for data in stems.values():
            answers.write(np.ascontiguousarray(data, np.float32).tobytes())
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
