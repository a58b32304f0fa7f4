"""The parser of a script, without running the script."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import pytest

from riff import cli


class Caught(Exception):
    """Carries a script's parser out of its parse_args."""


@cache
def parser_of(script: str) -> cli.ArgumentParser:
    """The parser of a script by its module's name, such as `tools.separate_audio`."""

    def caught(self: cli.ArgumentParser, *_: Any) -> None:
        raise Caught(self)

    module = importlib.import_module("riff.app.command" if script == "app" else script)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli.ArgumentParser, "parse_args", caught)
        with pytest.raises(Caught) as carried:
            getattr(module, "parse_args", module.main)([])
    parser: cli.ArgumentParser = carried.value.args[0]
    return parser


def flags_of(script: str) -> list[Any]:
    """The flags of a script, without --help and --version."""
    actions = parser_of(script)._actions
    return [action for action in actions if action.option_strings and action.default is not cli.argparse.SUPPRESS]
