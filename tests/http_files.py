"""A web server on the loopback that gives files and parts of them, and can be told to fail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote


@dataclass
class Files:
    """What is served, and what was asked for."""

    root: Path
    url: str = ""
    ranges: bool = True
    refusals: list[int] = field(default_factory=list)
    """Status of the next replies, until the list is empty."""
    requests: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    files: Files

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.files.requests.append(f"{self.path} {wanted}")
        if self.files.refusals:
            self._send(self.files.refusals.pop(0), b"", {})
            return
        path = self.files.root / unquote(self.path).lstrip("/")
        if not path.is_file():
            self._send(404, b"", {})
            return
        content = path.read_bytes()
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
        if match is None or not self.files.ranges:
            self._send(200, content, {})
            return
        start, end = int(match[1]), min(int(match[2]), len(content) - 1)
        self._send(206, content[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(content)}"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(root: Path) -> Iterator[Files]:
    """Serves a folder on a free port of the loopback, until the test ends."""
    files = Files(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"files": files}))
    files.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
