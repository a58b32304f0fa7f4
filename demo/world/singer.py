"""A singer: spoken syllables from the voice bank, stretched to notes and filtered out of pulses and noise.

The source-filter model of WORLD (Morise et al., 2016) with band-limited pulses in place of its pitch-synchronous ones: a pulse
train at the melody's pitch and noise, mixed by the aperiodicity, pass through the minimum-phase filter of the spectral envelope,
frame by frame in the short-time Fourier domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demo.song import SAMPLE_RATE, Rng, midi_to_hz
from demo.world.voice_bank import BANDS, FRAME_SECONDS, WORLD_RATE, Syllable, band_frequencies, syllable

FRAME = 1024  # samples of a filter frame
HOP = FRAME // 4
HOP_SECONDS = HOP / SAMPLE_RATE
SILENT_DB = -100.0
CONSONANT_SECONDS = 0.16  # at most, before or after a vowel
VOWEL_EDGE_SECONDS = 0.09  # of a vowel's transitions, which are not stretched
SUSTAINED = (0.3, 0.55)  # the part of a vowel that is stretched
SPEAKERS = {  # (voice of the bank, scale of its formants): longer vocal tracts have lower formants
    "female": (("slt", 1.0), ("slt", 1.06), ("rms", 1.2), ("awb", 1.2)),
    "male": (("rms", 1.0), ("awb", 1.0), ("kal16", 1.0), ("rms", 0.94)),
}


@dataclass(frozen=True)
class SungNote:
    """A note of the vocal line.

    Attributes:
        start: of the vowel, seconds; consonants before it come earlier. duration: to the end of the syllable, seconds.
        note: MIDI. word: of the voice bank. accent: dB.
        first, last: whether it begins or ends a phrase. fall: semitones that a spoken note falls by.
    """

    start: float
    duration: float
    note: float
    word: str
    accent: float = 0.0
    first: bool = False
    last: bool = False
    fall: float = 0.0


@dataclass(frozen=True)
class Voice:
    """What makes one singer differ from another.

    Attributes:
        speaker, size: voice of the bank, and the scale of its formants.
        brightness: dB an octave above 1 kHz. breath: dB of noise more than the speaker has.
        vibrato_rate, vibrato_depth: Hz, semitones. scoop: share of notes that are approached from below.
    """

    gender: str
    speaker: str
    size: float
    brightness: float
    breath: float
    vibrato_rate: float
    vibrato_depth: float
    scoop: float

    @classmethod
    def random(cls, gender: str, rng: Rng) -> Voice:
        speaker, size = SPEAKERS[gender][rng.integers(len(SPEAKERS[gender]))]
        return cls(
            gender=gender,
            speaker=speaker,
            size=size * rng.uniform(0.97, 1.03),
            brightness=rng.uniform(-1.0, 3.0),
            breath=rng.uniform(-4.0, 8.0),
            vibrato_rate=rng.uniform(4.8, 6.3),
            vibrato_depth=rng.uniform(0.1, 0.6),
            scoop=rng.uniform(0.1, 0.5),
        )


def sing(notes: Sequence[SungNote], samples: int, voice: Voice, rng: Rng) -> np.ndarray:
    """The whole vocal line, float64, shape (samples,), peak 1 (silence where there is nothing to sing)."""
    if not notes:
        return np.zeros(samples)
    frames = samples // HOP + 4
    levels, noise = _envelopes(notes, frames, voice)
    for note in notes:
        if note.first:
            _breathe_in(levels, note, voice)
    pitch = np.interp(np.arange(samples + 3 * FRAME) / HOP - FRAME / HOP, np.arange(frames), pitch_line(notes, frames, voice, rng))
    wave = _filter(pitch, rng, _spectrum(levels, voice), _aperiodicity(noise, voice))[:samples]
    return wave / (np.abs(wave).max() + 1e-9)


def _envelopes(notes: Sequence[SungNote], frames: int, voice: Voice) -> tuple[np.ndarray, np.ndarray]:
    """Levels in dB (frames, BANDS) and aperiodicity (frames,) of the line; a later note takes over from an earlier one."""
    levels, noise = np.full((frames, BANDS), SILENT_DB), np.ones(frames)
    for note in notes:
        sound = syllable(voice.speaker, note.word)
        times, places = _warp(sound, note)
        first, last = max(0, int(np.ceil(times[0] / HOP_SECONDS))), min(frames, int(times[-1] / HOP_SECONDS) + 1)
        if first >= last:
            continue
        now = np.arange(first, last) * HOP_SECONDS
        place = np.interp(now, times, places)
        before = place.astype(int)
        after, share = np.minimum(before + 1, len(sound.noise) - 1), place - before
        swell = note.accent + 2.0 * np.sin(np.pi * np.clip((now - note.start) / note.duration, 0, 1))
        release = np.clip((times[-1] - now) / 0.06, 1e-3, 1)
        gain = swell + 20 * np.log10(release)
        levels[first:last] = sound.levels[before] * (1 - share)[:, None] + sound.levels[after] * share[:, None] + gain[:, None]
        noise[first:last] = sound.noise[before] * (1 - share) + sound.noise[after] * share
    return levels, noise


def _warp(sound: Syllable, note: SungNote) -> tuple[list[float], list[float]]:
    """Times of the song, and the frames of the syllable that sound then: consonants as spoken, the vowel's middle stretched."""
    vowel, vowel_end = sound.vowel
    length = (vowel_end - vowel) * FRAME_SECONDS
    onset = min(vowel * FRAME_SECONDS, CONSONANT_SECONDS)
    coda = min((len(sound.noise) - vowel_end) * FRAME_SECONDS, CONSONANT_SECONDS, 0.4 * note.duration)
    sustained = note.duration - coda
    edge = min(VOWEL_EDGE_SECONDS, SUSTAINED[0] * length, 0.4 * sustained)
    end = note.start + note.duration
    times = [note.start - onset, note.start, note.start + edge, end - coda - edge, end - coda, end]
    low, high = (vowel + share * (vowel_end - vowel) for share in SUSTAINED)
    places = [0.0, vowel, low, high, vowel_end, len(sound.noise) - 1.0]
    return times, places


def _breathe_in(levels: np.ndarray, note: SungNote, voice: Voice) -> None:
    """An audible breath before a phrase, where there is room for it."""
    last = int((note.start - 0.18) / HOP_SECONDS)
    first = last - int(0.3 / HOP_SECONDS)
    if first > 0 and last <= len(levels) and (levels[first:last] <= SILENT_DB).all():
        sound = syllable(voice.speaker, "ah")
        shape = 20 * np.log10(np.hanning(last - first + 2)[1:-1]) + voice.breath - 34
        levels[first:last] = sound.levels[sum(sound.vowel) // 2] + shape[:, None]


def pitch_line(notes: Sequence[SungNote], frames: int, voice: Voice, rng: Rng) -> np.ndarray:
    """Hz for every frame: glides, scoops, falls, vibrato on long notes, unsteadiness, from `rng` as `sing` draws them."""
    now = np.arange(frames) * HOP_SECONDS
    line = np.full(frames, float(notes[0].note))
    bend, vibrato = np.zeros(frames), np.zeros(frames)
    for note in notes:
        since = now - note.start
        line[since >= -0.05] = note.note
        if rng.random() < (0.8 if note.first else 1.0) * voice.scoop:
            bend -= rng.uniform(0.5, 2.0) * np.exp(-np.maximum(since, 0) / 0.05) * (since > -0.06)
        within = (since >= 0) & (since < note.duration)
        if note.last and note.duration > 0.4 and rng.random() < 0.4:
            bend -= within * rng.uniform(0.5, 3.0) * np.clip((since - note.duration + 0.15) / 0.15, 0, 1) ** 2
        bend -= within * note.fall * (since / note.duration - 0.3)
        depth = voice.vibrato_depth * rng.uniform(0.6, 1.2)
        phase = 2 * np.pi * voice.vibrato_rate * rng.uniform(0.95, 1.05) * since
        vibrato += within * depth * np.clip((since - 0.18) / 0.3, 0, 1) * np.sin(phase)
    unsteady = _smooth(rng.standard_normal(frames), 0.15) * 0.5
    return midi_to_hz(0.0) * 2.0 ** ((_smooth(line, 0.07) + _smooth(bend, 0.03) + vibrato + unsteady) / 12)


def _smooth(contour: np.ndarray, seconds: float) -> np.ndarray:
    width = max(3, int(seconds / HOP_SECONDS) | 1)
    window = np.hanning(width + 2)[1:-1]
    return np.convolve(np.pad(contour, width // 2, mode="edge"), window / window.sum(), mode="valid")


def _spectrum(levels: np.ndarray, voice: Voice) -> np.ndarray:
    """Minimum-phase frequency response of every frame, complex, shape (frames, FRAME / 2 + 1)."""
    hz = np.fft.rfftfreq(FRAME, 1 / SAMPLE_RATE)
    spoken = hz / voice.size
    places = np.interp(spoken, band_frequencies(), np.arange(BANDS))
    low = np.minimum(places.astype(int), BANDS - 2)
    share = places - low
    levels = _blur(levels)
    log = levels[:, low] * (1 - share) + levels[:, low + 1] * share
    log = log - 12 * np.log2(np.maximum(spoken / (WORLD_RATE / 2), 1))  # above the recordings' band
    log = (log + voice.brightness * np.log2(np.maximum(hz / 1000, 1))) * (np.log(10) / 20)
    cepstrum = np.fft.irfft(log, axis=1)
    cepstrum[:, 1 : FRAME // 2] *= 2
    cepstrum[:, FRAME // 2 + 1 :] = 0
    return np.exp(np.fft.rfft(cepstrum, axis=1))


def _blur(levels: np.ndarray) -> np.ndarray:
    """Soften the seams between syllables: over three frames."""
    padded = np.pad(levels, ((1, 1), (0, 0)), mode="edge")
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4


def _aperiodicity(noise: np.ndarray, voice: Voice) -> np.ndarray:
    """Share of noise in amplitude, shape (frames, FRAME / 2 + 1): little at low frequencies, all at 12 kHz."""
    hz = np.fft.rfftfreq(FRAME, 1 / SAMPLE_RATE)
    at_3_khz = 20 * np.log10(np.maximum(noise, 1e-3))[:, None] + voice.breath
    low = np.clip(hz / 3000, 0, 1)
    high = np.clip((hz - 3000) / 9000, 0, 1)
    decibels = at_3_khz * (1 - high) - 60 * (1 - low)
    return np.where(noise[:, None] > 0.95, 1.0, 10 ** (np.minimum(decibels, 0) / 20))


def _filter(pitch: np.ndarray, rng: Rng, response: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Pulses at a pitch (Hz for every sample, with a frame of lead) and noise through the frames' responses, by overlap and add."""
    starts = np.arange(len(response)) * HOP + FRAME // 2
    window = np.hanning(FRAME + 1)[:-1]
    parts = [_frames(source, starts) * window for source in (_pulses(pitch), rng.standard_normal(len(pitch)))]
    periodic, aperiodic = (np.fft.rfft(part, axis=1) for part in parts)
    mixed = (periodic * np.sqrt(1 - noise**2) + aperiodic * noise) * response
    shaped = np.fft.irfft(mixed, FRAME, axis=1) * window / 1.5
    out = np.zeros(len(pitch) + 2 * FRAME)
    for phase in range(FRAME // HOP):  # frames of one phase do not overlap, so they add in one go
        block = shaped[phase :: FRAME // HOP].reshape(-1)
        first = FRAME // 2 + phase * HOP
        out[first : first + len(block)] += block
    return out[FRAME:]


def _frames(source: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.pad(source, (0, FRAME))[starts[:, None] + np.arange(FRAME)]


def _pulses(pitch: np.ndarray) -> np.ndarray:
    """Band-limited pulses of unit power density, as noise of unit variance has it: cosines up to 18 kHz in closed form."""
    phase = np.cumsum(pitch) / SAMPLE_RATE
    partials = np.floor(18_000 / pitch)
    below = np.sin(np.pi * phase)
    small = np.abs(below) < 1e-6
    train = np.where(small, 2 * partials + 1, np.sin(np.pi * (2 * partials + 1) * phase) / np.where(small, 1, below)) - 1
    return train * np.sqrt(pitch / SAMPLE_RATE)
