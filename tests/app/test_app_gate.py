"""The middleware without a browser: cookie, allowed paths, uploads, and messages of errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs Gradio: pip install '.[app]'")
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from riff.app.gate import COOKIE, EXAMPLES, UPLOAD, UPLOADED, Gate, visitor_of_request
from riff.app.page import visitor_message
from riff.app.sessions import Sessions, visitor_id
from riff.errors import AudioError, ModelError, OptionError, RiffError


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    return Sessions(tmp_path)


@pytest.fixture
def client(sessions: Sessions) -> TestClient:
    """Client of a server that receives uploads as Gradio does, and serves every file."""

    async def receive(request: Request) -> Response:
        paths = []
        for number, content in enumerate(await request.json()):
            path = sessions.uploads / f"song-{number}.wav"
            path.write_text(content)
            paths.append(str(path))
        return JSONResponse(paths)

    async def serve(request: Request) -> Response:
        path = request.path_params.get("path")
        return PlainTextResponse(Path("/" + path).read_text() if path else "<head></head>page")

    routes = [Route(UPLOAD, receive, methods=["POST"]), Route(UPLOADED + "/{path:path}", serve), Route("/{_:path}", serve)]
    app = Starlette(routes=routes)
    app.add_middleware(Gate, sessions=sessions)
    return TestClient(app)


def test_an_upload_goes_to_its_visitor_alone(client: TestClient, sessions: Sessions) -> None:
    assert client.post(UPLOAD, json=["la"]).status_code == 403  # no cookie yet
    assert "HttpOnly" in client.get("/").headers["set-cookie"]
    assert "set-cookie" not in client.get("/").headers
    answer = client.post(UPLOAD, json=["la", "li"])
    assert int(answer.headers["content-length"]) == len(answer.content)
    path = Path(answer.json()[1])
    assert path.is_relative_to(sessions.uploads / visitor_id(client.cookies[COOKIE]))
    assert client.get(f"{UPLOADED}{path}").text == "li"
    client.cookies.clear()
    client.cookies.set(COOKIE, "another")
    assert client.get(f"{UPLOADED}{path}").status_code == 404
    client.cookies.clear()
    assert client.get(f"{UPLOADED}{path}").status_code == 404


def test_the_page_says_what_it_is_before_its_script_comes(client: TestClient) -> None:
    answer = client.get("/")
    head, _, rest = answer.text.partition("</head>")
    assert "riff-cnet is loading" in head
    assert 'name="description"' in head
    assert rest == "page"
    assert answer.headers["content-encoding"] == "gzip"


def test_everybody_may_hear_the_example(client: TestClient) -> None:
    for path, file in EXAMPLES.items():
        answer = client.get(path, headers={"Range": "bytes=0-9"})
        assert answer.content == file.read_bytes()[:10]
        assert answer.headers["content-type"] == "audio/ogg"
    assert client.get("/examples/other.ogg").status_code == 404


@pytest.mark.parametrize("path", ["/etc/passwd", "https://example.org/", "..%2f..%2fetc%2fpasswd", "%00", "a" * 5000])
def test_no_other_file_is_served(client: TestClient, path: str) -> None:
    client.get("/")
    assert client.get(f"{UPLOADED}{path}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/monitoring",
        "/gradio_api/proxy=x",
        "/gradio_api/file/x",
        "/file=/x",
    ],
)
def test_paths_that_the_page_does_not_request_are_not_found(client: TestClient, path: str) -> None:
    client.get("/")
    assert client.get(path).status_code == 404
    assert client.get("/config").status_code == 200


def test_a_session_s_files_have_their_media_types(client: TestClient, sessions: Sessions) -> None:
    client.get("/")
    session = sessions.get(visitor_id(client.cookies[COOKIE]), "1")
    media_types = {
        "mix.wav": "audio/",
        "spectrogram.png": "image/png",
        "song.html": "application/octet-stream",
        "x.svg": "application/octet",
    }
    for name, media_type in media_types.items():
        (session.folder / name).write_bytes(b"0123456789")
        answer = client.get(session.url(session.folder / name), headers={"Range": "bytes=2-4"})
        assert (answer.status_code, answer.content) == (206, b"234")  # players request ranges
        assert answer.headers["content-type"].startswith(media_type)
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("headers", "ending"),
    [({}, "SameSite=Lax"), ({"x-forwarded-proto": "https"}, "SameSite=None; Secure; Partitioned")],
)
def test_behind_https_the_cookie_works_in_a_frame(client: TestClient, headers: dict[str, str], ending: str) -> None:
    assert client.get("/", headers=headers).headers["set-cookie"].endswith(ending)


def test_a_refused_cookie_is_an_error() -> None:
    with pytest.raises(RiffError, match="needs its cookie"):
        visitor_of_request({})
    assert visitor_of_request({COOKIE: "secret"}) == visitor_id("secret")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (AudioError("/tmp/riff-app-x/sessions/y/My song.wav: damaged; get it again"), "My song.wav: damaged; get it again"),
        (OptionError("the part is (see /home/me/My Music/x.wav)"), "The part is (see x.wav)"),
        (RiffError("see https://example.org/a/b"), "See https://example.org/a/b"),
        (RiffError(json.dumps({"a": 1 / 2})), '{"a": 0.5}'),
        (OptionError("demucs: pip install demucs"), "This server is not set up for that; tell whoever runs this page"),
        (ModelError("no weights; use --separator repet"), "This server is not set up for that; tell whoever runs this page"),
    ],
)
def test_a_message_names_no_folder_and_no_command_of_the_server(error: RiffError, message: str) -> None:
    assert visitor_message(error) == message
