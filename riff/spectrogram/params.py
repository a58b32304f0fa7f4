"""Parameters of a spectrogram image, stored in the image as EXIF tags."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from enum import IntEnum

from PIL import Image

from riff.errors import DataError


class ExifTag(IntEnum):
    """Riffusion's EXIF tags (riffusion/spectrogram_params.py), and as N_MELS its NUM_FREQUENCIES."""

    SAMPLE_RATE = 11000
    STEREO = 11005
    STEP_SIZE_MS = 11010
    WINDOW_DURATION_MS = 11020
    PADDED_DURATION_MS = 11030
    N_MELS = 11040
    MIN_FREQUENCY = 11050
    MAX_FREQUENCY = 11060
    POWER_FOR_IMAGE = 11070
    MAX_VALUE = 11080


SAMPLE_SCALE = 2**15  # of 16-bit samples, which Riffusion uses; this project uses [-1, 1]


def unit_maximum(max_value: float) -> float:
    """Maximum mel value for waveforms in [-1, 1], from one that may be for 16-bit samples, as in Riffusion's images.

    Values above 2**15 are for 16-bit samples and are divided by 2**15. By Parseval's theorem no band of a waveform in [-1, 1]
    exceeds |w| sqrt(n_fft/2 sum(h**2)) = 14,832, where w is the widest mel filter and h the window; loud mixes have about 400.
    A maximum of 2**15 for 16-bit samples is 1 for [-1, 1], a waveform that peaks near -52 dB.
    """
    return max_value / SAMPLE_SCALE if max_value > SAMPLE_SCALE else max_value


@dataclass(frozen=True)
class SpectrogramParams:
    """Riffusion's definition: 400 ms transform, 100 ms Hann window, 10 ms hop, 512 HTK mel bands up to 10 kHz."""

    sample_rate: int = 44_100  # Hz
    step_size_ms: int = 10
    window_duration_ms: int = 100
    padded_duration_ms: int = 400
    n_mels: int = 512
    min_frequency: int = 0  # Hz
    max_frequency: int = 10_000  # Hz
    power_for_image: float = 0.25

    @property
    def n_fft(self) -> int:
        """Transform length in samples, zero padded: 17,640."""
        return self.padded_duration_ms * self.sample_rate // 1000

    @property
    def win_length(self) -> int:
        """Window length in samples: 4,410."""
        return self.window_duration_ms * self.sample_rate // 1000

    @property
    def hop_length(self) -> int:
        """Step between frames in samples: 441."""
        return self.step_size_ms * self.sample_rate // 1000

    def clip_samples(self, frames: int) -> int:
        """Samples of a waveform with exactly `frames` centred frames: 225,351 for 512."""
        return (frames - 1) * self.hop_length

    def num_frames(self, samples: int) -> int:
        """Centred frames of a waveform of this many samples."""
        return 1 + samples // self.hop_length

    def at_rate(self, sample_rate: int) -> SpectrogramParams:
        """The same durations and bands at another sample rate."""
        return replace(self, sample_rate=sample_rate)

    def to_exif(self, max_value: float) -> Image.Exif:
        """The EXIF tags of a mono image with this mel value of black."""
        exif = Image.Exif()
        for name, value in asdict(self).items():
            exif[ExifTag[name.upper()]] = value
        exif[ExifTag.STEREO], exif[ExifTag.MAX_VALUE] = False, float(max_value)
        return exif

    @classmethod
    def from_exif(cls, exif: Image.Exif, stereo: bool = False) -> tuple[SpectrogramParams, float | None]:
        """The parameters and the maximum mel value for waveforms in [-1, 1] (`unit_maximum`; None if there is none).

        An image without tags gets the standard parameters, which Riffusion's seed images have.

        Args:
            stereo: accept stereo images.

        Raises:
            DataError: a stereo image, which holds two spectrograms, or an invalid tag.
        """
        if bool(exif.get(ExifTag.STEREO, False)) and not stereo:
            raise DataError("a stereo spectrogram image holds two spectrograms; convert it to a mono one")
        try:
            return cls._read_exif(exif)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            raise DataError(f"its EXIF tags are not those of a spectrogram ({error}); save it without them") from error

    @classmethod
    def _read_exif(cls, exif: Image.Exif) -> tuple[SpectrogramParams, float | None]:
        values = {name: type(default)(exif.get(ExifTag[name.upper()], default)) for name, default in asdict(cls()).items()}
        params = cls(**values)
        # Samples cannot be reconstructed at steps of more than half a Hann window.
        durations = 0 < 2 * params.step_size_ms <= params.window_duration_ms <= params.padded_duration_ms
        bands = params.n_mels > 0 and 0 <= params.min_frequency < params.max_frequency <= params.sample_rate / 2
        if not (durations and bands and 0 < params.power_for_image < math.inf):
            raise ValueError("numbers out of range")
        max_value = exif.get(ExifTag.MAX_VALUE)
        if max_value is None:
            return params, None
        if not 0 <= float(max_value) < math.inf:
            raise ValueError(f"a maximum of {float(max_value)}")
        return params, unit_maximum(float(max_value))


STANDARD = SpectrogramParams()
CLIP_FRAMES = 512
CLIP_SAMPLES = STANDARD.clip_samples(CLIP_FRAMES)  # 225,351 samples, 5.11 s
