"""The bytes of large files on their way to the hub: counted, and shown on a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from huggingface_hub import CommitOperationAdd, constants
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
from huggingface_hub.utils.logging import set_verbosity_error
from tqdm import tqdm


class Transfer:
    """One progress bar for all files that are sent, on a terminal alone.

    Where files go by the hub's newer protocol (hf_xet), the library shows bars of its own, and nothing is counted.

    Attributes:
        sent: bytes of large files that went over the wire, None where that is not known.
    """

    def __init__(self) -> None:
        self.sent = None if find_spec("hf_xet") and not constants.HF_HUB_DISABLE_XET else 0
        self._lock = threading.Lock()  # several files are sent at a time
        self._bar: Any = None

    def __enter__(self) -> Transfer:
        quiet = are_progress_bars_disabled() or not sys.stderr.isatty()
        if not quiet and self.sent is not None:
            self._bar = tqdm(desc="uploading", unit="B", unit_scale=True, total=0, leave=False)
        if quiet or self.sent is not None:
            disable_progress_bars()
        set_verbosity_error()  # what goes wrong for good is said once, by whoever catches it
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def expect(self, size: int) -> None:
        """So many bytes are about to go."""
        with self._lock:
            if self._bar is not None:
                self._bar.total += size

    def count(self, size: int) -> None:
        """So many bytes went."""
        with self._lock:
            self.sent = (self.sent or 0) + size
            if self._bar is not None:
                self._bar.update(size)


class CountedAdd(CommitOperationAdd):
    """A file that goes up, whose bytes are counted as they go."""

    def __init__(self, path: str, content: Path | bytes, transfer: Transfer) -> None:
        super().__init__(path, content)
        self._transfer = transfer

    @contextmanager
    def as_file(self, with_tqdm: bool = False) -> Iterator[BinaryIO]:
        """As the library's, which asks for a bar exactly where it sends the file."""
        with super().as_file() as file:
            if with_tqdm:
                self._transfer.expect(self.upload_info.size)
                read = file.read

                def counted(size: int = -1) -> bytes:
                    block = read(size)
                    self._transfer.count(len(block))
                    return block

                file.read = counted  # type: ignore[method-assign]
            yield file
