"""A stand-in for the Hugging Face hub: the few requests that uploads and downloads make, answered on the loopback interface."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "hf_stand_in"
LARGE = (".ckpt", ".safetensors", ".png", ".wav", ".parquet")  # what the hub keeps in large-file storage


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=lambda: ["0" * 40])


class Hub(ThreadingHTTPServer):
    """Holds the repositories; only `TOKEN` may read and write, and only below the user `me`.

    Data sets are kept under names that begin with `datasets/`, as in the hub's own addresses.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}  # sha256 -> content
        self.requests: list[str] = []
        self.fails_on = ""  # a part of the request line that is answered 400
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def uploads(self) -> list[str]:
        return [line for line in self.requests if line.startswith("PUT ")]


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self._read_body()
        path = self.path.split("?")[0]
        self.server.requests.append(f"{self.command} {path}")
        if self.server.fails_on and self.server.fails_on in self.server.requests[-1]:
            return self._send(400, {"error": "the stand-in was told to fail"})
        if stored := re.fullmatch(r"/large/(\w+)", path):  # an address made for one upload needs no token
            self.server.large[stored[1]] = body
            return self._send(200, {})
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._send(401, {"error": "Invalid credentials in Authorization header"})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        repo_id = re.match(r"(?:/api/models|/api)?/((?:datasets/)?[\w-]+/[\w-]+)", path)
        assert repo_id, path
        repository = self.server.repositories.get(repo_id[1])
        if repository is None:
            return self._send(404, {"error": "Repository not found"})
        if stored := re.search(r"/resolve/[^/]+/(.+)", path):
            return self._send_file(repository, unquote(stored[1]))
        if "/tree/" in path:
            return self._send(200, [_tree_entry(name, content) for name, content in repository.files.items()])
        if self.command == "GET":
            siblings = [{"rfilename": name} for name in repository.files]
            info = {"id": repo_id[1], "private": repository.private, "sha": repository.commits[-1], "siblings": siblings}
            return self._send(200, {**info, "tags": [], "downloads": 0, "likes": 0})
        if not repo_id[1].removeprefix("datasets/").startswith("me/"):
            return self._send(403, {"error": "Forbidden"})
        if "/preupload/" in path:
            return self._send(200, {"files": [_upload_mode(file["path"], repository) for file in json.loads(body)["files"]]})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._send(200, {"transfer": "basic", "objects": [self._place(one) for one in json.loads(body)["objects"]]})
        assert "/commit/" in path, path
        return self._commit(repo_id[1], repository, [json.loads(line) for line in body.splitlines()])

    def _create(self, wanted: dict[str, Any]) -> None:
        owner = wanted["organization"] or "me"
        repo_id = f"{'datasets/' if wanted.get('type') == 'dataset' else ''}{owner}/{wanted['name']}"
        address = {"url": f"{self.server.url}/{repo_id}"}
        if repo_id in self.server.repositories:
            return self._send(409, address)
        if owner != "me":
            return self._send(403, {"error": "Forbidden"})
        self.server.repositories[repo_id] = Repository(private=wanted.get("visibility") == "private" or bool(wanted.get("private")))
        return self._send(200, address)

    def _place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Where a large file goes; no address for one that is here already."""
        where = {"actions": {"upload": {"href": f"{self.server.url}/large/{wanted['oid']}"}}}
        return wanted if wanted["oid"] in self.server.large else wanted | where

    def _commit(self, repo_id: str, repository: Repository, lines: list[dict[str, Any]]) -> None:
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del repository.files[value["path"]]
            else:
                assert line["key"] == "lfsFile", line
                repository.files[value["path"]] = self.server.large[value["oid"]]
        repository.commits.append(hashlib.sha1(repr(lines).encode()).hexdigest())
        self._send(200, {"commitUrl": f"{self.server.url}/{repo_id}/commit/x", "commitOid": repository.commits[-1]})

    def _read_body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        chunks = []
        while length := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send_file(self, repository: Repository, name: str) -> None:
        content = repository.files.get(name)
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", repository.commits[-1])
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content or b"")

    def _send(self, status: int, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _tree_entry(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


def _upload_mode(path: str, repository: Repository) -> dict[str, Any]:
    """How a file is to be sent, and the identity of the one that is there: git's for small files, sha256 for large ones."""
    large = path.endswith(LARGE)
    held = repository.files.get(path)
    if held is None:
        oid = None
    elif large:
        oid = hashlib.sha256(held).hexdigest()
    else:
        oid = hashlib.sha1(b"blob %d\0" % len(held) + held).hexdigest()
    return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}


def run_against_hub(
    script: str, folder: Path, endpoint: str, *arguments: str, token: str | None = TOKEN, **environment: str
) -> subprocess.CompletedProcess:
    """Run an upload script in a folder, with the stand-in as its hub and none of this machine's settings for the real one."""
    kept = {key: value for key, value in os.environ.items() if not key.lower().startswith(("hf_", "hugging", "http"))}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
    settings |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment} | ({"HF_TOKEN": token} if token else {})
    command = [sys.executable, str(ROOT / script), *arguments]
    return subprocess.run(command, cwd=folder, env=kept | settings, capture_output=True, text=True, timeout=300)


def assert_one_line(result: subprocess.CompletedProcess, *words: str) -> None:
    assert result.returncode == 2, result
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "uploaded" not in result.stdout
    for word in words:
        assert word in result.stderr
