"""Whatever a person gives to the flags of sampling and training: a value in range or one line and status 2, never a traceback."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from script_parser import flags_of

from riff import cli
from riff.cli.numbers import Number
from riff.errors import RiffError

SAMPLING = ("sample_riff_cnet", "inference_instruct_pix2pix", "inpaint_song")
TRAINING = ("cnet_riff_training", "train_instruct_pix2pix")
OFTEN = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
OFTENER = settings(OFTEN, max_examples=2000)
LONG = 5000  # characters: longer than any path may be
HELP = ("-h", "--help", "--version")

FLOATS = st.one_of(st.floats().map(repr), st.sampled_from(["nan", "-NaN", "inf", "-inf", "1e999", "1e-5", "-1e-5", "-.5", "0x10"]))
WHOLES = st.one_of(st.integers(), st.sampled_from([-1, 0, 2**31, 2**32, 2**40, 2**64, 10**9, -(2**63)])).map(str)
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    st.sampled_from(
        ["", " ", "x" * LONG, "9" * LONG, "a/" * LONG, "..", "~", "%s", "None", "True", "auto", "0:32", "1:2:3:4", "\udcff"]
    ),
).filter(lambda text: text not in HELP)


def any_flags(script: str) -> st.SearchStrategy[list[str]]:
    """Some of the flags with anything after them."""
    values = st.one_of(FLOATS, WHOLES, TEXTS)

    def words_of(action: Any) -> st.SearchStrategy[list[str]]:
        name = action.option_strings[-1 if action.nargs != "?" else 0]
        fitting = st.sampled_from([*map(str, action.choices)]) if action.choices else values
        value = st.one_of(values, fitting)
        apart = st.lists(value, max_size=3 if action.nargs in ("+", "*", "?", 2) else 1).map(lambda words: [name, *words])
        return st.one_of(apart, value.map(lambda word: [f"{name}={word}"]))

    some = st.lists(st.sampled_from(flags_of(script)).flatmap(words_of), min_size=1, max_size=3)
    return some.map(lambda parts: [word for part in parts for word in part])


def in_range(action: Any, value: Any) -> bool:
    if not isinstance(action.type, Number):
        return True
    values = value if isinstance(value, list) else [value]
    return all(one is None or one == action.default or one in action.type.words.values() or one in action.type for one in values)


def outcome(run: Callable[[], Any]) -> Any:
    """What it returns, or None where it ended in one line and status 2."""
    stderr, status = io.StringIO(), None
    with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
        try:
            return run()
        except SystemExit as ended:
            status = ended.code
        except (RiffError, OSError) as error:
            status = cli.report(error)  # which raises again what is a fault of the code
    assert status == cli.EXIT_FAILURE
    errors = [line for line in stderr.getvalue().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, stderr.getvalue()
    assert "Traceback" not in stderr.getvalue()
    return None


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in, for what lands under relative paths."""
    place = tmp_path_factory.mktemp("elsewhere")
    with contextlib.chdir(place):
        yield place


def check_parsing(script: str, often: settings) -> None:
    @often
    @given(any_flags(script))
    def parse(flags: list[str]) -> None:
        needed = ["--audio", "a.wav"] if script in SAMPLING and "--audio" not in " ".join(flags) else []
        args = outcome(lambda: importlib.import_module(script).parse_args([*needed, *flags]))
        if args is not None:
            assert all(in_range(action, getattr(args, action.dest)) for action in flags_of(script))

    parse()


def check_config(script: str, often: settings, place: Path) -> None:
    values = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        TEXTS.filter(lambda text: "\udcff" not in text),
        st.lists(st.integers(), max_size=2),
    )
    names = st.sampled_from([action.dest for action in flags_of(script)])

    @often
    @given(st.dictionaries(names, values, min_size=1, max_size=3))
    def parse(flags: dict[str, Any]) -> None:
        (place / "flags.yaml").write_text(yaml.safe_dump(flags), encoding="utf-8")
        args = outcome(lambda: importlib.import_module(script).parse_args(["--config", str(place / "flags.yaml")]))
        if args is not None:
            assert all(in_range(action, getattr(args, action.dest)) for action in flags_of(script))

    parse()


@pytest.mark.parametrize("script", [*SAMPLING, *TRAINING])
def test_any_flags_are_parsed_or_refused(script: str) -> None:
    check_parsing(script, OFTEN)


@pytest.mark.slow
@pytest.mark.parametrize("script", [*SAMPLING, *TRAINING])
def test_many_flags_are_parsed_or_refused(script: str) -> None:
    check_parsing(script, OFTENER)


@pytest.mark.parametrize("script", TRAINING)
def test_any_file_of_flags_is_taken_or_refused(script: str, tmp_path: Path) -> None:
    check_config(script, OFTEN, tmp_path)


# What a real run may not draw: what needs other machines, processes or a network, and what is measured in hours.
LEFT_OUT = {
    *("devices", "num_nodes", "strategy", "compile", "device", "dry_run", "config", "push_to_hub", "repo_id", "token"),
    *("resume", "separator", "stems_dir", "spleeter_model_dir", "max_train_time", "val_image_url"),
    *("model", "base", "revision", "variant", "dataset_name", "dataset_id"),
    *("audio", "control", "train_data_dir", "cache_dir", "start", "end", "sweep", "logger", "local_rank"),
}
PERIODS = ("_freq", "_steps", "seed", "_low", "_high", "_limit", "_samples")  # whole numbers that cost nothing where they are large
WORK = ("steps", "sample_steps", "accumulate_gradient_batches", "max_steps", "num_samples")


def taken(action: Any) -> st.SearchStrategy[list[str]]:
    """A flag with what it takes; of work, little."""
    name = action.option_strings[0]
    if action.metavar == "BOOL":
        return st.sampled_from([[name], [f"--no-{action.dest}"]])
    if action.choices:
        values: st.SearchStrategy[Any] = st.sampled_from(list(action.choices))
    elif isinstance(action.type, Number) and action.type.type is int:
        low, high = int(action.type.low), int(action.type.high)
        free = action.dest.endswith(PERIODS) and action.dest not in WORK
        values = st.integers(low, high if free else min(low + 2, 2))
    elif isinstance(action.type, Number):
        number = action.type
        values = st.floats(number.low, number.high, exclude_min=number.open_low, exclude_max=number.open_high)
    else:
        values = TEXTS
    return values.map(lambda value: [f"{name}={value}"])


def check_runs(script: str, given_flags: list[object], often: settings, more: tuple[str, ...] = ()) -> None:
    """Run a script with what its flags take.

    Args:
        more: flags to leave out as well.
    """
    able = [action for action in flags_of(script) if action.dest not in LEFT_OUT and action.dest not in more]
    some = st.lists(st.sampled_from(able).flatmap(taken), min_size=1, max_size=4)

    @often
    @given(some)
    def run(parts: list[list[str]]) -> None:
        flags = [*map(str, given_flags), *(word for part in parts for word in part)]
        outcome(lambda: importlib.import_module(script).main(flags) or True)

    run()


SELDOM = settings(OFTEN, max_examples=3, phases=[Phase.explicit, Phase.generate])  # a run takes seconds: none is tried again
MORE = settings(SELDOM, max_examples=60)
SMALL = ["--griffin_lim_iterations", 1, "--device", "cpu", "--overwrite"]


@pytest.fixture(params=[SELDOM, pytest.param(MORE, marks=pytest.mark.slow)], ids=["few", "many"])
def often(request: pytest.FixtureRequest) -> settings:
    how: settings = request.param
    return how


def test_sampling_a_control_model(tiny_control: Path, tmp_path: Path, often: settings) -> None:
    edges = np.zeros((512, 512), np.uint8)
    edges[::32] = 255
    Image.fromarray(edges).save(tmp_path / "edges.png")
    flags = [
        "--model",
        tiny_control,
        "--control",
        tmp_path / "edges.png",
        "--num_samples",
        1,
        "--steps",
        1,
        "--output",
        tmp_path / "out",
    ]
    check_runs("sample_riff_cnet", [*flags, *SMALL], often)


def test_sampling_an_edit_model(tiny_edit: Path, edit_pairs: Path, tmp_path: Path, often: settings) -> None:
    flags = ["--model_id", tiny_edit, "--data_root", edit_pairs, "--max_samples", 1, "--num_inference_steps", 1]
    check_runs("inference_instruct_pix2pix", [*flags, "--base_save_path", tmp_path / "out", *SMALL], often)


def test_inpainting_a_song(tiny_control: Path, songs: Path, tmp_path: Path, often: settings) -> None:
    song = next(songs.rglob("mixture.*"))
    flags = ["--model", tiny_control, "--audio", song, "--start", 1, "--end", 3, "--steps", 1, "--output", tmp_path / "out"]
    check_runs("inpaint_song", [*flags, *SMALL], often)


def test_training_a_control_model(tiny_control: Path, pairs: Path, tmp_path: Path, often: settings) -> None:
    flags = ["--model", tiny_control, "--train_data_dir", pairs, "--output", tmp_path / "final", "--log_dir", tmp_path]
    few = ["--max_steps", 1, "--batch_size", 1, "--num_workers", 0, "--sample_steps", 1, "--val_pictures", 1, "--device", "cpu"]
    check_runs("cnet_riff_training", [*flags, *few], often)


def test_training_an_edit_model(tiny_base: Path, edit_pairs: Path, tmp_path: Path, often: settings) -> None:
    flags = ["--pretrained_model_name_or_path", tiny_base, "--train_data_dir", edit_pairs, "--output_dir", tmp_path / "final"]
    few = ["--logging_dir", tmp_path, "--max_train_steps", 1, "--train_batch_size", 1, "--sample_steps", 1, "--val_pictures", 1]
    check_runs("train_instruct_pix2pix", [*flags, *few, "--num_validation_images", 1, "--device", "cpu"], often)
