"""Images of any length are sampled in windows without seams."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from riff.errors import DataError, OptionError
from riff.models.edit import attach_edit
from riff.models.encoders import encode_images
from riff.models.loading import load_base, load_control_pipeline
from riff.sampling.edit import sample_edit
from riff.sampling.known_region import SOFT_COLUMNS, KnownRegion
from riff.sampling.options import EditOptions, SamplingOptions
from riff.sampling.pipelines import prepare_pipeline, sample_control
from riff.sampling.window_models import ControlWindows, EditWindows
from riff.sampling.windows import WindowLayout, sample_windows

HEIGHT, WIDTH, FACTOR = 64, 128, 16  # of the small test images, and of the tiny base's latents
SMALL = WindowLayout(WIDTH)
PROMPT = "add a female vocal pop melody"
GUIDED = EditOptions(2, 7.5, 1.5)
GUESSED = SamplingOptions(2, 4.0, 1.0, guess_mode=True)
no_fixture_reset = settings(
    max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def edit(tiny_base: Path):  # type: ignore[no-untyped-def]
    made = attach_edit(load_base(str(tiny_base)))
    torch.manual_seed(1)
    torch.nn.init.normal_(made.unet.conv_in.weight, std=0.1)  # as if trained
    return prepare_pipeline(made)


@pytest.fixture(scope="module")
def control(tiny_control: Path):  # type: ignore[no-untyped-def]
    made = prepare_pipeline(load_control_pipeline(tiny_control))
    torch.manual_seed(1)
    for zero in (made.controlnet.controlnet_mid_block, made.controlnet.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(zero.weight, std=0.3)
    return made


def random_image(frames: int, seed: int = 0, height: int = HEIGHT) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, frames), dtype=np.uint8)


def edges(frames: int, height: int = HEIGHT) -> np.ndarray:
    return np.where(random_image(frames, 1, height) > 230, 255, 0).astype(np.uint8)


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def draw_edit(pipeline, frames: int, seed: int = 3, options: EditOptions = GUIDED, **more) -> np.ndarray:  # type: ignore[no-untyped-def]
    predictor = EditWindows(pipeline, random_image(frames), PROMPT, options)
    return sample_windows(pipeline, predictor, frames, seed, options.steps, **{"layout": SMALL, "height": HEIGHT, **more})


def draw_control(pipeline, hint: np.ndarray, options: SamplingOptions, seed: int = 3, layout=SMALL) -> np.ndarray:  # type: ignore[no-untyped-def]
    predictor = ControlWindows(pipeline, hint, PROMPT, options)
    return sample_windows(pipeline, predictor, hint.shape[1], seed, options.steps, layout, height=HEIGHT)


@dataclass
class Constant:
    """Predicts the same whatever it sees."""

    value: float

    def noise(self, latents: torch.Tensor, timestep: torch.Tensor, starts: Sequence[int]) -> torch.Tensor:
        return torch.full_like(latents, self.value)


@contextmanager
def inputs_of(module: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """Records the inputs of a module, call by call."""
    seen: list[torch.Tensor] = []
    hook = module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        hook.remove()


# Layout


@given(st.integers(1, 3000), st.integers(1, 16), st.floats(0, 0.98), st.sampled_from([8, 16]))
def test_windows_cover_any_length_with_weights_that_sum_to_one(more, columns, overlap, factor) -> None:
    width = columns * factor
    layout, frames = WindowLayout(width, overlap), width + more
    starts = layout.starts(frames, factor)
    padded = -(-frames // factor) * factor
    assert starts[0] == 0
    assert starts[-1] == padded - width
    assert all(start % factor == 0 for start in starts)
    assert all(0 < b - a <= width for a, b in pairwise(starts))
    for unit in (factor, 1):
        weights = layout.weights(starts, unit, padded // unit).double().numpy()
        assert (weights > 0).all()
        total = np.zeros(padded // unit)
        for start, weight in zip(starts, weights, strict=True):
            total[start // unit : start // unit + len(weight)] += weight
        np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.75])
def test_weights_are_continuous(overlap: float) -> None:
    layout = WindowLayout(512, overlap)
    starts = layout.starts(3000, 16)
    for number, weights in enumerate(layout.weights(starts, 1, starts[-1] + 512).numpy()):
        assert np.abs(np.diff(weights)).max() < 0.03 / overlap**2
        assert weights[0] == 1 if number == 0 else weights[0] < 1e-3
        assert weights[-1] == 1 if number == len(starts) - 1 else weights[-1] < 1e-3


def test_invalid_layouts_are_refused() -> None:
    with pytest.raises(OptionError, match=r"overlap by 1"):
        WindowLayout(overlap=1.0)
    with pytest.raises(OptionError, match=r"batch of 0"):
        WindowLayout(batch_size=0)
    with pytest.raises(DataError, match=r"100 frames is narrower than a window of 512"):
        WindowLayout().starts(100, 16)


# The loop


@no_fixture_reset
@given(frames=st.integers(WIDTH, 500), value=st.floats(-1, 1), overlap=st.floats(0, 0.9))
def test_with_a_constant_prediction_windows_have_no_effect(edit, frames, value, overlap) -> None:
    layout = WindowLayout(WIDTH, overlap)
    with inputs_of(edit.vae.decoder) as decoded:
        drawn = sample_windows(edit, Constant(value), frames, 5, 3, layout, height=HEIGHT)
    assert (drawn.shape, drawn.dtype) == ((HEIGHT, frames), np.uint8)
    scheduler = copy.deepcopy(edit.scheduler)
    scheduler.set_timesteps(3)
    latents = torch.randn((1, 4, HEIGHT // FACTOR, -(-frames // FACTOR)), generator=torch.Generator().manual_seed(5))
    for timestep in scheduler.timesteps:
        latents = scheduler.step(torch.full_like(latents, value), timestep, latents).prev_sample
    for start, window in zip(layout.starts(frames, FACTOR), decoded, strict=True):
        expected = latents[..., start // FACTOR : (start + WIDTH) // FACTOR] / edit.vae.config.scaling_factor
        expected = edit.vae.post_quant_conv(expected)
        torch.testing.assert_close(window, expected, atol=1e-4, rtol=1e-4)


def test_one_window_is_the_single_clip(edit) -> None:
    clip = random_image(512, height=512)
    long = sample_windows(edit, EditWindows(edit, clip, PROMPT, GUIDED), 512, 3, GUIDED.steps)
    np.testing.assert_array_equal(long, sample_edit(edit, [clip], [PROMPT], [3], GUIDED)[0])


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(2, 4.0, 1.3, negative_prompt="noise"),
        SamplingOptions(2, 1.0, 0.7),
        GUESSED,
        SamplingOptions(2, 1.0, 1.0, guess_mode=True),
        SamplingOptions(2, 4.0, 0.0),
    ],
)
def test_one_window_with_a_controlnet_equals_the_stock_pipeline(control, options: SamplingOptions) -> None:
    hint = edges(WIDTH)
    stock = sample_control(control, [hint], [PROMPT], [3], options)[0]
    ours = draw_control(control, hint, options)
    assert difference(ours, stock) <= 1  # the order of a sum
    assert (difference(ours, draw_control(control, np.zeros_like(hint), options)) > 1) == (options.strength > 0)


@settings(no_fixture_reset, max_examples=3)
@given(frames=st.integers(WIDTH + 1, 400), seed=st.integers(0, 2**31), batch_size=st.integers(2, 6))
def test_an_image_depends_on_its_seed_and_not_on_the_batch_size(edit, control, frames, seed, batch_size) -> None:
    many = WindowLayout(WIDTH, batch_size=batch_size)
    one_by_one = draw_edit(edit, frames, seed)
    assert difference(one_by_one, draw_edit(edit, frames, seed, layout=many)) <= 1
    np.testing.assert_array_equal(one_by_one, draw_edit(edit, frames, seed))
    assert difference(one_by_one, draw_edit(edit, frames, seed + 1)) > 1
    controlled = [draw_control(control, edges(frames), SamplingOptions(2), seed, layout) for layout in (SMALL, many)]
    assert difference(*controlled) <= 1


def test_only_the_models_run_in_half_precision(edit, control) -> None:
    """The latents, their averages and their steps stay in float32."""
    for pipeline, draw in (
        (edit, lambda made: draw_edit(made, 200)),
        (control, lambda made: draw_control(made, edges(200), GUESSED)),
    ):
        half = copy.deepcopy(pipeline).to(torch.bfloat16)
        with inputs_of(half.unet) as predicted:
            ours = draw(half)
        assert {one.dtype for one in predicted} == {torch.bfloat16}
        assert 0 < difference(ours, draw(pipeline)) < 30


def test_memory_does_not_grow_with_the_song(edit, control) -> None:
    """The UNet and the autoencoder process single windows, as many at once as the batch size."""
    steps: list[int] = []
    with inputs_of(edit.unet) as predicted, inputs_of(edit.vae.decoder) as decoded, inputs_of(edit.vae.encoder) as encoded:
        draw_edit(edit, 10 * WIDTH, layout=WindowLayout(WIDTH, batch_size=2), on_step=steps.append)
    assert {one.shape for one in predicted} == {
        (2 * 3, 8, HEIGHT // FACTOR, WIDTH // FACTOR),
        (3, 8, HEIGHT // FACTOR, WIDTH // FACTOR),
    }
    assert {one.shape for one in decoded} == {(1, 4, HEIGHT // FACTOR, WIDTH // FACTOR)}
    assert {one.shape for one in encoded} == {(1, 3, HEIGHT, WIDTH)}
    assert len(encoded) == len(decoded) == 19  # each window once, whatever the number of steps
    assert steps == [1, 2]
    with inputs_of(control.controlnet.controlnet_cond_embedding) as hints:
        draw_control(control, edges(4 * WIDTH), SamplingOptions(3))
    assert len(hints) == 7


# Guidance


@pytest.mark.parametrize(
    ("image_scale", "text_scale", "predictions"),
    [(1.5, 7.5, 3), (1.0, 7.5, 2), (1.0, 1.0, 1), (0.0, 0.0, 1), (0.0, 2.0, 3), (2.0, 2.0, 2)],
)
def test_predictions_of_weight_zero_are_skipped(edit, image_scale, text_scale, predictions) -> None:
    with inputs_of(edit.unet) as predicted:
        draw_edit(edit, WIDTH, options=EditOptions(1, text_scale, image_scale))
    assert [len(one) for one in predicted] == [predictions]


@pytest.mark.parametrize(("scale", "strength", "unet", "controlnet"), [(4.0, 1.0, 2, [2]), (1.0, 1.0, 1, [1]), (4.0, 0.0, 2, [])])
def test_control_without_guidance_or_strength_predicts_less(control, scale, strength, unet, controlnet) -> None:
    with inputs_of(control.unet) as predicted, inputs_of(control.controlnet.mid_block) as controlled:
        draw_control(control, edges(WIDTH), SamplingOptions(1, scale, strength))
    assert [len(one) for one in predicted] == [unet]
    assert [len(one) for one in controlled] == controlnet


@no_fixture_reset
@given(image_scale=st.floats(0, 3), text_scale=st.floats(0, 10))
def test_three_way_guidance_is_its_formula_at_every_scale(edit, image_scale, text_scale) -> None:
    latents = torch.randn((2, 4, 4, 8), generator=torch.Generator().manual_seed(0))
    timestep, starts = torch.tensor(500), [0, 64]

    def predict(image: float, text: float) -> torch.Tensor:
        return EditWindows(edit, random_image(200), PROMPT, EditOptions(1, text, image)).noise(latents, timestep, starts)

    nothing, seen, told = predict(0, 0), predict(1, 0), predict(1, 1)
    formula = nothing + image_scale * (seen - nothing) + text_scale * (told - seen)
    torch.testing.assert_close(predict(image_scale, text_scale), formula, atol=2e-4, rtol=1e-4)


# Known regions


def region(frames: int, *spans: tuple[int, int]) -> np.ndarray:
    replace = np.zeros(frames, bool)
    for start, stop in spans:
        replace[start:stop] = True
    return replace


@no_fixture_reset
@given(frames=st.integers(WIDTH, 600), start=st.integers(0, 560), length=st.integers(1, 300))
def test_known_frames_are_kept_and_the_others_generated(edit, frames, start, length) -> None:
    start = min(start, frames - 1)
    known, replace = random_image(frames, 7), region(frames, (start, start + length))
    drawn = draw_edit(edit, frames, known_region=KnownRegion(known, replace))
    np.testing.assert_array_equal(drawn[:, ~replace], known[:, ~replace])
    assert difference(drawn[:, replace], known[:, replace]) > 1


def test_only_windows_with_generated_frames_are_predicted(edit) -> None:
    frames = 8 * WIDTH
    known = random_image(frames)
    with inputs_of(edit.unet) as predicted:
        np.testing.assert_array_equal(draw_edit(edit, frames, known_region=KnownRegion(known, region(frames))), known)
        assert predicted == []
        draw_edit(edit, frames, known_region=KnownRegion(known, region(frames, (4 * WIDTH, 4 * WIDTH + 10))))
    assert len(predicted) == 2 * 2  # two windows, two steps


@no_fixture_reset
@given(st.integers(1, 400), st.integers(0, 399), st.integers(1, 400), st.sampled_from([8, 16]))
def test_the_soft_mask_fades_in_beside_known_frames(frames, start, length, factor) -> None:
    start = min(start, frames - 1)
    replace = region(frames, (start, start + length))
    share = KnownRegion(random_image(frames), replace).share(factor)
    stop = min(start + length, frames)
    assert (share[~replace] == 0).all()
    assert (share[replace] > 0).all()
    assert share.max() == 1 or stop - start < 3
    soft = min(SOFT_COLUMNS * factor, (stop - start) // 3)
    if soft:
        assert np.abs(np.diff(share)).max(initial=0) <= 0.5 * np.pi / soft
    assert start > 0 or share[0] == 1
    assert stop < frames or share[-1] == 1


def test_known_latents_have_the_noise_level_of_every_step(edit) -> None:
    columns, kept = WIDTH // FACTOR, WIDTH // FACTOR // 2
    known = random_image(WIDTH)
    held = KnownRegion(known, region(WIDTH, (kept * FACTOR, WIDTH)))
    with inputs_of(edit.unet) as predicted, inputs_of(edit.vae.post_quant_conv) as decoded:
        draw_edit(edit, WIDTH, seed=9, options=EditOptions(3, 1.0, 1.0), known_region=held)
    scale = edit.vae.config.scaling_factor
    with torch.inference_mode():
        latents = encode_images(edit.vae, [known]).mode() * scale
    noise = torch.randn((1, 4, HEIGHT // FACTOR, columns), generator=torch.Generator().manual_seed(9))
    assert len(predicted) == len(edit.scheduler.timesteps) == 3
    for seen, timestep in zip(predicted, edit.scheduler.timesteps, strict=True):
        noisy = edit.scheduler.add_noise(latents, noise, timestep[None])
        torch.testing.assert_close(seen[:, :4, :, :kept], noisy[..., :kept])
        assert not torch.allclose(seen[:, :4, :, kept:], noisy[..., kept:], atol=1e-2)
    torch.testing.assert_close(decoded[0][..., :kept], latents[..., :kept] / scale)


def test_a_join_is_continuous(edit) -> None:
    """With a blank known image and a model that generates dots, the dots fade in slowly."""
    frames, start = 4 * WIDTH, 2 * WIDTH
    known = np.full((HEIGHT, frames), 255, np.uint8)
    drawn = draw_edit(edit, frames, known_region=KnownRegion(known, region(frames, (start, frames)))).astype(float)
    inside = np.abs(drawn[:, start:] - 255).mean(axis=0)
    assert inside[-WIDTH:].mean() > 30
    assert inside[0] < 0.05 * inside[-WIDTH:].mean()
    assert inside[:FACTOR].mean() < inside[FACTOR : 2 * FACTOR].mean() < inside[-WIDTH:].mean()


def test_sizes_that_do_not_fit_are_refused(edit) -> None:
    with pytest.raises(DataError, match="multiples of 64"):
        draw_edit(edit, 300, layout=WindowLayout(100))
    with pytest.raises(DataError, match="narrower than a window of 128"):
        draw_edit(edit, 100)
    for wrong in (
        KnownRegion(random_image(200), region(300)),
        KnownRegion(random_image(300), region(200)),
        KnownRegion(random_image(300, height=32), region(300)),
    ):
        with pytest.raises(DataError, match="does not fit an output of 64x300"):
            draw_edit(edit, 300, known_region=wrong)


# Devices


class RecordedDtypes(TorchDispatchMode):
    """Records the dtypes of all tensors that operations make."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = function(*args, **(kwargs or {}))
        self.dtypes |= {tensor.dtype for tensor in tree_iter(made) if isinstance(tensor, torch.Tensor)}
        return made


def test_sampling_needs_no_float64(edit, control) -> None:  # type: ignore[no-untyped-def]
    """MPS has none."""
    with RecordedDtypes() as recorded:
        draw_edit(edit, WIDTH + 40)
        draw_control(control, edges(WIDTH + 40), GUESSED)
        sample_control(control, [edges(WIDTH)], [PROMPT], [0], GUESSED)
    assert torch.float32 in recorded.dtypes
    assert torch.float64 not in recorded.dtypes
