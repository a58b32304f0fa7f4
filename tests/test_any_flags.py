"""Whatever a person gives to the flags of sampling and training: a value in range or one line and status 2, never a traceback."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from riff import cli
from riff.cli.numbers import Number
from riff.errors import RiffError

SAMPLING = ("sample_riff_cnet", "inference_instruct_pix2pix", "inpaint_song")
TRAINING = ("cnet_riff_training", "train_instruct_pix2pix")
OFTEN = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
OFTENER = settings(OFTEN, max_examples=2000)
LONG = 5000  # characters: longer than any path may be
HELP = ("-h", "--help")

FLOATS = st.one_of(st.floats().map(repr), st.sampled_from(["nan", "-NaN", "inf", "-inf", "1e999", "1e-5", "-1e-5", "-.5", "0x10"]))
WHOLES = st.one_of(st.integers(), st.sampled_from([-1, 0, 2**31, 2**32, 2**40, 2**64, 10**9, -(2**63)])).map(str)
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    st.sampled_from(
        ["", " ", "x" * LONG, "9" * LONG, "a/" * LONG, "..", "~", "%s", "None", "True", "auto", "0:32", "1:2:3:4", "\udcff"]
    ),
).filter(lambda text: text not in HELP)


class Caught(Exception):
    """Carries a script's parser out of its parse_args."""


def parser_of(script: str) -> cli.ArgumentParser:
    def caught(self: cli.ArgumentParser, *_: Any) -> None:
        raise Caught(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli.ArgumentParser, "parse_args", caught)
        with pytest.raises(Caught) as carried:
            importlib.import_module(script).parse_args([])
    parser: cli.ArgumentParser = carried.value.args[0]
    return parser


def actions(script: str) -> list[Any]:
    """The flags of a script, those that take a value."""
    return [action for action in parser_of(script)._actions if action.option_strings and action.dest != "help"]


def any_flags(script: str) -> st.SearchStrategy[list[str]]:
    """Some of the flags with anything after them."""
    values = st.one_of(FLOATS, WHOLES, TEXTS)

    def said(action: Any) -> st.SearchStrategy[list[str]]:
        name = action.option_strings[-1 if action.nargs != "?" else 0]
        fitting = st.sampled_from([*map(str, action.choices)]) if action.choices else values
        value = st.one_of(values, fitting)
        apart = st.lists(value, max_size=3 if action.nargs in ("+", "*", "?", 2) else 1).map(lambda words: [name, *words])
        return st.one_of(apart, value.map(lambda word: [f"{name}={word}"]))

    some = st.lists(st.sampled_from(actions(script)).flatmap(said), min_size=1, max_size=3)
    return some.map(lambda parts: [word for part in parts for word in part])


def in_range(action: Any, value: Any) -> bool:
    if not isinstance(action.type, Number):
        return True
    values = value if isinstance(value, list) else [value]
    return all(one is None or one == action.default or one in action.type.words.values() or one in action.type for one in values)


def outcome(run: Callable[[], Any]) -> Any:
    """What it returns, or None where it ended in one line and status 2."""
    said, status = io.StringIO(), None
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            return run()
        except SystemExit as ended:
            status = ended.code
        except (RiffError, OSError) as error:
            status = cli.report(error)  # which raises again what is a fault of the code
    assert status == cli.EXIT_FAILURE
    errors = [line for line in said.getvalue().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said.getvalue()
    assert "Traceback" not in said.getvalue()
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
            assert all(in_range(action, getattr(args, action.dest)) for action in actions(script))

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
    names = st.sampled_from([action.dest for action in actions(script)])

    @often
    @given(st.dictionaries(names, values, min_size=1, max_size=3))
    def parse(flags: dict[str, Any]) -> None:
        (place / "flags.yaml").write_text(yaml.safe_dump(flags), encoding="utf-8")
        args = outcome(lambda: importlib.import_module(script).parse_args(["--config", str(place / "flags.yaml")]))
        if args is not None:
            assert all(in_range(action, getattr(args, action.dest)) for action in actions(script))

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
