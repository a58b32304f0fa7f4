"""Stems mixed as records are: the singer treated and set against the band, rooms, saturation, loudness, at times lossy coding.

Nothing that the singer does changes the band: what is left when the vocal is taken away knows nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo.song import SAMPLE_RATE, Rng
from demo.world.effects import Room, coded, compress, compressor_gain, echo, peak, saturate, shelf, widen
from riff.audio.loudness import loudness_against

VOCAL_LU = (-3.5, 2.0)  # loudness of the singer against the band
PEAK = 0.8


@dataclass(frozen=True)
class Sound:
    """How a record sounds.

    Attributes:
        room, send: seconds of reverberation, and the share of the band that goes there. vocal_send, vocal_echo: likewise.
        drive: saturation of the band in dB. tilt: dB at both ends of the spectrum. width: of the band's sides.
        codec, noise: name of a lossy format and how hard it compresses, or empty; dB of noise, or none.
    """

    room: float
    send: float
    vocal_send: float
    vocal_echo: float
    drive: float
    tilt: float
    width: float
    codec: str
    codec_level: float
    noise: float | None

    @classmethod
    def random(cls, rng: Rng, drive: float, lush: bool) -> Sound:
        return cls(
            room=rng.uniform(0.4, 1.0) * (2.0 if lush else 1.0),
            send=rng.uniform(0.03, 0.2),
            vocal_send=rng.uniform(0.05, 0.3) * (1.3 if lush else 1.0),
            vocal_echo=rng.uniform(0.1, 0.35) if rng.random() < 0.35 else 0.0,
            drive=drive + rng.uniform(0, 6),
            tilt=rng.uniform(-4, 4),
            width=rng.uniform(0.6, 1.5),
            codec=str(rng.choice(["MP3", "OGG"])) if rng.random() < 0.35 else "",
            codec_level=rng.uniform(0.3, 0.95),
            noise=rng.uniform(-70, -45) if rng.random() < 0.25 else None,
        )


def mix(stems: dict[str, np.ndarray], sound: Sound, beat: float, rng: Rng) -> dict[str, np.ndarray]:
    """The finished stems, float32, shape (2, samples); their sum has a peak of 0.8.

    Args:
        stems: vocals, drums, bass, other as they were played; float64, shape (2, samples). beat: seconds.
    """
    room = Room(rng, sound.room, predelay=rng.uniform(0, 0.03))
    band = _band({name: wave for name, wave in stems.items() if name != "vocals"}, sound, room, rng)
    vocals = _vocals(stems["vocals"], sound, room, beat)
    backing = sum(band.values(), np.zeros_like(vocals))
    if sound.codec:
        band["other"] = band["other"] + coded(backing, sound.codec, sound.codec_level) - backing
        vocals = coded(vocals, sound.codec, sound.codec_level)
    balance = loudness_against(vocals.astype(np.float32), backing.astype(np.float32), SAMPLE_RATE)
    gain = 10 ** ((rng.uniform(*VOCAL_LU) - balance) / 20) if balance is not None else 1.0
    finished = {"vocals": gain * vocals, **band}
    top = np.abs(sum(finished.values())).max()
    return {name: (wave * (PEAK / top)).astype(np.float32) for name, wave in finished.items()}


def _band(stems: dict[str, np.ndarray], sound: Sound, room: Room, rng: Rng) -> dict[str, np.ndarray]:
    """The band's stems through one desk: tone, room, saturation, and one compressor for all."""
    out = {}
    for name, wave in stems.items():
        wave = shelf(shelf(wave, 150, sound.tilt / 2, high=False), 5000, -sound.tilt, high=True)
        if name != "bass":
            wave = widen(wave + sound.send * room(wave), sound.width)
        out[name] = saturate(wave, sound.drive)
    together = sum(out.values(), np.zeros_like(out["drums"]))
    gain = compressor_gain(together, 20 * np.log10(np.abs(together).max() + 1e-9) - 14, 2.5, attack=0.02)
    out = {name: wave * gain for name, wave in out.items()}
    if sound.noise is not None:
        level = np.abs(together).max() * 10 ** (sound.noise / 20)
        out["other"] = out["other"] + level * rng.standard_normal(together.shape)
    return out


def _vocals(wave: np.ndarray, sound: Sound, room: Room, beat: float) -> np.ndarray:
    """A low cut, presence, compression, and the rooms around."""
    dry = peak(shelf(wave, 120, -9, high=False), 3200, 2.0)
    dry = compress(compress(dry, 18, 3.0), 12, 4.0)
    wet = dry + sound.vocal_send * room(dry)
    return wet + echo(dry, 0.75 * beat, sound.vocal_echo) if sound.vocal_echo else wet
