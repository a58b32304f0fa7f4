"""Requests to the Hugging Face hub: downloads give up at once when the hub does not answer, uploads retry."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from huggingface_hub import constants, set_client_factory
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils._http import default_client_factory

RETRY_AFTER = 60.0  # seconds until a hub that did not answer is contacted again
CONNECT_WITHIN = 5.0  # seconds; slow connections succeed in that time, firewalls that drop packets never answer


class HubUnreachable(OfflineModeIsEnabled):
    """The hub did not answer; libraries treat this like `HF_HUB_OFFLINE` and use earlier downloads."""


class _FirstContact:
    """Sends each request once until the hub has answered one; from then on the library's retries apply.

    By itself huggingface_hub retries up to five times with growing pauses and a warning each, in places without a timeout.
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
        if self._failure and time.monotonic() < self._failed_at + RETRY_AFTER:
            raise HubUnreachable(self._failure)
        timeout = float(constants.HF_HUB_ETAG_TIMEOUT)
        limits = {"connect": min(CONNECT_WITHIN, timeout), "read": timeout, "write": timeout, "pool": timeout}
        request.extensions["timeout"] = limits
        try:
            response = send(request, **options)
        except HTTPError as error:
            self._failure, self._failed_at = f"{type(error).__name__}: {error}", time.monotonic()
            raise HubUnreachable(self._failure) from error
        self._answered = True
        return response


def fail_fast() -> None:
    """Make downloads give up at the first request that gets no answer within `HF_HUB_ETAG_TIMEOUT` (by default 10 s).

    Once the hub has answered, the library's own retries and timeouts apply.
    """
    set_client_factory(_FirstContact().new_client)


def restore_retries() -> None:
    """Restore the library's own retries and timeouts, for uploads."""
    set_client_factory(default_client_factory)


def unreachable(error: BaseException | None) -> HubUnreachable | None:
    """The `HubUnreachable` among the causes of a library's error, None if there is none."""
    while error is not None and not isinstance(error, HubUnreachable):
        error = error.__cause__ or error.__context__
    return error
