"""The demo songs: the same songs everywhere, tunes that obey the harmony, singers in tune."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, run_script

from demo import separated
from demo.evaluation import parse_songs
from demo.separated import is_separated
from demo.song import SAMPLE_RATE, seconds_to_samples
from demo.world import effects, instrument_bank, voice_bank
from demo.world.compose import Score, compose, write_score
from demo.world.form import Plan
from demo.world.harmony import chord, melody_classes
from demo.world.melody import realise, write_tune
from demo.world.singer import SPEAKERS, SungNote, Voice, sing
from demo.world.styles import CADENCES, METERS, MOODS, REGISTERS, STYLES, VOCAL_RHYTHMS
from demo.world.vocals import with_words
from riff.audio.loudness import loudness_against
from riff.experiments.styles import style_of_prompt
from riff.metrics.edit import melody_of
from riff.metrics.fit import score_fit
from riff.models.sources import read_origin
from riff.sampling.options import options_for
from riff.separation.repet import RepetSeparator
from riff.spectrogram.image import waveform_to_image

BANKS = ROOT / "demo/world"
NAMES = list(STYLES)
STEADY = Voice("female", "slt", 1.0, 0.0, 0.0, 5.0, 0.0, 0.0)


def score(index: int, seconds: float = 20.0) -> Score:
    return write_score(np.random.default_rng([9, index]), NAMES[index % len(NAMES)], seconds)


def fingerprint(index: int) -> str:
    return sha256(compose(4, index, 3.0).mixture.tobytes()).hexdigest()


def test_another_process_in_another_order_makes_the_same_songs() -> None:
    program = "from test_songs import fingerprint; print(*map(fingerprint, (6, 2)))"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}{os.pathsep}{Path(__file__).parent}"}
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert elsewhere.stdout.split() == [fingerprint(6), fingerprint(2)]


@pytest.mark.parametrize("index", range(len(STYLES)))
def test_stems_sum_to_a_mixture_with_an_audible_singer(index: int) -> None:
    song = compose(4, index, 6.0)
    assert song.facts["style"] == NAMES[index] == style_of_prompt(song.prompt)
    np.testing.assert_allclose(sum(song.stems.values()), song.mixture, atol=1e-6)
    assert song.mixture.shape == (2, 6 * SAMPLE_RATE)
    assert np.abs(song.mixture).max() == pytest.approx(0.8, abs=1e-3)
    assert all(np.isfinite(stem).all() and np.abs(stem).max() > 0.01 for stem in song.stems.values())
    vocals = song.stems["vocals"]
    against = loudness_against(vocals, song.mixture - vocals, SAMPLE_RATE)
    assert against is not None
    assert -4.0 < against < 2.5


def test_a_prompt_is_true_and_does_not_depend_on_the_length() -> None:
    for index in range(33):
        short, long = score(index, 4.0), score(index)
        assert (short.prompt, short.facts, short.voice) == (long.prompt, long.facts, long.voice)
        facts, words = long.facts, str(long.facts["words"])
        assert f"{facts['mood']} {facts['gender']} vocal {facts['style']} melody" in long.prompt
        assert any(facts["mood"] in MOODS[str(facts["mode"]), lively] for lively in (True, False))
        tempo = float(facts["tempo"])
        assert ("slow" in words, "fast" in words) == (tempo < 80, tempo > 120)
        assert ("with harmonies" in words) == long.harmony
        assert long.voice.gender == facts["gender"]
    assert any("," in score(index).prompt for index in range(10))


def test_a_song_that_ends_before_its_singer_begins_has_a_silent_vocal() -> None:
    song = compose(22, 0, 1.0)
    assert song.stems["vocals"].shape == song.mixture.shape
    assert not song.stems["vocals"].any()
    assert song.mixture.any()


def test_a_given_voice_sings_the_same_song() -> None:
    own = compose(4, 2, 3.0)
    assert own.facts["gender"] == "female"
    given = compose(4, 2, 3.0, replace(STEADY, size=1.2, brightness=4.0))
    assert {**given.facts, "words": own.facts["words"]} == own.facts
    assert "bright" in str(given.facts["words"])
    correlations = {name: np.corrcoef(given.stems[name].ravel(), own.stems[name].ravel())[0, 1] for name in own.stems}
    assert correlations.pop("vocals") < 0.9
    assert min(correlations.values()) > 1 - 1e-6  # only the level of the whole mix differs
    low = compose(4, 2, 3.0, replace(STEADY, gender="male", speaker="rms"))
    assert low.facts["gender"] == "male"
    assert " male vocal" in low.prompt


@pytest.mark.parametrize("index", range(len(STYLES)))
def test_a_tune_obeys_the_chords_and_the_register(index: int) -> None:
    written = score(index)
    form, (low, high) = written.plan, REGISTERS[str(written.facts["gender"])]
    assert len(written.tune) > 8
    for note in written.tune:
        bar = form.bars[note.step // form.meter.steps]
        above = (note.note - bar.tonic) % 12
        assert low <= note.note <= high
        assert above in (bar.chord.classes if note.strong else melody_classes(bar.chord, form.mode))
    sung = sum(note.length for note in written.tune) / (len(form.bars) * form.meter.steps)
    assert 0.35 < sung < 0.95  # there are rests
    leaps = np.abs(np.diff([note.note for note in written.tune]))
    assert np.mean(leaps <= 5) > 0.8


def test_vocals_fit_their_own_backing_and_no_other() -> None:
    songs = [compose(31, index, 6.0) for index in range(len(STYLES))]
    images = [
        [waveform_to_image(torch.from_numpy(part)).pixels for part in (song.stems["vocals"], song.mixture - song.stems["vocals"])]
        for song in songs
    ]
    melodies = [melody_of(vocal) for vocal, _ in images]
    assert np.mean([melody.voiced.mean() for melody in melodies]) > 0.3
    fit = np.array([[score_fit(melody, backing).harmony for _, backing in images] for melody in melodies])
    own = np.eye(len(songs), dtype=bool)
    assert np.nanmean(fit[own]) > np.nanmean(fit[~own]) + 0.2


def test_a_tune_comes_back_over_the_same_chords() -> None:
    rng = np.random.default_rng(0)
    meter = METERS["4/4"]
    tune = write_tune(rng, meter, VOCAL_RHYTHMS["4/4"]["medium"], CADENCES["4/4"]["medium"], final=True)
    bars = score(0).plan.bars[-4:]
    bars = tuple(replace(bar, place=place, tonic=50) for place, bar in enumerate(bars))
    first, again = (realise(tune, bars, start, meter, "major", 57, 69) for start in (0, 4))
    assert [note.note for note in first] == [note.note for note in again]
    assert (first[-1].note - 50 - bars[-1].chord.root) % 12 == 0  # a chorus ends on the root
    higher = realise(tune, tuple(replace(bar, tonic=52) for bar in bars), 0, meter, "major", 59, 71)
    assert [note.note + 2 for note in first] == [note.note for note in higher]


def test_numerals() -> None:
    assert chord("V7").classes == {7, 11, 2, 5}
    assert chord("bVI").classes == {8, 0, 3}
    assert chord("iio7").classes == {2, 5, 8, 0}
    assert melody_classes(chord("V"), "minor") == {7, 11, 2, 0, 3, 5, 8} - {0} - {10}  # the seventh is raised over a major V


def test_every_pattern_fills_its_bar() -> None:
    for style in STYLES.values():
        for name, groove in style.grooves.items():
            drums = [*groove.lively.values(), *(marks for variant in groove.drums for marks in variant.values())]
            assert {len(pattern) for pattern in (*groove.bass, *groove.chords, *drums)} == {METERS[name].steps}
    for steps, meter in ((16, "4/4"), (12, "12")):
        for patterns in (*VOCAL_RHYTHMS[meter].values(), *CADENCES[meter].values()):
            assert {len(pattern) for pattern in patterns} == {steps}


def test_all_instruments_are_in_the_bank() -> None:
    for style in STYLES.values():
        for instrument in (*style.bass, *(name for part in style.parts for name in part.instruments)):
            assert np.abs(instrument_bank.play_note(instrument, 45, 0.3)).max() > 0.02
        for kit in style.kits:
            for groove in style.grooves.values():
                for hit in {*groove.lively, *(name for variant in groove.drums for name in variant)}:
                    assert np.abs(instrument_bank.drum(kit, hit)).max() > 0.01


@pytest.mark.parametrize("note", [40, 43, 51, 60])
def test_an_instrument_is_in_tune_between_its_recorded_notes(note: int) -> None:
    wave = instrument_bank.play_note("piano", note, 1.5)
    pitch, voiced, _ = librosa.pyin(wave, fmin=50, fmax=600, sr=SAMPLE_RATE, frame_length=4096, hop_length=4096)
    assert abs(librosa.hz_to_midi(np.median(pitch[voiced])) - note) % 12 < 0.25


@pytest.mark.parametrize(("gender", "speaker", "size"), [(g, *s) for g, voices in SPEAKERS.items() for s in voices])
def test_a_singer_holds_the_note(gender: str, speaker: str, size: float) -> None:
    voice = replace(STEADY, gender=gender, speaker=speaker, size=size)
    note = 50 if gender == "male" else 64
    wave = sing([SungNote(0.5, 1.0, note, "day")], seconds_to_samples(2.0), voice, np.random.default_rng(0))
    sustained = wave[seconds_to_samples(0.7) : seconds_to_samples(1.3)]
    pitch, voiced, _ = librosa.pyin(sustained, fmin=70, fmax=700, sr=SAMPLE_RATE, frame_length=4096, hop_length=2048)
    assert voiced.mean() > 0.8
    assert abs(librosa.hz_to_midi(np.median(pitch[voiced])) - note) < 0.3
    assert np.abs(wave[seconds_to_samples(1.7) :]).max() < 0.01


def test_consonants_keep_their_length_and_come_before_the_beat() -> None:
    energy = {}
    for duration in (0.5, 2.0):
        wave = sing([SungNote(0.5, duration, 64, "see")], seconds_to_samples(3.0), STEADY, np.random.default_rng(0))
        high = np.abs(librosa.stft(wave, n_fft=1024, hop_length=441))[int(5000 * 1024 / SAMPLE_RATE) :].sum(axis=0)
        energy[duration] = high / high.max()
    for high in energy.values():
        assert 0.3 < np.argmax(high) / 100 < 0.52  # the s sounds before its vowel
        assert high[60:90].max() < 0.5
    np.testing.assert_allclose((energy[0.5] > 0.5).sum(), (energy[2.0] > 0.5).sum(), atol=2)


def test_the_larger_a_singer_the_lower_the_formants() -> None:
    def centroid(size: float) -> float:
        wave = sing([SungNote(0.2, 1.0, 57, "ah")], seconds_to_samples(1.4), replace(STEADY, size=size), np.random.default_rng(0))
        return float(np.median(librosa.feature.spectral_centroid(y=wave, sr=SAMPLE_RATE)))

    assert centroid(0.9) < centroid(1.0) < centroid(1.15)


def test_words_are_sung_on_the_tunes_beats() -> None:
    written = score(0)
    sung = with_words(np.random.default_rng(1), written.tune, written.plan, rapped=False)
    on_beat = np.array([note.start - written.plan.seconds(tune.step) for note, tune in zip(sung, written.tune, strict=True)])
    assert np.abs(on_beat).max() < 0.06
    assert {note.word for note in sung} <= set(voice_bank.words())
    ends = np.array([note.start + note.duration for note in sung[:-1]])
    assert np.all(ends <= [note.start + 0.05 for note in sung[1:]])


def test_swing_delays_the_second_eighth_to_the_triplet() -> None:
    straight = Plan((), METERS["4/4"], "major", 0.1, 0.0, 2)
    swung = replace(straight, swing=1 / 3)
    assert [straight.seconds(step) for step in (0, 2, 4)] == pytest.approx([0, 0.2, 0.4])
    assert [swung.seconds(step) for step in (0, 2, 4, 6)] == pytest.approx([0, 0.8 / 3, 0.4, 0.4 + 0.8 / 3])


def test_what_the_singer_does_leaves_the_band_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the vocal out of the mix finds no trace of it in the rest."""
    song = compose(4, 3, 6.0)
    monkeypatch.setattr("demo.world.compose.perform", lambda *arguments: np.ones((2, arguments[4])) * 0.01)
    other = compose(4, 3, 6.0)
    for name in ("drums", "bass"):
        ours, theirs = song.stems[name], other.stems[name]
        np.testing.assert_allclose(ours / np.abs(ours).max(), theirs / np.abs(theirs).max(), atol=1e-4)  # but for the level


@pytest.mark.parametrize("high", [False, True])
def test_a_shelf_lifts_its_end_of_the_spectrum(high: bool) -> None:
    impulse = np.zeros((2, 1 << 14))
    impulse[:, 0] = 1
    gain = 20 * np.log10(np.abs(np.fft.rfft(effects.shelf(impulse, 1000, 6.0, high)[0])))
    ends = (gain[5], gain[-5])
    assert ends == pytest.approx((0, 6) if high else (6, 0), abs=0.1)


def test_a_compressor_narrows_what_is_loud_and_coding_keeps_the_time() -> None:
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    wave = np.tile(np.sin(2 * np.pi * 300 * time) * np.where(time < 1, 0.05, 0.5), (2, 1))
    after = effects.compress(wave, 20, 4.0)
    levels = [20 * np.log10(part[0, 20_000:40_000].std()) for part in np.split(after, 2, axis=1)]
    assert levels[1] - levels[0] == pytest.approx(20 - 17 * 0.75, abs=1.5)
    rng = np.random.default_rng(0)
    music = rng.standard_normal((2, SAMPLE_RATE)) * 0.1 * np.hanning(SAMPLE_RATE)
    for kind in ("MP3", "OGG"):
        back = effects.coded(music, kind, 0.3)
        assert back.shape == music.shape
        assert np.corrcoef(back[0], music[0])[0, 1] > 0.6


def test_songs_by_name() -> None:
    assert parse_songs("demo:16") == 16
    assert [parse_songs(text) for text in ("demo:0", "demo:x", "songs/")] == [None] * 3
    assert 60 < sum(is_separated(1, index, 0.3) for index in range(300)) < 120


def test_the_banks_are_small_and_name_their_licences() -> None:
    size = sum(path.stat().st_size for path in BANKS.rglob("*") if path.suffix in (".npz", ".ogg", ".json"))
    assert size < 5e6
    with np.load(BANKS / "voices.npz") as bank:
        assert "Carnegie Mellon" in str(bank["licence"])
    assert "MIT" in json.loads((BANKS / "instruments/index.json").read_text())["licence"]


def test_a_separated_accompaniment_takes_the_true_ones_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(separated, "_spleeter", RepetSeparator)  # which needs no weights
    song = compose(4, 0, 5.0)
    again = separated.with_separated_accompaniment(song)
    np.testing.assert_array_equal(again.stems["vocals"], song.stems["vocals"])
    backing = again.mixture - again.stems["vocals"]
    np.testing.assert_allclose(backing, RepetSeparator().separate(song.mixture, song.sample_rate).accompaniment, atol=1e-5)
    assert np.abs(backing - (song.mixture - song.stems["vocals"])).max() > 0.01
    assert again.facts["separated"] == 1


def test_the_shipped_songs_have_prompts() -> None:
    folder = ROOT / "raw-audio"
    prompts = {
        line["file"]: line["prompt"] for line in map(json.loads, (folder.parent / "prompt_file.json").read_text().splitlines())
    }
    files = sorted(path.name for path in folder.glob("*.ogg"))
    assert len(files) == 12
    assert set(files) <= set(prompts)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8e6
    assert all(20 <= soundfile.info(folder / name).duration <= 30 for name in files)


def test_what_is_recommended_is_what_is_sampled_with(tmp_path: Path) -> None:
    (tmp_path / "riff.json").write_text('{"base": "mini", "sampling": {"guidance_scale": 9.0}}')
    run_script("demo/recommend.py", tmp_path, "--guidance_scale", 3, "--strength", 1.6)
    options = options_for(tmp_path, None, None)
    assert (options.guidance_scale, options.strength) == (3.0, 1.6)
    assert read_origin(tmp_path)["base"] == "mini"
