"""A hub on the loopback: it answers what `HF_ENDPOINT` is asked when a model is pushed and loaded, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_test"


@dataclass
class Repo:
    """What one repository holds."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Commit -> name of a file -> content; the last one is main."""
    messages: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        return list(self.commits)[-1] if self.commits else "0" * 40

    def files(self, revision: str) -> dict[str, bytes] | None:
        return self.commits.get(self.head if revision == "main" else revision)


class Hub:
    """All repositories, and what was uploaded for them."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.endpoint = ""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    hub: Hub

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repo = self._open("/".join(parts[2:4]))
            if repo is not None:
                self._reply({"id": "/".join(parts[2:4]), "private": repo.private, "sha": repo.head})
            return
        if len(parts) < 5 or parts[2] != "resolve":  # its library asks for a few things of its own
            self._refuse(404, "")
            return
        owner, name, _, revision, *rest = parts
        repo = self._open(f"{owner}/{name}")
        if repo is None:
            return
        files = repo.files(revision)
        if files is None:
            self._refuse(404, "RevisionNotFound")
        elif "/".join(rest) not in files:
            self._refuse(404, "EntryNotFound")
        else:
            content = files["/".join(rest)]
            commit = repo.head if revision == "main" else revision
            self._send(200, content, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'})

    def do_PUT(self) -> None:
        content = self._body()
        assert hashlib.sha256(content).hexdigest() == self.path.rpartition("/")[2]
        self.hub.objects[self.path.rpartition("/")[2]] = content
        self._reply({})

    def do_POST(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        path, body = urlsplit(self.path).path, self._body()
        if path == "/api/validate-yaml":
            self._reply({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refuse(401, "")
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path.endswith("/info/lfs/objects/batch"):
            uploads = [
                {**each, "actions": {"upload": {"href": f"{self.hub.endpoint}/objects/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            self._reply({"objects": uploads, "transfer": "basic"}, kind="application/vnd.git-lfs+json")
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = ["lfs" if each["path"].endswith(".safetensors") else "regular" for each in files]
            rows = [
                {"path": each["path"], "uploadMode": mode, "shouldIgnore": False}
                for each, mode in zip(files, modes, strict=True)
            ]
            self._reply({"files": rows})
        else:
            self._commit("/".join(path.split("/")[3:5]), [json.loads(line) for line in body.splitlines()])

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        if asked["organization"] != "me":
            self._refuse(403, "")
        elif name in self.hub.repos:
            self._send(409, json.dumps({"error": "exists", "url": f"{self.hub.endpoint}/{name}"}).encode(), {})
        else:
            self.hub.repos[name] = Repo(private=private)
            self._reply({"url": f"{self.hub.endpoint}/{name}", "id": name})

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        repo = self.hub.repos[name]
        files = dict(repo.files("main") or {})
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repo.messages.append(value["summary"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        commit = hashlib.sha1(f"{name} {len(repo.commits)}".encode()).hexdigest()
        repo.commits[commit] = files
        url = f"{self.hub.endpoint}/{name}/commit/{commit}"
        self._reply({"commitUrl": url, "commitOid": commit, "pullRequestUrl": None, "success": True})

    def _open(self, name: str) -> Repo | None:
        """Returns a repository that the caller may see, or refuses."""
        repo = self.hub.repos.get(name)
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo is None or (repo.private and not known):
            self._refuse(404 if known else 401, "RepoNotFound")
            return None
        if repo.gated:
            self._refuse(403, "GatedRepo")
            return None
        return repo

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0)) or self._chunks()

    def _chunks(self) -> bytes:
        """Reads a body that comes in pieces, each with its length before it."""
        content = b""
        while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)):
            content += self.rfile.read(size)
            self.rfile.readline()
        return content

    def _reply(self, value: dict[str, Any], *, kind: str = "application/json") -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": kind})

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code} if code else {})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "Content-Type": "text/plain", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serves an empty hub on a free port of the loopback, until the test ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
