"""What lies between the network and Gradio: who is asking, what may be asked for, and whose files may be fetched."""

from __future__ import annotations

import json
import mimetypes
import re
import secrets
from collections.abc import MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.responses import FileResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from riff.app.sessions import FILES, Sessions, visitor_of
from riff.errors import RiffError

COOKIE = "riff_visitor"
UPLOAD, UPLOADED = "/gradio_api/upload", "/gradio_api/file="
# All that the page itself asks for. Whatever else a version of Gradio offers is not there.
ALLOWED = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)|/(assets|static|svelte)/.*"
    r"|/gradio_api/(startup-events|upload|upload_progress|cancel|reset|queue/(join|data)|heartbeat/[^/]+|file=.*)"
)
QUIET_HEADERS = [(b"referrer-policy", b"no-referrer"), (b"x-content-type-options", b"nosniff")]


class Gate:
    """ASGI middleware.

    Every browser gets a cookie with a secret of its own. Uploads are moved to a folder of that visitor's, and files are given
    to the visitor whom they belong to, and to nobody else.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app, self._sessions = app, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, secret = unquote(scope["path"]), _secret(scope)
        visitor = visitor_of(secret) if secret else ""
        if path.startswith(FILES):
            await self._give(visitor, path)(scope, receive, send)
        elif not ALLOWED.fullmatch(path) or (path.startswith(UPLOADED) and not self._is_own(visitor, path.removeprefix(UPLOADED))):
            await PlainTextResponse("not found", 404)(scope, receive, send)
        elif path == UPLOAD and not secret:
            await PlainTextResponse("open the page first", 403)(scope, receive, send)
        elif path == UPLOAD:
            await self._take_uploads(visitor, scope, receive, send)
        else:
            await self._app(scope, receive, _with_cookie(scope, send) if path == "/" and not secret else send)

    def _give(self, visitor: str, path: str) -> FileResponse | PlainTextResponse:
        try:
            file = self._sessions.find(visitor, path)
        except RiffError:
            return PlainTextResponse("not found", 404)
        kind = mimetypes.guess_type(file.name)[0] or ""
        playable = kind if kind.startswith(("audio/", "image/png", "video/mp4")) else "application/octet-stream"
        headers = {name.decode(): value.decode() for name, value in QUIET_HEADERS} | {"cache-control": "private, no-store"}
        return FileResponse(file, media_type=playable, headers=headers)

    def _is_own(self, visitor: str, path: str) -> bool:
        try:
            return bool(self._sessions.own_upload(visitor, path))
        except (RiffError, ValueError, OSError):
            return False

    async def _take_uploads(self, visitor: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Let Gradio receive files, then move them and tell the browser where they are now."""
        messages: list[Message] = []

        async def hold(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, hold)
        start = messages[0]
        body = b"".join(message.get("body", b"") for message in messages)
        if start["status"] == 200:
            moved = [str(self._sessions.take_upload(visitor, Path(path))) for path in json.loads(body)]
            body = json.dumps(moved).encode()
            headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
            start["headers"] = [*headers, (b"content-length", str(len(body)).encode())]
        await send(start)
        await send({"type": "http.response.body", "body": body})


def _secret(scope: Scope) -> str:
    """The visitor's secret, or nothing where the browser has none yet."""
    cookies: SimpleCookie = SimpleCookie()
    try:
        for name, value in scope["headers"]:
            if name == b"cookie":
                cookies.load(value.decode("latin-1"))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""


def visitor_of_request(cookies: MutableMapping[str, Any]) -> str:
    """The visitor behind a request that has come through the gate.

    Raises:
        RiffError: the browser takes no cookies.
    """
    if not cookies.get(COOKIE):
        raise RiffError("this page needs its cookie, to keep your files to yourself; allow it and load the page again")
    return visitor_of(str(cookies[COOKIE]))


def _with_cookie(scope: Scope, send: Send) -> Send:
    """Sends what is sent, and a secret with it."""
    forwarded = next((value for name, value in scope["headers"] if name == b"x-forwarded-proto"), b"")
    encrypted = scope["scheme"] == "https" or forwarded.startswith(b"https")
    # Behind https the page may stand in a frame of another site, as on a Space; partitioned, the cookie is that frame's alone.
    where = "SameSite=None; Secure; Partitioned" if encrypted else "SameSite=Lax"
    cookie = f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; {where}"

    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"set-cookie", cookie.encode()), *QUIET_HEADERS]
        await send(message)

    return send_with_cookie
