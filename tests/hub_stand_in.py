"""A local stand-in for the Hugging Face hub: an HTTP server for the requests that uploads and downloads make.

It supports LFS for large files, not the newer xet, which the tests disable.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hub_card_rules import broken_rules

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "hf_stand_in"
LARGE = (".ckpt", ".safetensors", ".png", ".wav", ".parquet")  # stored by LFS
DROPPED = "dropped"  # a fault: the connection is closed in the middle of the request
SCRIPT = """
import os, runpy, sys, time
sleep, sys.argv = time.sleep, sys.argv[1:]
time.sleep = lambda seconds: sleep(seconds / 100)  # shortens the waits between attempts
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass
class Repository:
    """files: of the main branch, path -> content. branches: name -> files of further branches."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=lambda: ["0" * 40])
    branches: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def branch(self, name: str) -> dict[str, bytes] | None:
        """The files of a branch; every commit counts as the newest one of the main branch."""
        return self.files if name == "main" or name in self.commits else self.branches.get(name)


@dataclass
class Fault:
    """An error for requests whose line contains `part`. failure: HTTP status, or `DROPPED`.

    times: number of requests that fail. after: number of requests that succeed before.
    """

    part: str
    failure: int | str
    times: int = 1000
    after: int = 0


class Hub(ThreadingHTTPServer):
    """Holds the repositories; only `TOKEN` may read and write, and only below the user `me`.

    Data sets are kept under names that begin with `datasets/`, as in the hub's own addresses.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}  # sha256 -> content
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def uploads(self) -> list[str]:
        """The requests that sent a large file, since the list was last cleared."""
        return [line for line in self.requests if line.startswith("PUT ")]

    def fault(self, line: str) -> int | str | None:
        """The fault of this request, None if it succeeds."""
        with self._lock:
            for fault in self.faults:
                if fault.part in line:
                    fault.after -= 1
                    if fault.after < 0 and fault.times > 0:
                        fault.times -= 1
                        return fault.failure
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about connections that were closed on purpose."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


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
        path, _, query = self.path.partition("?")
        self.server.requests.append(f"{self.command} {path}")
        fault = self.server.fault(self.server.requests[-1])
        if fault == DROPPED:
            self.rfile.read1(5)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        body = self._read_body()
        if isinstance(fault, int):
            return self._send(fault, {"error": "the stand-in was told to fail"})
        if stored := re.fullmatch(r"/large/(\w+)", path):  # a signed upload address needs no token
            self.server.large[stored[1]] = body
            return self._send(200, {})
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._send(401, {"error": "Invalid credentials in Authorization header"})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body))
        repo_id = re.match(r"(?:/api/models|/api)?/((?:datasets/)?[\w-]+/[\w-]+)", path)
        assert repo_id, path
        repository = self.server.repositories.get(repo_id[1])
        if repository is None:
            return self._send(404, {"error": "Repository not found"}, "RepoNotFound")
        return self._answer_of(repository, repo_id[1], path, query, body)

    def _answer_of(self, repository: Repository, name: str, path: str, query: str, body: bytes) -> None:
        branch = re.search(r"/(?:resolve|tree|revision|preupload|commit)/([^/]+)", path)
        files = repository.branch(unquote(branch[1]) if branch else "main")
        if files is None:
            return self._send(404, {"error": "Invalid rev id"}, "RevisionNotFound")
        if stored := re.search(r"/resolve/[^/]+/(.+)", path):
            return self._send_file(repository, files, unquote(stored[1]))
        if "/tree/" in path:
            return self._send(200, [_tree_entry(name, content) for name, content in files.items()])
        if self.command == "GET":
            siblings = [_sibling(path, content, "blobs" in query) for path, content in files.items()]
            info = {"id": name, "private": repository.private, "sha": repository.commits[-1], "siblings": siblings}
            return self._send(200, {**info, "tags": [], "downloads": 0, "likes": 0})
        if not name.removeprefix("datasets/").startswith("me/"):
            return self._send(403, {"error": "Forbidden"})
        if made := re.search(r"/branch/(.+)", path):
            there = repository.branches.setdefault(unquote(made[1]), copy := dict(repository.files))
            return self._send(200 if there is copy else 409, {"error": "Reference already exists"})
        if "/preupload/" in path:
            return self._send(200, {"files": [_upload_mode(file["path"], files) for file in json.loads(body)["files"]]})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._send(200, {"transfer": "basic", "objects": [self._place(item) for item in json.loads(body)["objects"]]})
        assert "/commit/" in path, path
        return self._commit(name, repository, files, [json.loads(line) for line in body.splitlines()])

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

    def _validate(self, wanted: dict[str, Any]) -> None:
        errors = [{"message": rule} for rule in broken_rules(wanted["content"], wanted["repoType"])]
        self._send(400 if errors else 200, {"errors": errors, "warnings": []})

    def _place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """LFS batch answer: an upload address, unless the content is stored already."""
        where = {"actions": {"upload": {"href": f"{self.server.url}/large/{wanted['oid']}"}}}
        return wanted if wanted["oid"] in self.server.large else wanted | where

    def _commit(self, repo_id: str, repository: Repository, files: dict[str, bytes], lines: list[dict[str, Any]]) -> None:
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            else:
                assert line["key"] == "lfsFile", line
                files[value["path"]] = self.server.large[value["oid"]]
        repository.commits.append(hashlib.sha1(repr(lines).encode()).hexdigest())
        if self.server.fault("the answer to a commit"):
            self.connection.shutdown(socket.SHUT_RDWR)
            return
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

    def _send_file(self, repository: Repository, files: dict[str, bytes], name: str) -> None:
        content = files.get(name)
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

    def _send(self, status: int, value: Any, code: str = "") -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(content)


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sibling(path: str, content: bytes, with_metadata: bool) -> dict[str, Any]:
    if not with_metadata:
        return {"rfilename": path}
    large = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    known = {"rfilename": path, "size": len(content), "blobId": _git_hash(content)}
    return known | ({"lfs": large} if path.endswith(LARGE) else {})


def _tree_entry(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


def _upload_mode(path: str, files: dict[str, bytes]) -> dict[str, Any]:
    """Upload mode of a file, and the hash of the stored one: git's for small files, SHA-256 for large ones."""
    large, stored = path.endswith(LARGE), files.get(path)
    oid = None if stored is None else hashlib.sha256(stored).hexdigest() if large else _git_hash(stored)
    return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}


def run_against_hub(
    script: str,
    folder: Path,
    endpoint: str,
    *arguments: str,
    token: str | None = TOKEN,
    stderr: int = subprocess.PIPE,
    **environment: str,
) -> subprocess.CompletedProcess:
    """Run a script in a folder, with the stand-in as its hub and without this machine's hub settings."""
    kept = {key: value for key, value in os.environ.items() if not key.lower().startswith(("hf_", "hugging", "http"))}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    settings |= environment | ({"HF_TOKEN": token} if token else {})
    command = [sys.executable, "-c", SCRIPT, str(ROOT / script), *arguments]
    return subprocess.run(command, cwd=folder, env=kept | settings, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=300)


def assert_one_line(result: subprocess.CompletedProcess, *words: str) -> None:
    """Assert that the command failed with one error line, after nothing but lines about retries."""
    assert result.returncode == 2, result
    *attempts, line = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert all("; trying again in " in attempt for attempt in attempts), result.stderr
    assert "uploaded" not in result.stdout
    for word in words:
        assert word in line
