"""A new vocal from left to right: pieces of the finished mix that play while the rest of the song is generated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import soxr
import torch

from riff.audio.io import resample, to_channels
from riff.audio.loudness import block_loudness, relative_loudness
from riff.errors import OptionError
from riff.models.encoders import latent_factor
from riff.sampling.edit import CANDIDATE_STRIDE, ScoredTake
from riff.sampling.known_region import SOFT_COLUMNS, KnownRegion
from riff.sampling.levels import mix_image, output_at_level
from riff.sampling.mixback import (
    LIMITER_S,
    MAX_BOOST_DB,
    ROOM_S,
    VOCAL_LU,
    Mix,
    full_scale_gain,
    limit_vocal,
    side_signal,
    spread_vocal,
)
from riff.sampling.rendering import added_vocal
from riff.sampling.song import SCORED_FRAMES, SongModel, score_song
from riff.sampling.windows import Guides, WindowLayout, WindowPredictor, guided_steps, sample_windows
from riff.seeds import seed_after
from riff.separation.song import Song
from riff.spectrogram.image import SILENCE, SpectrogramImage, image_to_mel
from riff.spectrogram.phase import OVERLAP_FRAMES, WORKING_RATE, continue_waveform

OVERLAP = 0.25  # share of a window that is known from the one before


@dataclass(frozen=True)
class Piece:
    """A piece of a finished mix.

    Attributes:
        start: its first sample in the song. mix: of these samples; `gain_db` is the vocal's at the piece's end.
    """

    start: int
    mix: Mix


class SongStream:
    """Generates a new vocal in windows from left to right; each continues the known end of the one before.

    The level of the vocal follows what has been generated so far, since the rest is not known yet, and fades from piece to piece.

    Args:
        song: separated. backing: `backing_image` of it. guide: what sampling begins with, as for `SongSampler`.
        overlap: share of a window that is known from the one before.
        gain_db: of the vocal (default: by loudness). vocal_lu, stereo: as of `mix_back`. iterations: of Griffin-Lim.
        edges: as for `SongSampler`. on_step: called after every denoising step.

    Attributes:
        model, prompt, guide: may be replaced between two pieces; what is not generated yet then follows the new ones. The model may
            only change its options, such as the strength of its control.

    Raises:
        OptionError: windows that overlap too little.
    """

    def __init__(
        self,
        model: SongModel,
        song: Song,
        backing: SpectrogramImage,
        prompt: str,
        seed: int = 0,
        guide: Guides | None = None,
        overlap: float = OVERLAP,
        gain_db: float | None = None,
        vocal_lu: float = VOCAL_LU,
        iterations: int = 16,
        stereo: bool = False,
        edges: np.ndarray | None = None,
        on_step: Callable[[], object] = lambda: None,
    ) -> None:
        self.model, self.prompt, self.guide, self._on_step = model, prompt, guide, on_step
        self._song, self._backing, self._seed, self._iterations = song, backing, seed, iterations
        self._layout, factor = WindowLayout(overlap=overlap), latent_factor(model.pipeline)
        self._soft = SOFT_COLUMNS * factor  # frames at the end of a window that the next one generates again
        height, self._frames = backing.pixels.shape
        self._starts = self._layout.starts(max(self._frames, self._layout.width), factor)
        width = self._starts[-1] + self._layout.width
        if any(after - before + self._soft > self._layout.width for before, after in pairwise(self._starts)):
            raise OptionError(f"windows that overlap by {overlap:g}: a stream needs more than {self._soft / self._layout.width:g}")
        self._pixels = np.full((height, width), SILENCE, np.uint8)
        missing = ((0, 0), (0, width - self._frames))
        self._padded = np.pad(backing.pixels, missing, constant_values=SILENCE)
        self._edges = None if edges is None else np.pad(edges, missing)
        self._levels = np.zeros(self._frames, np.float32)  # mel value of black, by frame
        self._predictor: tuple[SongModel, str, WindowPredictor] | None = None
        self._mixer = StreamMixer(song.accompaniment, song.sample_rate, gain_db, vocal_lu, stereo)
        self._vocal = self._mix = torch.zeros(0)  # ends of the last block's waveforms
        mono = resample(to_channels(song.accompaniment, 1), song.sample_rate, WORKING_RATE)[0]
        self._start = torch.from_numpy(np.pad(mono, (0, backing.params.at_rate(WORKING_RATE).hop_length)))

    def __len__(self) -> int:
        """Windows to generate, and pieces to come at most."""
        return len(self._starts)

    @property
    def steps(self) -> int:
        """Denoising steps of a window."""
        steps = self.model.options.steps
        return guided_steps(steps, self.guide.strength) if self.guide else steps

    def __iter__(self) -> Iterator[Piece]:
        """Pieces without gaps, each as soon as it is finished. Once only."""
        done = known = 0
        for number, start in enumerate(self._starts):
            self._generate(number, start, known)
            is_last = number == len(self._starts) - 1
            known = start + self._layout.width - self._soft
            end = self._frames if is_last else known
            self._set_levels(done, end)
            piece = self._mixer.add(self._waveform(max(0, done - OVERLAP_FRAMES), end, is_last).numpy(), is_last)
            done = end
            yield piece

    def take(self) -> ScoredTake:
        """The take of the finished song, scored; its output has the level of the last frame."""
        output = SpectrogramImage(self._pixels[:, : self._frames].copy(), float(self._levels[-1]), self._backing.params)
        after = mix_image(output, self._backing, self.model.target)
        verdict = score_song(self._backing.pixels, after.pixels, np.arange(self._frames), self._backing.params)
        return ScoredTake(self._seed, output, after, verdict)

    def _generate(self, number: int, start: int, known: int) -> None:
        """Generate the window that begins at frame `start`, all but the frames before `known`."""
        if self._predictor is None or self._predictor[:2] != (self.model, self.prompt):
            self._predictor = self.model, self.prompt, self.model.predictor(self._padded, self.prompt, self._edges)
        here = slice(start, start + self._layout.width)
        window = self._pixels[:, here]
        self._pixels[:, here] = sample_windows(
            self.model.pipeline,
            _Shifted(self._predictor[2], start),
            self._layout.width,
            seed_after(self._seed, number * CANDIDATE_STRIDE),
            self.model.options.steps,
            self._layout,
            KnownRegion(window, np.arange(here.start, here.stop) >= known),
            lambda _: self._on_step(),
            height=len(window),
            guide=self.guide and self.guide.for_seed(self._seed, slice(start, min(here.stop, self._frames))),
        )

    def _set_levels(self, first: int, end: int) -> None:
        """Fade from the level so far to that of the last minute."""
        past = slice(max(0, end - SCORED_FRAMES), end)
        level = output_at_level(self._pixels[:, past], self._backing_part(past), self.model.target).max_value
        before = self._levels[first - 1] if first else level
        self._levels[first:end] = np.linspace(before, level, end - first + 1)[1:]

    def _backing_part(self, frames: slice) -> SpectrogramImage:
        return replace(self._backing, pixels=self._backing.pixels[:, frames])

    def _waveform(self, first: int, end: int, is_last: bool) -> torch.Tensor:
        """The vocal of these frames at 24 kHz, but what the next block is cross-faded with."""
        params, frames = self._backing.params, slice(first, end)
        hop, levels = params.at_rate(WORKING_RATE).hop_length, torch.from_numpy(self._levels[frames])
        mel = image_to_mel(SpectrogramImage(self._pixels[:, frames], 1.0, params)) * levels
        finished = hop * (end - first - (1 if is_last else OVERLAP_FRAMES))
        if self.model.target == "mix":
            start = self._start[hop * first : hop * (end - 1)]
            mix = continue_waveform(self._mix, mel, params, self._iterations, start=start)
            self._mix = mix[finished:]
            mel = added_vocal(mel, image_to_mel(self._backing_part(frames)))
            vocal = continue_waveform(self._vocal, mel, params, 0, start=mix)
        else:
            vocal = continue_waveform(self._vocal, mel, params, self._iterations)
        self._vocal = vocal[finished:]
        return vocal[:finished]


@dataclass(frozen=True)
class _Shifted:
    """The predictor of a whole song for a part that begins at frame `start`."""

    predictor: WindowPredictor
    start: int

    def noise(self, latents: torch.Tensor, timestep: torch.Tensor, starts: Sequence[int]) -> torch.Tensor:
        return self.predictor.noise(latents, timestep, [self.start + start for start in starts])


class StreamMixer:
    """`mix_back` of a vocal that comes piece by piece.

    Args:
        accompaniment, sample_rate, vocal_lu, stereo: as of `mix_back`.
        gain_db: of the vocal (default: by the loudness of the vocal so far relative to the accompaniment).
    """

    def __init__(
        self, accompaniment: np.ndarray, sample_rate: int, gain_db: float | None, vocal_lu: float, stereo: bool = False
    ) -> None:
        self._song_gain = full_scale_gain(accompaniment)
        self._accompaniment = accompaniment * self._song_gain if self._song_gain < 1 else accompaniment
        self._rate, self._gain_db, self._vocal_lu = sample_rate, gain_db, vocal_lu
        self._resampler = soxr.ResampleStream(WORKING_RATE, sample_rate, 1, dtype="float32")
        self._loudness = np.zeros((2, 0))  # of the blocks of vocal and accompaniment
        self._factor: float | None = None  # at the end of the last piece
        self._side = np.zeros(2 * round(ROOM_S * sample_rate) if stereo and len(accompaniment) > 1 else 0, np.float32)
        self._reach = 2 * (round(LIMITER_S * sample_rate) | 1)  # of the limiter, in samples on either side
        self._vocal = accompaniment[:, :0]  # without limiter, from the sample `_first` on
        self._first = self._finished = 0

    def add(self, vocal: np.ndarray, is_last: bool) -> Piece:
        """Mix the next samples of the vocal, float32, shape (samples,), at 24 kHz.

        Returns:
            The next samples of the mix: fewer than were added, because the limiter looks ahead, until the last piece.
        """
        received, samples = self._first + self._vocal.shape[1], self._accompaniment.shape[1]
        mono = self._resampler.resample_chunk(np.ascontiguousarray(vocal, np.float32), is_last)[: samples - received]
        if is_last:
            mono = np.pad(mono, (0, samples - received - len(mono)))
        spread = spread_vocal(mono, len(self._accompaniment))
        if len(self._side):
            context = np.concatenate([self._side, mono])
            side = side_signal(context, self._rate)[len(self._side) :]
            spread[0] += side
            spread[1] -= side
            self._side = context[-len(self._side) :]
        gain_db = self._next_gain_db(spread, self._accompaniment[:, received : received + len(mono)] / self._song_gain)
        factor = float(self._song_gain) * 10 ** (gain_db / 20)
        spread *= np.linspace(self._factor or factor, factor, len(mono), dtype=np.float32)
        self._factor = factor
        self._vocal = np.concatenate([self._vocal, spread], axis=1)
        return self._limited(samples if is_last else max(self._finished, received + len(mono) - self._reach), gain_db)

    def _next_gain_db(self, vocal: np.ndarray, accompaniment: np.ndarray) -> float:
        if self._gain_db is not None:
            return self._gain_db
        if vocal.shape[1]:
            new = [block_loudness(waveform, self._rate) for waveform in (vocal, accompaniment)]
            self._loudness = np.concatenate([self._loudness, new], axis=1)
        difference = relative_loudness(*self._loudness) if self._loudness.size else None
        return 0.0 if difference is None else min(self._vocal_lu - difference, MAX_BOOST_DB)

    def _limited(self, end: int, gain_db: float) -> Piece:
        """The mix from the last finished sample to `end`."""
        around = slice(self._first, self._first + self._vocal.shape[1])
        limited, here = self._vocal.copy(), slice(self._finished, end)
        limited_db = limit_vocal(limited, self._accompaniment[:, around], self._rate)
        vocal = np.ascontiguousarray(limited[:, here.start - self._first : here.stop - self._first])
        accompaniment = self._accompaniment[:, here]
        keep = max(0, end - self._reach)
        self._vocal, self._first, self._finished = self._vocal[:, keep - self._first :], keep, end
        song_gain_db = 20 * float(np.log10(self._song_gain))
        return Piece(here.start, Mix(accompaniment + vocal, accompaniment, vocal, self._rate, gain_db, song_gain_db, limited_db))


def joined(pieces: Sequence[Piece]) -> Mix:
    """All pieces of a song as one mix, with the gain at its end and the largest gain reduction."""
    mixes = [piece.mix for piece in pieces]
    mix, accompaniment, vocal = (
        np.concatenate(parts, axis=1) for parts in zip(*((one.mix, one.accompaniment, one.vocal) for one in mixes), strict=True)
    )
    limited_db = min(one.limited_db for one in mixes)
    return replace(mixes[-1], mix=mix, accompaniment=accompaniment, vocal=vocal, limited_db=limited_db)
