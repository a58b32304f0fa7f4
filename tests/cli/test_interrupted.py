"""Ctrl-C ends a command as interrupted, whatever an interrupted library makes of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress

import pytest

from riff import cli
from riff.errors import ModelError


def interrupted_import(raised: type[Exception]) -> Callable[..., None]:
    """A `main` that is interrupted where a library catches that and raises this."""

    def main(_argv: object = None) -> None:
        with suppress(KeyboardInterrupt):  # as C code loses what was raised before
            signal.raise_signal(signal.SIGINT)
        raise raised("Failed to import transformers.models.clip.modeling_clip")

    return main


@pytest.mark.parametrize("raised", [RuntimeError, ImportError, ModelError, OSError])
def test_an_interrupted_import_is_no_broken_model(raised: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.run(interrupted_import(raised))
    assert end.value.code == cli.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_an_interrupt_an_error_is_itself(capsys: pytest.CaptureFixture[str]) -> None:
    def main(_argv: object = None) -> None:
        raise ModelError("x.ckpt: cannot be read as a model")

    with pytest.raises(SystemExit) as end:
        cli.run(main)
    assert end.value.code == cli.EXIT_FAILURE
    assert capsys.readouterr().err == "error: x.ckpt: cannot be read as a model\n"

    def broken(_argv: object = None) -> None:
        raise RuntimeError("of the code")

    with pytest.raises(RuntimeError, match="of the code"):
        cli.run(broken)


def test_a_handler_of_somebody_else_stays() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit):
            cli.run(lambda _argv: None)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
