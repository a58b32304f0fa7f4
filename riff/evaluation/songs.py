"""Clips with known parts from a folder of songs with stems."""

from __future__ import annotations

from pathlib import Path

from riff.audio.stems import StemsFolder
from riff.data.clip_images import to_standard_rate
from riff.data.pairs import PairSettings, usable_clips
from riff.data.records import DEFAULT_PROMPT, prompt_of, read_prompts
from riff.errors import AudioError
from riff.evaluation.control import TrueClip
from riff.spectrogram.params import CLIP_SAMPLES


def clips_of_folder(folder: Path) -> list[TrueClip]:
    """The first clip with a vocal of every song in MUSDB's layout; prompts from `prompt_file.json` if it is there.

    Raises:
        AudioError: no such folder, or no song with a vocal.
    """
    stems = StemsFolder(folder)
    prompts = read_prompts(folder / "prompt_file.json") if (folder / "prompt_file.json").exists() else {}
    clips = []
    for song in sorted(path.name for path in folder.iterdir() if path.is_dir()):
        parts, rate = stems.load(song)
        vocals, accompaniment = (to_standard_rate(part, rate) for part in (parts.vocals, parts.accompaniment))
        mix = vocals + accompaniment
        starts, _ = usable_clips(vocals, mix, PairSettings())
        if starts:
            part = slice(starts[0], starts[0] + CLIP_SAMPLES)
            clips.append(TrueClip(song, prompt_of(song, prompts) or DEFAULT_PROMPT, mix[:, part], accompaniment[:, part]))
    if not clips:
        raise AudioError(f"{folder}: no song there has 5.11 s with a vocal; give a folder of songs that are sung")
    return clips
