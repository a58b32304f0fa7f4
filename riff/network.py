"""The first contact with the Hugging Face hub: a hub that does not answer is not asked again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from huggingface_hub import constants, set_client_factory
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils._http import default_client_factory

FAILURE_LASTS = 60.0  # seconds for which a hub that did not answer is taken to be away
CONNECT_WITHIN = 5.0  # seconds; even a slow line connects in that time, and a firewall that swallows packets never does


class HubUnreachable(OfflineModeIsEnabled):
    """The hub did not answer; what loads from it takes this as it takes `HF_HUB_OFFLINE`, and goes by earlier downloads."""


class _FirstContact:
    """Sends requests once until one is answered; from then on, the library's own patience is in place.

    By itself huggingface_hub asks up to six times with pauses that grow, says each, and waits without end for some answers.
    """

    def __init__(self) -> None:
        self._answered, self._failure, self._failed_at = False, "", 0.0

    def new_client(self) -> Any:
        client = default_client_factory()
        client.send = partial(self._send, client.send)  # type: ignore[method-assign]
        return client

    def _send(self, send: Callable[..., Any], request: Any, **options: Any) -> Any:
        if self._answered:
            return send(request, **options)
        if self._failure and time.monotonic() < self._failed_at + FAILURE_LASTS:
            raise HubUnreachable(self._failure)
        patience = float(constants.HF_HUB_ETAG_TIMEOUT)
        limits = {"connect": min(CONNECT_WITHIN, patience), "read": patience, "write": patience, "pool": patience}
        request.extensions["timeout"] = limits
        try:
            response = send(request, **options)
        except HTTPError as error:
            self._failure, self._failed_at = f"{type(error).__name__}: {error}", time.monotonic()
            raise HubUnreachable(self._failure) from error
        self._answered = True
        return response


def ask_once() -> None:
    """From here on, whatever loads from the hub gives up at the first request that gets no answer within `HF_HUB_ETAG_TIMEOUT`.

    That is 10 s unless the environment has it. A hub that has answered once is asked as patiently as the library does.
    """
    set_client_factory(_FirstContact().new_client)


def ask_patiently() -> None:
    """From here on, every request is as patient as the library is: for uploads."""
    set_client_factory(default_client_factory)


def unreachable(error: BaseException | None) -> HubUnreachable | None:
    """The `HubUnreachable` behind an error of a library that loads from the hub, None if it has another reason."""
    while error is not None and not isinstance(error, HubUnreachable):
        error = error.__cause__ or error.__context__
    return error
