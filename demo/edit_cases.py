"""Pairs of spectrogram images of known verdict: what must count as an added vocal, and what must not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from demo.evaluation import SONG_SECONDS, START
from demo.song import Song
from demo.world.compose import compose
from riff.spectrogram.image import combine_images, mel_to_image, waveform_to_image
from riff.spectrogram.mel import magnitude_to_mel, top_frequency, waveform_to_magnitude
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

EDITS = ("true mix", "true mix, autoencoded", "backing and vocal images combined")
WRONG_VOCAL, WRONG_BASS = "another song's vocal added", "another song's bass added"  # an edit, if no one asks whether it fits
QUIET_EDIT = "true mix, vocal 6 dB down"
NO_EDITS = (
    "untouched",
    "autoencoded",
    "1 % noise",
    "2 dB louder",
    "a semitone up",
    "two semitones down",
    "another song's drums added",
    "another song's chords added",
    "white noise added",
    "an image of noise",
    "another song",
)
REMOVALS = ("vocal removed", "vocal removed, autoencoded")
NO_REMOVALS = ("mix untouched", "mix autoencoded")


@dataclass(frozen=True)
class EditCase:
    """before, after: uint8, shape (512, 512). removal: whether the edit is to remove a vocal instead of adding one."""

    kind: str
    before: np.ndarray
    after: np.ndarray
    removal: bool = False


@dataclass(frozen=True)
class CasedClip:
    """A clip with all its cases, the singer's register, and the vocal's own image."""

    name: str
    gender: str
    vocal: np.ndarray
    cases: list[EditCase]


def additions(catalogue: int, count: int) -> Iterator[list[EditCase]]:
    """The true vocal, and the next song's parts, each over a clip's accompaniment, of the first `count` songs."""
    following = _parts(compose(catalogue, 0, SONG_SECONDS))
    for index in range(count):
        parts, following = following, _parts(compose(catalogue, index + 1, SONG_SECONDS))
        backing = _backing(parts)
        before = _image(backing).pixels
        added = {
            "true mix": parts["vocals"],
            WRONG_VOCAL: following["vocals"],
            WRONG_BASS: following["bass"],
            "another song's chords added": _at_level(following["other"], backing),
            "another song's drums added": following["drums"],
        }
        yield [EditCase(kind, before, _image(backing + part).pixels) for kind, part in added.items()]


def edit_cases(catalogue: int, count: int, autoencode: Callable[[np.ndarray], np.ndarray]) -> Iterator[CasedClip]:
    """One clip of each of the first `count` songs of a catalogue, with the next song's parts to add.

    Args:
        autoencode: uint8 (512, 512) -> uint8, a model's autoencoder there and back.
    """
    song = compose(catalogue, 0, SONG_SECONDS)
    for index in range(count):
        following = compose(catalogue, index + 1, SONG_SECONDS)
        yield _cased(song, following, autoencode, np.random.default_rng([catalogue, index]))
        song = following


def _cased(song: Song, other: Song, autoencode: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> CasedClip:
    parts, other_parts = _parts(song), _parts(other)
    vocal, backing = parts["vocals"], _backing(parts)
    level = _rms(backing)
    mix, alone, voice = (_image(wave) for wave in (backing + vocal, backing, vocal))
    untouched = alone.pixels
    images = {
        "true mix": mix.pixels,
        "true mix, autoencoded": autoencode(mix.pixels),
        "backing and vocal images combined": combine_images(alone, voice).pixels,
        QUIET_EDIT: _image(backing + 0.5 * vocal).pixels,
        "untouched": untouched,
        "autoencoded": autoencode(untouched),
        "1 % noise": _image(backing + 0.01 * np.abs(backing).max() * rng.standard_normal(CLIP_SAMPLES)).pixels,
        "2 dB louder": mel_to_image(_mel(backing) * 10 ** (2 / 20), max_value=alone.max_value).pixels,
        "a semitone up": mel_to_image(_mel(backing, 1)).pixels,
        "two semitones down": mel_to_image(_mel(backing, -2)).pixels,
        "another song's drums added": _image(backing + other_parts["drums"]).pixels,
        "another song's chords added": _image(backing + _at_level(other_parts["other"], backing)).pixels,
        "white noise added": _image(backing + 0.5 * level * rng.standard_normal(CLIP_SAMPLES)).pixels,
        "an image of noise": rng.integers(0, 256, untouched.shape, dtype=np.uint8),
        "another song": _image(sum(other_parts.values())).pixels,
    }
    cases = [EditCase(kind, untouched, after) for kind, after in images.items()]
    removals = {
        "vocal removed": untouched,
        "vocal removed, autoencoded": images["autoencoded"],
        "mix untouched": mix.pixels,
        "mix autoencoded": images["true mix, autoencoded"],
    }
    cases += [EditCase(kind, mix.pixels, after, removal=True) for kind, after in removals.items()]
    return CasedClip(song.name, str(song.facts["gender"]), voice.pixels, cases)


def _image(wave):  # type: ignore[no-untyped-def]
    return waveform_to_image(torch.from_numpy(wave.astype(np.float32)))


def _mel(wave: np.ndarray, semitones: float = 0.0) -> torch.Tensor:
    magnitude = waveform_to_magnitude(torch.from_numpy(wave.astype(np.float32)), STANDARD, top_frequency(STANDARD, semitones))
    return magnitude_to_mel(magnitude, STANDARD, semitones)


def _parts(song: Song) -> dict[str, np.ndarray]:
    """The clip's stems, mono."""
    return {name: stem[:, START : START + CLIP_SAMPLES].mean(axis=0) for name, stem in song.stems.items()}


def _backing(parts: dict[str, np.ndarray]) -> np.ndarray:
    return parts["drums"] + parts["bass"] + parts["other"]


def _at_level(part: np.ndarray, backing: np.ndarray) -> np.ndarray:
    return part * (_rms(backing) / _rms(part))


def _rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(wave**2))) or 1.0
