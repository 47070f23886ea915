"""Reads files, or parts of them, from an HTTP server: with a time limit, a few tries, and one sentence of error."""

from __future__ import annotations

import http.client
import re
import time
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote
from urllib.request import Request, urlopen

from kinema.data.video.base import VideoError

TIMEOUT_SECONDS: Final = 30.0
"""Longest wait for the server to say something."""
WAITS_SECONDS: Final = (0.5, 2.0, 5.0)
"""Waits before each further try."""
_PASSING: Final = (408, 425, 429, 500, 502, 503, 504)
_SCHEME: Final = re.compile(r"(https?):/+", re.IGNORECASE)


def url_of(path: str | Path | None) -> str | None:
    """Returns the address that a path is, or none; `Path` makes one slash of the two after the colon."""
    match = _SCHEME.match(text := str(path or ""))
    return f"{match[1].lower()}://{text[match.end() :]}".rstrip("/") if match else None


def read_url(url: str, *, start: int = 0, size: int | None = None, limit: int | None = None) -> bytes:
    """Reads a file of a server, or a part of it.

    Args:
        url: Its address, not escaped.
        start: Where the part begins.
        size: How long it is; none: the whole file.
        limit: Largest whole file that is taken.

    Returns:
        The bytes.

    Raises:
        VideoError: If the server does not give them, after several tries where trying again may help.
    """
    for wait in (*WAITS_SECONDS, None):
        try:
            return _read_once(url, start=start, size=size, limit=limit)
        except (OSError, http.client.HTTPException) as error:  # URLError and time limits are OSErrors
            if wait is None or (isinstance(error, HTTPError) and error.code not in _PASSING):
                raise VideoError(f"{url}: {_reason(error)}; check the address and the connection") from error
            time.sleep(wait)
    raise AssertionError


def _read_once(url: str, *, start: int, size: int | None, limit: int | None) -> bytes:
    headers = {} if size is None else {"Range": f"bytes={start}-{start + size - 1}"}
    scheme, _, rest = url.partition("://")
    request = Request(f"{scheme}://{quote(unquote(rest), safe='/:@[]~')}", headers=headers)
    with urlopen(request, timeout=TIMEOUT_SECONDS) as reply:
        if size is None:
            content: bytes = reply.read() if limit is None else reply.read(limit + 1)
            if limit is not None and len(content) > limit:
                raise VideoError(f"{url}: larger than {limit} bytes, more than such a file can be; check the address")
            return content
        if reply.status != 206 or not str(reply.headers["Content-Range"]).startswith(f"bytes {start}-"):
            raise VideoError(
                f"{url}: the server does not give parts of files (HTTP Range); put the shards on one that does, or "
                "copy them here"
            )
        content = reply.read(size + 1)
    if len(content) != size:
        raise http.client.IncompleteRead(content, size - len(content))
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"the server answers {error.code} ({error.reason})"
    if isinstance(error, URLError):
        return f"cannot be reached ({error.reason})"
    return f"cannot be read ({error})"
