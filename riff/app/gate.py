"""ASGI middleware in front of Gradio: a cookie per browser, an allow list of paths, and files for their own visitor alone.

Gradio gives every file of its upload and cache folders to whoever knows the path, and has routes that the page does not need.
"""

from __future__ import annotations

import json
import mimetypes
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from riff.app.sessions import FILES, Sessions, visitor_id
from riff.cli import ROOT
from riff.errors import RiffError

COOKIE = "riff_visitor"
UPLOAD, UPLOADED = "/gradio_api/upload", "/gradio_api/file="
# Everything that the page requests; other routes, of this or a later version of Gradio, are not found.
ALLOWED = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)|/(assets|static|svelte)/.*"
    r"|/gradio_api/(startup-events|upload|upload_progress|cancel|reset|queue/(join|data)|heartbeat/[^/]+|file=.*)"
)
HEAD = Path(__file__).parent / "static" / "head.html"
# A song and the same with a new vocal, for who has none yet; made by demo/make_listening_page.py.
LISTEN = ROOT / "docs" / "listen"
EXAMPLES = {
    "/examples/song.ogg": LISTEN / "whole-song-song.ogg",
    "/examples/take.ogg": LISTEN / "whole-song-riff-pix2pix-mini-tune.ogg",
}
QUIET_HEADERS = {"referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}


class Gate:
    """Sets the cookie with the visitor's secret, moves uploads to the visitor's folder, and serves files to their owner alone."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app, self._sessions = app, sessions
        self._page = GZipMiddleware(self._send_page)  # Gradio compresses its scripts, and not this

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, connection = unquote(scope["path"]), HTTPConnection(scope)
        secret = connection.cookies.get(COOKIE)
        visitor = visitor_id(secret) if secret else ""
        if path in EXAMPLES and EXAMPLES[path].is_file():
            await FileResponse(EXAMPLES[path], media_type="audio/ogg", headers=QUIET_HEADERS)(scope, receive, send)
        elif path.startswith(FILES):
            await self._serve(visitor, path)(scope, receive, send)
        elif not ALLOWED.fullmatch(path) or (path.startswith(UPLOADED) and not self._owns(visitor, path.removeprefix(UPLOADED))):
            await PlainTextResponse("not found", 404)(scope, receive, send)
        elif path == UPLOAD and not visitor:
            await PlainTextResponse("open the page first", 403)(scope, receive, send)
        elif path == UPLOAD:
            await self._receive_uploads(visitor, scope, receive, send)
        else:
            answer = _with_cookie(connection, send) if path == "/" and not visitor else send
            await (self._page if path == "/" else self._app)(scope, receive, answer)

    def _serve(self, visitor: str, path: str) -> FileResponse | PlainTextResponse:
        try:
            file = self._sessions.find_file(visitor, path)
        except RiffError:
            return PlainTextResponse("not found", 404)
        media_type = mimetypes.guess_type(file.name)[0] or ""
        if not media_type.startswith(("audio/", "image/png", "video/mp4")):
            media_type = "application/octet-stream"
        return FileResponse(file, media_type=media_type, headers=QUIET_HEADERS | {"cache-control": "private, no-store"})

    def _owns(self, visitor: str, path: str) -> bool:
        try:
            return bool(self._sessions.find_upload(visitor, path))
        except (RiffError, ValueError, OSError):
            return False

    async def _send_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send Gradio's page with a head of ours: it is shown while the script that builds the rest is on its way."""
        start, *rest = await self._answer(scope, receive)
        body = _body(rest).replace(b"</head>", HEAD.read_bytes() + b"</head>", 1)
        MutableHeaders(scope=start)["content-length"] = str(len(body))
        await send(start)
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> list[Message]:
        """All of Gradio's answer."""
        messages: list[Message] = []

        async def collect(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, collect)
        return messages

    async def _receive_uploads(self, visitor: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Let Gradio receive the files, move them, and answer with their new paths."""
        messages = await self._answer(scope, receive)
        if messages[0]["status"] == 200:
            paths = json.loads(_body(messages))
            moved = [str(self._sessions.claim_upload(visitor, Path(path))) for path in paths]
            await JSONResponse(moved)(scope, receive, send)
        else:
            for message in messages:
                await send(message)


def visitor_of_request(cookies: Mapping[str, str]) -> str:
    """Identifier of the visitor who sends these cookies.

    Raises:
        RiffError: the browser refused the cookie.
    """
    if not cookies.get(COOKIE):
        raise RiffError("this page needs its cookie, to keep your files to yourself; allow it and load the page again")
    return visitor_id(cookies[COOKIE])


def _body(messages: Sequence[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages)


def _with_cookie(connection: HTTPConnection, send: Send) -> Send:
    """`send` that adds a cookie with a new secret to the response."""
    encrypted = "https" in (connection.scope["scheme"], connection.headers.get("x-forwarded-proto", "")[:5])
    # Behind https the page may be in a frame of another site, as a Space is; partitioned, the cookie belongs to that frame alone.
    policy = "SameSite=None; Secure; Partitioned" if encrypted else "SameSite=Lax"
    cookie = f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; {policy}"

    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.append("set-cookie", cookie)
            headers.update(QUIET_HEADERS)
        await send(message)

    return send_with_cookie
