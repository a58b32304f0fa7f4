"""A take that plays on the page while it is generated: its pieces for the browser, and settings that change meanwhile."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from riff.app.cards import clock
from riff.app.engine import TakeRequest
from riff.app.songs import Part
from riff.app.takes import IN_CAPTION, PREVIEW
from riff.audio.io import write_audio
from riff.errors import RiffError
from riff.sampling.mixback import Mix
from riff.sampling.stream import Piece, joined

LIVE_STEPS = 4  # denoising steps at most on a CPU, which then generates faster than it plays
SETTLED_S = 1.0  # after the last change settings are taken over: not every letter of a prompt is a prompt
STEERED = ("prompt", "negative_prompt", "scale", "strength", "image_scale", "guess_mode", "melody", "melody_strength", "notes")


class LiveTake:
    """Pieces and settings of such a take.

    Args:
        folder: for the pieces, one file each; those of the take before are deleted.
        request: with its own seed.

    Attributes:
        request: the settings of what is generated now. changes: of the settings so far, for display.
        error: why the last change of the settings was not possible.
    """

    def __init__(self, folder: Path, part: Part, request: TakeRequest) -> None:
        self.part, self.request, self.changes = part, request, list[str]()
        self.error: RiffError | None = None
        self._wanted, self._wanted_since = request, 0.0
        self._folder, self._id = folder, secrets.token_hex(4)
        self._pieces: list[Piece] = []
        self._files: list[Path] = []
        for old in folder.glob("piece-*"):
            old.unlink()

    @property
    def mix(self) -> Mix:
        """All pieces so far."""
        return joined(self._pieces)

    def add(self, piece: Piece) -> None:
        """Write the file of the next piece."""
        self._pieces.append(piece)
        if piece.mix.mix.size:
            self._files.append(self._folder / f"piece-{self._id}-{len(self._files)}.flac")
            write_audio(self._files[-1], piece.mix.mix, piece.mix.sample_rate, PREVIEW)

    def value(self, url: Callable[[Path], str]) -> str:
        """Value of static/live.js."""
        return json.dumps({"id": self._id, "seconds": self.part.song.duration_s, "pieces": [url(path) for path in self._files]})

    def delete(self) -> None:
        """Delete the pieces' files."""
        for path in self._files:
            path.unlink(missing_ok=True)

    def want(self, settings: TakeRequest) -> None:
        """Ask for other settings, of which those in `STEERED` count."""
        wanted = replace(self.request, **{name: getattr(settings, name) for name in STEERED})
        if wanted != self._wanted:
            self._wanted, self._wanted_since = wanted, time.monotonic()

    def follow(self, steer: Callable[[TakeRequest], object]) -> None:
        """Call `steer` with settings that are asked for and not followed yet. Where it fails those before stay."""
        wanted, before = self._wanted, self.request
        if wanted == before or time.monotonic() - self._wanted_since < SETTLED_S:
            return
        try:
            steer(wanted)
        except RiffError as error:
            self._wanted, self.error = before, error
            return
        changed = [name for name in STEERED if getattr(wanted, name) != getattr(before, name)]
        values = [name.replace("_", " ") + ("" if name in IN_CAPTION else f" {getattr(wanted, name)}") for name in changed]
        start, mix = self._pieces[-1].start, self._pieces[-1].mix
        end_s = self.part.region.start_s + (start + mix.mix.shape[1]) / mix.sample_rate
        self.changes.append(f"from {clock(end_s)} on: {', '.join(values)}")
        self.request = wanted
