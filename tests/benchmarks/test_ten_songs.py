"""The benchmark of a singer's ten songs tells her voice from others', whatever she sings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np
import torch

from benchmarks.ten_songs import SINGER, envelope, other_voices, place_of
from demo.song import seconds_to_samples
from demo.world.compose import write_score
from demo.world.singer import Voice
from demo.world.vocals import perform
from riff.spectrogram.image import SpectrogramImage, waveform_to_image

SECONDS = 4.0


def sung(voices: Sequence[Voice], songs: range) -> Iterator[SpectrogramImage]:
    for index, voice in zip(songs, cycle(voices), strict=False):
        score = write_score(np.random.default_rng([8, index]), "pop", SECONDS, voice)
        wave = perform(
            np.random.default_rng(index), score.tune, score.plan, voice, seconds_to_samples(SECONDS), False, False, False
        )
        yield waveform_to_image(torch.from_numpy(wave).float())


def test_the_singers_other_songs_are_nearer_to_her_than_other_singers_are() -> None:
    singer, others = (envelope(sung(voices, range(3))) for voices in ([SINGER], other_voices(1)))
    her, them = (
        [place_of(envelope([vocal]), singer, others) for vocal in sung(voices, range(3, 6))]
        for voices in ([SINGER], other_voices(2))
    )
    assert all(place["singer_db"] < place["others_db"] for place in her)
    for name, sign in (("singer_db", 1), ("voice", -1)):
        assert max(sign * place[name] for place in her) < np.mean([sign * place[name] for place in them])
    assert place_of(singer, singer, others)["voice"] == 1
    assert place_of(others, singer, others)["voice"] == 0
    assert np.isnan(envelope([SpectrogramImage(np.full((512, 64), 255, np.uint8), 0.0)])).all()
