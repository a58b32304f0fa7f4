"""The page without a browser: parts and takes, the order of jobs, and the files of sessions."""

from __future__ import annotations

import asyncio
import base64
import gc
import io
import json
import re
import threading
import time
import weakref
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from stem_files import write_stem_file

from demo.world.compose import compose
from riff.app.actions import Actions, PageUpdate
from riff.app.cards import clock
from riff.app.engine import Engine, TakeRequest, edges_of, offered_models, parse_seed
from riff.app.jobs import Job, Stopped, Worker
from riff.app.layout import Layout, scales_of
from riff.app.live import LiveTake
from riff.app.painted_edges import read_painted_edges
from riff.app.sessions import Session, Sessions
from riff.app.songs import SHORTEST_S, Limits, Part, Region, Separation, fit_part, receive
from riff.app.takes import takes_page
from riff.app.tunes import read_roll
from riff.audio.io import Audio, read_audio, resample, write_audio
from riff.audio.loudness import loudness_against
from riff.audio.notes import Note, read_midi, write_midi
from riff.errors import AudioError, DataError, ModelError, OptionError, RiffError
from riff.sampling.options import EditOptions, SamplingOptions
from riff.separation.separator import SeparationOptions

RATE = 48_000
LIMITS = Limits(max_minutes=0.5, max_seconds=12)


def quick(model: str, prompt: str = "a song", **more: Any) -> TakeRequest:
    return TakeRequest(model, prompt, steps=1, scale=3.0, **more)


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9 s of a demo song, mono and at 48 kHz."""
    audio = read_audio(ROOT / "raw-audio" / "pop-0011.ogg")
    path = tmp_path_factory.mktemp("song") / "St. Vitus - pop.wav"
    write_audio(path, resample(audio.waveform[:1, : 9 * audio.sample_rate], audio.sample_rate, RATE), RATE)
    return path


@pytest.fixture(scope="module")
def part(song: Path, tmp_path_factory: pytest.TempPathFactory) -> Part:
    separation = Separation(SeparationOptions("repet"), pytest.fail)
    return separation.open_part(receive(song, LIMITS), Region(2.0, 8.0), tmp_path_factory.mktemp("part"))


@pytest.fixture(scope="module")
def engine(tiny_control: Path) -> Engine:
    return Engine(offered_models([str(tiny_control)]))


# Songs and their parts


@pytest.mark.parametrize("suffix", [".ogg", ".wav", ".mp3", ".flac", ".aiff"])
def test_a_song_of_any_format_is_received(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"My song, take 2.final{suffix}"
    times = np.arange(3 * 44_100) / 44_100
    soundfile.write(path, np.stack([times / 4 * np.sin(2 * np.pi * 440 * times), np.zeros_like(times)], axis=1), 44_100)
    upload = receive(path, LIMITS)
    assert upload.name == "My song, take 2.final"
    assert (upload.sample_rate, upload.channels) == (44_100, 2)
    assert upload.duration_s == pytest.approx(3, abs=0.1)
    assert upload.peaks[0] < 10
    assert max(upload.peaks) == 100


def test_the_page_takes_every_value_that_a_model_recommends(engine: Engine) -> None:
    first, *others = engine.models.values()
    unusual = replace(others[-1], options=EditOptions(guidance_scale=20.0, image_guidance_scale=12.0))
    models = [first, *others, unusual]
    with gr.Blocks():
        on = Layout(models, "")
    for model in models:
        for slider, value in zip((on.scale, on.strength, on.image_scale), scales_of(model), strict=True):
            assert slider.preprocess(value) == value


def test_too_long_a_song_is_not_even_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(8_000 * 40, np.float32), 8_000)
    monkeypatch.setattr("riff.app.songs.read_audio", pytest.fail)
    with pytest.raises(AudioError, match=r"lasts 0.7 minutes, and the limit is 0.5"):
        receive(path, LIMITS)


@given(st.floats(0, 60), st.floats(0, 70), st.floats(0.05, 60))
def test_a_part_lies_in_its_song_and_is_a_clip_long(start: float, end: float, duration: float) -> None:
    try:
        first, last = fit_part(start, end, duration, LIMITS)
    except OptionError:
        assert start >= duration or end <= start or min(end, duration) - start > LIMITS.max_seconds
        return
    assert 0 <= first < last <= duration
    assert last - first >= min(SHORTEST_S, duration) - 1e-9
    assert last - first <= LIMITS.max_seconds + 0.02
    assert first <= start
    assert last >= min(end, duration)


@pytest.mark.parametrize("times", [(None, 3.0), (float("nan"), 3.0), (1.0, float("inf")), (9.0, 10.0), (4.0, 3.0)])
def test_times_that_make_no_part_are_refused(times: tuple[float, float]) -> None:
    with pytest.raises(OptionError):
        fit_part(*times, 9.0 if times[1] != float("inf") else 1e6, LIMITS)


def test_a_part_is_the_song_s_own_samples(part: Part, song: Path) -> None:
    whole = read_audio(song).waveform
    np.testing.assert_array_equal(part.song.waveform, whole[:, 2 * RATE : 8 * RATE])
    np.testing.assert_allclose(part.song.vocals + part.song.accompaniment, part.song.waveform, atol=1e-6)
    assert part.song.sample_rate == RATE
    assert np.abs(part.song.vocals).max() > 0.01
    assert part.backing.pixels.shape == (512, 601)


def test_a_stem_file_brings_its_own_backing(tmp_path: Path) -> None:
    stems = np.random.default_rng(0).normal(0, 0.05, (4, 2, 7 * 44_100)).astype(np.float32)  # drums, bass, other, vocals
    path = write_stem_file(tmp_path / "pop.stem.mp4", [Audio(stem, 44_100) for stem in (stems.sum(axis=0), *stems)], "alac")
    separation = Separation(SeparationOptions("auto"), pytest.fail)
    part = separation.open_part(receive(path, LIMITS), Region(1.0, 6.5), tmp_path)
    assert part.separator == "stems"
    np.testing.assert_allclose(part.song.accompaniment, stems[:3, :, 44_100 : 44_100 * 13 // 2].sum(axis=0), atol=1e-6)


# Takes


def test_a_take_is_the_untouched_accompaniment_and_a_vocal(part: Part, engine: Engine) -> None:
    for model in (next(iter(engine.models)), "riff-pix2pix-mini"):
        sampler = engine.sampler(part, quick(model))
        job = Job()
        take, mix = engine.take(part, sampler, 3, 1, job.step)
        assert job.done == sampler.num_steps
        assert mix.mix.shape == part.song.waveform.shape
        assert mix.sample_rate == RATE
        np.testing.assert_array_equal(mix.accompaniment, part.song.accompaniment)
        np.testing.assert_array_equal(mix.mix, mix.accompaniment + mix.vocal)
        assert take.after.pixels.shape == part.backing.pixels.shape


def test_painted_edges_reach_the_controlnet_as_they_are(part: Part, engine: Engine) -> None:
    model = "riff-cnet-mini"
    edges = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), part.backing.pixels.shape)
    sampler = engine.sampler(part, quick(model), edges)
    seen: list[torch.Tensor] = []
    encoder = sampler.model.pipeline.controlnet.controlnet_cond_embedding
    with encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone())):
        sampler.sample(0)
    windows = [(255 * hint[0, 0]).round().byte().numpy() for hint in seen]
    assert [window.shape for window in windows] == [(512, 512)] * 2
    np.testing.assert_array_equal(windows[0], edges[:, :512])
    shift = 608 - 512  # the last window ends with the image, padded to whole latent columns
    np.testing.assert_array_equal(windows[1][:, : 601 - shift], edges[:, shift:])
    own = engine.sampler(part, quick(model)).sample(0)
    assert (sampler.sample(0).pixels != own.pixels).mean() > 0.1


def test_edges_of_another_shape_are_refused(part: Part, engine: Engine) -> None:
    with pytest.raises(DataError, match=r"edges of \(512, 600\) for an image of \(512, 601\)"):
        engine.sampler(part, quick(next(iter(engine.models))), np.zeros((512, 600), np.uint8))


def test_one_model_is_in_memory(engine: Engine) -> None:
    first, *_, last = engine.models
    unet = weakref.ref(engine.load(first).pipeline.unet)
    assert engine.load(first).pipeline.unet is unet()
    engine.load(last)
    gc.collect()
    assert unet() is None


def test_models_are_offered_by_title_with_what_they_recommend(engine: Engine, tiny_control: Path) -> None:
    assert [choice.title for choice in engine.models.values()][-2:] == ["riff-pix2pix-mini", "riff-cnet-mini"]
    assert engine.choice("riff-cnet-mini").options == SamplingOptions(10, guidance_scale=3.0, strength=1.6)
    assert engine.choice("riff-cnet-mini").melody == "compose"
    assert engine.choice("riff-pix2pix-mini").options == EditOptions(4, guidance_scale=3.0, image_guidance_scale=6.0)
    with pytest.raises(OptionError, match="not offered"):
        engine.choice(str(tiny_control))
    with pytest.raises(ModelError, match="no such folder"):
        offered_models(["models/nowhere"])


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"steps": 101}, {"takes": 5}, {"best_of": 9}, {"seed": -1}, {"prompt": "a" * 1001}]
)
def test_requests_have_bounds(wrong: dict) -> None:
    with pytest.raises(OptionError):
        TakeRequest(**{"model": "riff-cnet-mini", "prompt": "a song", **wrong})


def as_url(edges: np.ndarray, form: str = "PNG") -> str:
    memory = io.BytesIO()
    Image.fromarray(edges).save(memory, form)
    return f"data:image/png;base64,{base64.b64encode(memory.getvalue()).decode()}"


def test_painted_edges_are_read_exactly(part: Part) -> None:
    edges = edges_of(part, (100, 200))
    np.testing.assert_array_equal(read_painted_edges(as_url(edges), edges.shape), edges)
    np.testing.assert_array_equal(read_painted_edges(as_url(np.repeat(edges[:, :, None], 3, 2)), edges.shape), edges)
    others = (as_url(edges[1:]), as_url(edges, "JPEG"), as_url(edges)[:200], "data:image/png;base64,~", "data:text/html,x", "")
    for other in others:
        with pytest.raises(DataError, match="start them anew"):
            read_painted_edges(other, edges.shape)
    with pytest.raises(OptionError, match="swap them"):
        edges_of(part, (300, 200))


# Jobs


def test_jobs_run_in_order_and_know_their_place() -> None:
    worker, go, done = Worker(), threading.Event(), []

    def wait(_: Job) -> None:
        go.wait(10)
        done.append(1)

    first = worker.submit(wait)
    second, third = worker.submit(lambda _: done.append(2)), worker.submit(lambda _: done.append(3))
    assert [worker.place(job) for job in (first, second, third)] == [0, 1, 2]
    second.stop()
    assert second.future.cancelled()  # at once, not when its turn comes
    assert [worker.place(job) for job in (first, third)] == [0, 1]
    go.set()
    third.future.result(10)
    assert done == [1, 3]
    assert [job.finished for job in (first, second, third)] == [True, False, True]
    worker.close()


def test_a_job_stops_within_a_step_and_the_next_goes_on() -> None:
    worker, begun = Worker(), threading.Event()

    def endless(job: Job) -> None:
        job.begin("Generating", 1_000_000)
        while True:
            time.sleep(0.01)
            job.step()
            begun.set()

    job = worker.submit(endless)
    begun.wait(10)
    time.sleep(0.05)
    assert job.seconds_left is not None
    assert 1_000 < job.seconds_left < 1_000_000
    job.stop()
    with pytest.raises(Stopped):
        job.future.result(1)
    worker.submit(lambda job: None).future.result(1)
    worker.submit(endless)
    worker.close()  # stops the endless job


def test_the_queue_has_a_limit() -> None:
    worker, go = Worker(longest_queue=2), threading.Event()
    for _ in range(3):
        worker.submit(lambda job: go.wait(10))
    with pytest.raises(RiffError, match="come back"):
        worker.submit(lambda job: None)
    go.set()
    worker.close()


# Sessions


def upload(sessions: Sessions, visitor: str, name: str = "song.wav", content: bytes = b"x") -> Path:
    path = sessions.uploads / name
    path.write_bytes(content)
    return sessions.claim_upload(visitor, path)


def test_files_belong_to_their_visitor(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    mine, other_page = sessions.get("me", "1"), sessions.get("me", "2")
    file = mine.folder / "mix.wav"
    file.write_bytes(b"sound")
    assert sessions.find_file("me", mine.url(file)) == file
    for visitor, address in [
        ("you", mine.url(file)),
        ("me", "/files/../sessions/x"),
        ("me", f"/files/{mine.folder.name}/../{other_page.folder.name}"),
        ("me", f"/files/{mine.folder.name}"),
        ("me", "/files//etc/passwd"),
    ]:
        with pytest.raises(RiffError):
            sessions.find_file(visitor, address)
    path = upload(sessions, "me")
    assert sessions.find_upload("me", str(path)) == path.resolve()
    for visitor, asked in [("you", path), ("me", file), ("me", "/etc/passwd"), ("me", path.parent), ("", path)]:
        with pytest.raises(OptionError, match="add the file again"):
            sessions.find_upload(visitor, str(asked))


def test_a_closed_page_leaves_nothing_and_keeps_the_other_page(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, reload_s=0)
    first, second = sessions.get("me", "1"), sessions.get("me", "2")
    upload(sessions, "me")
    sessions.close("me", "1")
    assert not first.folder.exists()
    assert second.folder.exists()
    assert (sessions.uploads / "me").exists()
    sessions.close("me", "2")
    sessions.close("me", "2")
    assert [path for path in tmp_path.rglob("*") if path.name not in ("uploads", "sessions")] == []


def test_a_reloaded_page_reopens_its_session_and_no_other_visitor_s(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, reload_s=0.2)
    session = sessions.get("me", "1")
    assert sessions.reopen("me", "1", "2") is None  # it is open
    sessions.close("me", "1")
    assert sessions.reopen("you", "1", "2") is None
    assert sessions.reopen("me", "1", "2") is session
    time.sleep(0.4)
    assert session.folder.exists()
    sessions.close("me", "2")
    time.sleep(0.4)
    assert not session.folder.exists()
    assert sessions.reopen("me", "2", "3") is None


def test_uploads_do_not_pile_up(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    paths = [upload(sessions, "me", f"{number}.wav") for number in range(6)]
    assert [path.exists() for path in paths][-2:] == [True, True]
    assert sum(path.exists() for path in paths) == 3


def test_abandoned_sessions_and_uploads_are_deleted_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(tmp_path, reload_s=0)
    old = sessions.get("me", "1")
    upload(sessions, "nobody")
    tomorrow = time.time() + 25 * 3600
    monkeypatch.setattr("riff.app.sessions.time.time", lambda: tomorrow)
    sessions.get("you", "1")
    assert not old.folder.exists()
    assert not (sessions.uploads / "nobody").exists()


def test_songs_stay_with_keep(tmp_path: Path, song: Path, engine: Engine) -> None:
    sessions = Sessions(tmp_path / "root", keep=tmp_path / "kept")
    actions = Actions(engine, Separation(SeparationOptions("repet"), pytest.fail), sessions, LIMITS)
    session, empty = sessions.get("me", "1"), sessions.get("me", "2")
    actions.open_song(session, sessions.copy_upload("me", song))
    actions.close()
    assert (session.folder / song.name).read_bytes() == song.read_bytes()
    assert session.folder.parent == tmp_path / "kept"
    assert not empty.folder.exists()


# Actions of the buttons


@pytest.fixture
def actions(engine: Engine, tmp_path: Path) -> Iterator[Actions]:
    actions = Actions(engine, Separation(SeparationOptions("repet"), pytest.fail), Sessions(tmp_path), LIMITS)
    yield actions
    actions.close()


@pytest.fixture
def session(actions: Actions, song: Path) -> Session:
    session = actions.sessions.get("me", "1")
    actions.open_song(session, actions.sessions.copy_upload("me", song))
    return session


def generate(
    actions: Actions,
    session: Session,
    request: TakeRequest,
    edges: dict | None = None,
    start_s: float = 2.0,
    roll: str | None = None,
) -> list[PageUpdate]:
    async def collect() -> list[PageUpdate]:
        return [update async for update in actions.generate(session, start_s, start_s + 6, request, edges, roll)]

    return asyncio.run(collect())


def caption(session: Session) -> str:
    """Of the newest take."""
    return "\n".join(session.takes[0].lines)


def test_a_part_is_separated_once(actions: Actions, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    request = quick(next(iter(actions.engine.models)), takes=2)
    updates = generate(actions, session, request)
    assert updates[0].busy
    assert not updates[-1].busy
    assert any(update.edges for update in updates)
    assert session.take_count == 2
    assert [take.name for take in session.takes] == ["Take 1", "Take 2"]
    monkeypatch.setattr(actions._separation, "open_part", pytest.fail)
    updates = generate(actions, session, quick(request.model, "another song"), {"part": "2000-8000", "painted": None})
    assert session.takes[0].name == "Take 3"
    assert not any(update.edges for update in updates)
    assert len(list(session.folder.glob("mix-*.wav"))) == 3
    assert not (session.folder / "cut.wav").exists()


def test_painted_edges_are_kept_with_their_part(actions: Actions, session: Session, part: Part) -> None:
    url = as_url(edges_of(part, (100, 200)))
    painted = {"part": "2000-8000", "painted": url}
    request = quick(next(iter(actions.engine.models)))
    generate(actions, session, request, painted)
    assert "along painted edges" in caption(session)
    updates = generate(actions, session, request, painted, start_s=0.0)
    assert "along painted edges" not in caption(session)
    assert next(update.edges for update in updates if update.edges)["painted"] is None
    assert "Painted ones are kept for 0:02 to 0:08" in updates[-1].status
    updates = generate(actions, session, request, {"part": "0-6000", "painted": None})
    assert "along painted edges" in caption(session)
    assert next(update.edges for update in updates if update.edges)["painted"] == url  # and shown again
    assert updates[-1].status == ""
    kept = actions.edges(session, 2.0, 8.0, (50, 150), painted)
    assert kept.edges is not None
    assert kept.edges["painted"] == url
    assert "The painted edges stay" in kept.status
    generate(actions, session, request, painted | {"painted": None})  # reset by "Start over"
    assert "along painted edges" not in caption(session)
    with pytest.raises(DataError, match="did not arrive whole"):
        generate(actions, session, request, painted | {"painted": "data:text/html,x"})


def test_another_song_has_no_painted_edges(actions: Actions, session: Session, song: Path) -> None:
    session.keep_painted("2000-8000", "data:image/png;base64,x")
    actions.open_song(session, actions.sessions.copy_upload("me", song))
    assert not session.painted


def test_an_edit_model_ignores_painted_edges(actions: Actions, session: Session, part: Part) -> None:
    painted = {"part": "2000-8000", "painted": as_url(edges_of(part, (100, 200)))}
    updates = generate(actions, session, quick("riff-pix2pix-mini", "add a song"), painted)
    assert "painted" not in caption(session)
    assert "painted" not in updates[-1].status
    assert "2000-8000" in session.painted  # for a model that follows them


def test_a_second_press_generates_another_take_unless_a_seed_is_given(actions: Actions, session: Session) -> None:
    model = next(iter(actions.engine.models))

    def seed() -> str:
        found = re.search(r"seed (\d+),", caption(session))
        assert found is not None
        return found[1]

    seeds = set()
    for _ in range(2):
        generate(actions, session, quick(model))
        seeds.add(seed())
    assert len(seeds) == 2
    generate(actions, session, quick(model, seed=0))
    assert seed() == "0"
    generate(actions, session, quick(model, seed=int(max(seeds))))
    assert seed() in seeds
    repeated = [read_audio(path).waveform for path in session.folder.glob("vocal-*.wav") if path.stem[6:] in ("1", "2", "4")]
    assert sum(np.array_equal(vocal, other) for vocal in repeated for other in repeated) == 5  # each itself, and one twice


def test_a_part_above_full_scale_is_lowered_and_reported(actions: Actions, session: Session, part: Part) -> None:
    loud = replace(part.song, accompaniment=part.song.accompaniment * np.float32(2 / np.abs(part.song.accompaniment).max()))
    session.keep_part(replace(part, song=loud))
    generate(actions, session, quick(next(iter(actions.engine.models))))
    assert "all of it is 6.0 dB softer" in caption(session)
    backing, vocal, mix = (
        read_audio(session.folder / f"{name}.wav").waveform for name in ("accompaniment-2000-8000", "vocal-1", "mix-1")
    )
    np.testing.assert_array_equal(mix, backing + vocal)
    assert max(np.abs(waveform).max() for waveform in (backing, vocal, mix)) <= 1


def test_the_part_that_is_proposed_is_one_where_somebody_sings(tmp_path: Path) -> None:
    song = compose(0, 7, 24.0)
    rate, vocals = song.sample_rate, song.stems["vocals"].copy()
    vocals[:, : 12 * rate] = 0
    path = tmp_path / "late.wav"
    write_audio(path, song.mixture - song.stems["vocals"] + vocals / 2, rate)
    upload = receive(path, LIMITS)
    start, end = upload.first_part
    assert end - start == pytest.approx(10.2)
    assert 11.5 < start < end <= upload.duration_s
    assert upload.preview is not None  # a WAV is large
    preview, original = read_audio(upload.preview), read_audio(path)
    np.testing.assert_allclose(preview.waveform, original.waveform, atol=2**-15)
    assert path.stat().st_size > upload.preview.stat().st_size


def test_a_part_can_keep_to_beats(actions: Actions, session: Session) -> None:
    beats = actions.beats(session)
    assert beats is not None
    assert (beats[0], beats[-1]) == (0.0, 9.0)
    assert 60 / np.median(np.diff(beats)) == pytest.approx(123, abs=3)  # the demo song's tempo
    assert actions.beats(session) is beats  # found once
    with pytest.raises(OptionError, match="drop one first"):
        actions.beats(actions.sessions.get("me", "2"))


def test_a_take_is_varied_with_its_seed_and_another_strength(actions: Actions, session: Session) -> None:
    generate(actions, session, quick("riff-cnet-mini", seed=5, takes=2, strength=1.5))

    async def vary() -> list[PageUpdate]:
        return [update async for update in actions.vary(session, 2)]

    asyncio.run(vary())
    softer, harder, _, second = (take.request for take in session.takes)
    assert [softer.seed, harder.seed] == [second.seed, second.seed] == [6, 6]
    assert (softer.strength, harder.strength) == (0.9, 2.25)
    assert softer == replace(second, strength=0.9)
    assert len({take.downloads["vocal.wav"].read_bytes() for take in session.takes}) == 4
    melody = replace(second, melody="compose", melody_strength=0.9)
    assert [one.melody_strength for one in melody.variations(follows_edges=True)] == [0.54, 1.0]
    with pytest.raises(OptionError, match="change the settings instead"):
        replace(second, strength=0.0).variations(follows_edges=True)


def test_the_wait_is_estimated_from_what_was_measured(actions: Actions, session: Session) -> None:
    model = next(iter(actions.engine.models))
    request = quick(model, takes=2)
    assert actions.wait_s(session, 2.0, 8.0, request) is None
    began = time.monotonic()
    generate(actions, session, request)
    taken_s = time.monotonic() - began
    again, longer = (actions.wait_s(session, 2.0, 8.0, one) for one in (request, replace(request, steps=3)))
    assert again is not None
    assert longer == pytest.approx(3 * again)
    assert 0 < again < taken_s  # it is separated and the model is loaded
    elsewhere = actions.wait_s(session, 0.0, 6.0, request)
    assert elsewhere is not None
    assert elsewhere > again
    with pytest.raises(OptionError):
        actions.wait_s(session, 10.0, 11.0, request)


def test_a_song_of_a_moment_is_refused_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    write_audio(path, np.full((2, 8_820), 0.3, np.float32), 44_100)
    with pytest.raises(AudioError, match=r"lasts 0\.20 s; give a song of 1 s or more"):
        receive(path, LIMITS)


@pytest.mark.parametrize(
    ("typed", "control", "edit"),
    [
        ("a sad male vocal", "Generate a sad male vocal", "add a sad male vocal"),
        ("Female vocal pop", "Generate Female vocal pop", "add Female vocal pop"),
        ("add a choir", "Generate a choir", "add a choir"),
        ("remove the vocal", "remove the vocal", "remove the vocal"),
        ("", "Generate a vocal melody", "add a vocal melody"),
    ],
)
def test_one_description_serves_both_types_of_model(engine: Engine, typed: str, control: str, edit: str) -> None:
    assert engine.load("riff-cnet-mini").prompt_for(typed) == control
    assert engine.load("riff-pix2pix-mini").prompt_for(typed) == edit


def test_closing_the_updates_stops_the_job(actions: Actions, session: Session) -> None:
    request = TakeRequest(next(iter(actions.engine.models)), "a song", steps=100)

    async def leave() -> None:
        generating = actions.generate(session, 2.0, 8.0, request, None)
        async for update in generating:
            if "step 1" in update.status:
                break
        await generating.aclose()

    asyncio.run(leave())
    assert session.job is not None
    with pytest.raises(Stopped):
        session.job.future.result(10)
    assert session.takes == []
    generate(actions, session, quick(request.model))
    assert len(session.takes) == 1


def test_without_a_song_nothing_is_generated(actions: Actions) -> None:
    with pytest.raises(OptionError, match="drop one first"):
        generate(actions, actions.sessions.get("me", "2"), TakeRequest(next(iter(actions.engine.models)), "a song"))


def test_a_busy_page_refuses_another_song_and_another_request(actions: Actions, session: Session, song: Path) -> None:
    may_end = threading.Event()
    session.job = actions._worker.submit(lambda job: may_end.wait(10))
    with pytest.raises(OptionError, match="cancel it or wait"):
        actions.open_song(session, actions.sessions.copy_upload("me", song))
    with pytest.raises(OptionError, match="generating already"):
        generate(actions, session, quick(next(iter(actions.engine.models))))
    may_end.set()


def test_a_song_that_cannot_be_read_is_gone_and_the_one_before_stays(actions: Actions, session: Session, tmp_path: Path) -> None:
    before = session.song
    noise = upload(actions.sessions, "me", "noise.wav", b"no sound" * 100)
    with pytest.raises(AudioError):
        actions.open_song(session, noise)
    assert not noise.exists()
    assert session.song is before
    assert before is not None
    assert before.path.is_file()


def test_a_take_can_follow_a_tune(actions: Actions, session: Session, tmp_path: Path) -> None:
    model, hum = next(iter(actions.engine.models)), tmp_path / "hum.wav"
    times = np.arange(3 * RATE) / RATE
    write_audio(hum, np.sin(2 * np.pi * 220 * times)[None].astype(np.float32), RATE)
    notes: dict[int, list[Note]] = {}
    for melody in ("compose", "compose", "original", str(hum)):
        generate(actions, session, quick(model, "a male vocal", seed=len(notes), melody=melody))
        take = session.takes[0]
        assert "melody: " in caption(session)
        notes[take.number], _ = read_midi(take.downloads["tune.mid"])
    assert notes[1] != notes[2]  # each seed has a tune of its own
    assert {round(note.pitch) for note in notes[4]} == {57}  # A3, as hummed
    assert notes[4][0].start < 0.2
    assert notes[4][-1].end == pytest.approx(3, abs=0.2)
    generate(actions, session, quick(model))
    assert "tune.mid" not in session.takes[0].downloads
    silent = tmp_path / "silent.wav"
    write_audio(silent, np.zeros((1, RATE), np.float32), RATE)
    with pytest.raises(DataError, match="no pitch was found"):
        generate(actions, session, quick(model, melody=str(silent)))


def tune_of(session: Session) -> list[Note]:
    """Of the newest take."""
    return read_midi(session.takes[0].downloads["tune.mid"])[0]


def show_tune(actions: Actions, session: Session, request: TakeRequest, roll: str | None = None) -> dict:
    """The notes that are shown for the part from 2 to 8 s."""

    async def collect() -> list[PageUpdate]:
        return [update async for update in actions.show_tune(session, 2.0, 8.0, request, (100, 200), roll)]

    return json.loads(next(update.tune for update in reversed(asyncio.run(collect())) if update.tune))


def test_takes_sing_the_notes_that_are_shown(actions: Actions, session: Session) -> None:
    request = quick(next(iter(actions.engine.models)), "a male vocal", melody="compose", seed=5)
    roll = show_tune(actions, session, request)
    assert (roll["part"], roll["melody"]) == ("2000-8000", "compose")
    assert np.all(np.diff(roll["grid"]) > 0)
    generate(actions, session, request)
    np.testing.assert_allclose(tune_of(session), roll["notes"], atol=0.011)  # of the given seed

    changed = [[0.5, 1.5, 60], [1.5, 2.0, 60], [2.0, 4.0, 62]]
    edited = json.dumps(roll | {"notes": changed})
    generate(actions, session, replace(request, seed=None), {"part": "2000-8000"}, roll=edited)
    take = session.takes[0]
    assert "composed for the backing, with the notes that were shown" in caption(session)
    np.testing.assert_allclose(tune_of(session), changed, atol=0.031)  # a repeated note has a rest before
    with zipfile.ZipFile(next(path for path in take.downloads.values() if path.suffix == ".zip")) as archive:
        assert archive.read("tune.mid") == take.downloads["tune.mid"].read_bytes()

    other = show_tune(actions, session, request, edited)  # another tune
    assert other["notes"] not in (changed, roll["notes"])
    with pytest.raises(OptionError, match="no notes left"):
        generate(actions, session, request, roll=json.dumps(roll | {"notes": []}))
    actions.settings(session, take.number)  # puts the notes of a take back
    assert json.loads(actions.notes(session, "compose"))["notes"] == changed
    actions.keep_notes(session, json.dumps(roll | {"notes": None}))
    generate(actions, session, request)
    np.testing.assert_allclose(tune_of(session), roll["notes"], atol=0.011)


def test_notes_are_kept_for_their_part_and_melody(actions: Actions, session: Session, tmp_path: Path) -> None:
    midi = tmp_path / "uploads" / "me" / "1" / "tune.mid"
    midi.parent.mkdir(parents=True)
    write_midi(midi, [Note(0.0, 1.0, 40.0), Note(1.0, 2.0, 43.0), Note(5.0, 9.0, 45.0)])
    model = next(iter(actions.engine.models))
    with pytest.raises(OptionError, match="no MIDI file yet"):
        actions.melody(session, "midi", None)
    source = actions.melody(session, "midi", str(midi))
    midi.unlink()
    roll = show_tune(actions, session, quick(model, "a female vocal", melody=source))
    assert roll["notes"] == [[0, 1, 64], [1, 2, 67], [5, 6, 69]]  # as high as the voice, as long as the part
    composed = show_tune(actions, session, quick(model, "a female vocal", melody="compose"))
    assert actions.last_melody(session) == "compose"
    edited = json.dumps(roll | {"notes": [[0.2, 1, 65]]})
    actions.keep_notes(session, edited)
    assert json.loads(actions.notes(session, "compose")) == composed
    assert actions.last_melody(session) == "midi"  # what a reload shows
    assert json.loads(actions.notes(session, "midi"))["notes"] == [[0.2, 1, 65]]
    assert "notes" not in json.loads(actions.notes(session, "original"))
    assert actions.melody(session, "midi", None) == source  # though the page has lost the file
    generate(actions, session, quick(model, melody=source), roll=edited)
    assert "melody: your MIDI file, with the notes" in caption(session)
    generate(actions, session, quick(model, melody=source), roll=edited, start_s=1.0)  # another part
    assert "with the notes" not in caption(session)
    another = midi.parent.parent / "2" / "tune.mid"
    another.parent.mkdir()
    write_midi(another, [Note(0.0, 1.0, 70.0)])
    assert actions.melody(session, "midi", str(another)) != source
    assert ("2000-8000", "midi") not in session.tunes  # the notes of the other file


@pytest.mark.parametrize(
    "wrong",
    [
        *({"notes": [note]} for note in ([1, 2], [2, 1, 60], [0, 7, 60], [0, 1, 20], [0, float("nan"), 60])),
        *({"part": "../x"}, {"melody": "/etc/passwd"}, {"notes": [[0, 1, 60]] * 501}),
    ],
)
def test_notes_that_cannot_be_sung_are_refused(wrong: dict) -> None:
    right = {"part": "2000-8000", "melody": "compose", "notes": [[0, 1, 60], [5, 6, 84]]}
    assert read_roll(json.dumps(right)) == (("2000-8000", "compose"), (Note(0, 1, 60), Note(5, 6, 84)))
    assert read_roll(json.dumps(right | {"notes": None})) == (("2000-8000", "compose"), None)
    with pytest.raises(DataError, match="did not arrive whole"):
        read_roll(json.dumps(right | wrong))


def test_a_project_for_a_daw_adds_up(actions: Actions, session: Session, tmp_path: Path) -> None:
    generate(actions, session, quick(next(iter(actions.engine.models)), "a male vocal", melody="compose", seed=5))
    name, project = next((name, path) for name, path in session.takes[0].downloads.items() if path.suffix == ".zip")
    assert re.fullmatch(r"for your DAW, \d+ BPM, [A-G]( sharp| flat)? (major|minor)\.zip", name)
    with zipfile.ZipFile(project) as archive:
        archive.extractall(tmp_path)
    files = {path.name for path in tmp_path.iterdir()} - {"sessions", "uploads"}
    sounds = {"original.wav", "accompaniment.wav", "vocal.wav", "mix.wav"}
    assert files == sounds | {"vocal.mid", "tune.mid", "project.rpp", "about.txt"}
    assert {soundfile.info(tmp_path / name).subtype for name in sounds} == {"PCM_24"}
    mix, backing, vocal = (
        soundfile.read(tmp_path / f"{name}.wav", dtype="int32")[0] >> 8 for name in ("mix", "accompaniment", "vocal")
    )
    np.testing.assert_array_equal(mix, backing + vocal)
    assert len(mix) == 6 * RATE
    about = (tmp_path / "about.txt").read_text()
    assert "prompt: a male vocal" in about
    assert "seed: 5" in about
    for file in re.findall(r'FILE "(.+)"', (tmp_path / "project.rpp").read_text()):
        assert (tmp_path / file).is_file()


def test_takes_are_named_starred_deleted_and_repeated(actions: Actions, session: Session) -> None:
    model = next(iter(actions.engine.models))
    generate(actions, session, quick(model, takes=2, best_of=2, seed=7))
    first, second = session.takes
    actions.rename(session, 1, "  The good one ")
    actions.star(session, 1, True)
    assert 'value="The good one"' in actions.takes(session)
    assert 'aria-pressed="true" aria-label="star"' in actions.takes(session)
    actions.rename(session, 1, " ")
    assert first.name == "Take 1"
    generate(actions, session, actions.settings(session, 2))
    repeated, before = (read_audio(take.downloads["vocal.wav"]).waveform for take in (session.takes[0], second))
    np.testing.assert_array_equal(repeated, before)
    files = list(second.files)
    actions.delete(session, 2)
    assert [take.number for take in session.takes] == [3, 1]
    assert not any(path.exists() for path in files)
    assert all(path.exists() for take in session.takes for path in {*take.files, *take.sounds.values()})
    with pytest.raises(OptionError, match="not there any more"):
        actions.delete(session, 2)
    session.takes *= 15
    with pytest.raises(OptionError, match="delete some"):
        generate(actions, session, quick(model))


def test_names_are_escaped(actions: Actions, session: Session) -> None:
    generate(actions, session, quick(next(iter(actions.engine.models))))
    name = '<img src=x onerror="alert(1)">'
    take = replace(session.takes[0], name=name, lines=[name], sounds=dict.fromkeys(session.takes[0].sounds, Path(name)))
    page = takes_page([take], name, str)
    assert "<img src=x" not in page
    assert 'onerror="' not in page


def test_original_and_mix_are_equally_loud_in_the_player(actions: Actions, session: Session, part: Part) -> None:
    session.keep_part(replace(part, song=replace(part.song, accompaniment=part.song.accompaniment / 2)))
    generate(actions, session, quick(next(iter(actions.engine.models))))
    take = session.takes[0]
    sounds = {name: read_audio(path) for name, path in take.sounds.items()}
    rate = sounds["vocal"].sample_rate
    gains = {name: np.float32(10 ** (gain / 20)) for name, gain in take.gains_db.items()}
    mix = gains["others"] * (sounds["backing"].waveform + sounds["vocal"].waveform)
    difference = loudness_against(gains["original"] * sounds["original"].waveform, mix, rate)
    assert difference == pytest.approx(0, abs=0.1)
    assert max(take.gains_db.values()) == 0
    assert take.gains_db["original"] < -1  # it was louder
    saved = read_audio(take.downloads["vocal.wav"]).waveform
    np.testing.assert_allclose(sounds["vocal"].waveform, saved, atol=2**-15)


# A take that plays while it is generated


def play(actions: Actions, session: Session, request: TakeRequest) -> list[PageUpdate]:
    """Of the whole song: three windows."""

    async def collect() -> list[PageUpdate]:
        return [update async for update in actions.play(session, 0.0, 9.0, request, None)]

    return asyncio.run(collect())


@pytest.fixture
def after_each_piece(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Calls a function after each piece, before the next is generated."""
    add = LiveTake.add

    def call(then: Callable[[], object]) -> None:
        monkeypatch.setattr(LiveTake, "add", lambda live, piece: (add(live, piece), then()))

    monkeypatch.setattr("riff.app.live.SETTLED_S", 0.0)
    return call


def played(session: Session) -> list[np.ndarray]:
    """The pieces of the newest take that played."""
    return [read_audio(path).waveform for path in sorted(session.folder.glob("piece-*"))]


def test_the_pieces_that_play_are_the_take_that_is_kept(actions: Actions, session: Session) -> None:
    request = quick(next(iter(actions.engine.models)), seed=3, takes=4, best_of=8)
    updates = play(actions, session, request)
    values = [json.loads(update.live) for update in updates if update.live]
    assert [len(value["pieces"]) for value in values] == [1, 2, 3]
    assert values[-1]["seconds"] == 9.0
    pieces = [read_audio(actions.sessions.find_file("me", url)).waveform for url in values[-1]["pieces"]]
    assert pieces[0].shape[1] > 3.5 * RATE
    mix = read_audio(session.takes[0].downloads["mix.wav"]).waveform
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), mix, atol=2**-15)
    assert "seed 3," in caption(session)
    assert caption(session).endswith("played while it was generated")
    assert (len(session.takes), updates[-1].status, updates[-1].busy, session.live) == (1, "", False, None)
    play(actions, session, request)
    np.testing.assert_array_equal(read_audio(session.takes[0].downloads["mix.wav"]).waveform, mix)
    assert len(played(session)) == 3


def test_settings_that_change_while_it_plays_are_followed_from_there_on(
    actions: Actions, session: Session, after_each_piece: Callable
) -> None:
    request = quick(next(iter(actions.engine.models)), seed=3)
    play(actions, session, request)
    before = played(session)
    wanted = replace(request, prompt="another song", strength=2.5, seed=9, steps=4)
    after_each_piece(lambda: actions.steer(session, wanted))
    play(actions, session, request)
    after = played(session)
    np.testing.assert_array_equal(after[0], before[0])
    assert max(np.abs(new - old).max() for new, old in zip(after[1:], before[1:], strict=True)) > 0.01
    assert re.search(r"from 0:0[345][.\d]* on: prompt another song, strength 2\.5$", caption(session))
    own = session.takes[0].request
    assert (own.prompt, own.strength, own.seed, own.steps) == ("another song", 2.5, 3, 1)


def test_a_change_that_is_not_possible_leaves_the_take_as_it_was(
    actions: Actions, session: Session, after_each_piece: Callable, tmp_path: Path
) -> None:
    request, silent = quick(next(iter(actions.engine.models)), seed=3), tmp_path / "silent.wav"
    write_audio(silent, np.zeros((1, RATE), np.float32), RATE)
    after_each_piece(lambda: actions.steer(session, replace(request, melody=str(silent))))
    with pytest.raises(DataError, match="no pitch was found"):
        play(actions, session, request)
    assert session.takes[0].request == request
    assert len(played(session)) == 3


def test_a_take_that_is_stopped_while_it_plays_leaves_nothing(
    actions: Actions, session: Session, after_each_piece: Callable
) -> None:
    after_each_piece(lambda: actions.stop(session))
    updates = play(actions, session, quick(next(iter(actions.engine.models))))
    assert [bool(update.live) for update in updates if update.live is not None] == [True, False]
    assert "Cancelled." in updates[-1].status
    assert (session.takes, session.take_count, session.live) == ([], 0, None)
    assert not [*session.folder.glob("piece-*"), *session.folder.glob("mix-*")]


def test_a_setting_is_taken_over_when_it_stays(part: Part, tmp_path: Path) -> None:
    live, followed = LiveTake(tmp_path, part, TakeRequest("a model", "a sad")), list[TakeRequest]()
    live.want(replace(live.request, prompt="a sad ma"))
    live.follow(followed.append)
    assert followed == []
    assert live.request.prompt == "a sad"


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (5.04, "0:05"), (59.96, "1:00"), (75.5, "1:15.5"), (3661, "61:01")])
def test_times_are_shown_as_on_a_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_without_any_model_there_is_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("riff.app.engine.ROOT", tmp_path)
    with pytest.raises(OptionError, match="run this in the repository's folder, or give --model"):
        offered_models()


def test_an_empty_seed_is_none() -> None:
    assert [parse_seed(text) for text in ("", None, "  ", "0", " 17 ")] == [None, None, None, 0, 17]
    for text in ("-1", "1.5", "seven", "9" * 30):
        with pytest.raises(OptionError, match=r"seed: .* is no seed; give a whole number"):
            parse_seed(text)
