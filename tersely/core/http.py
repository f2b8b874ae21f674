"""The HTTP client: JSON with a timeout. A 4xx status raises `ServerRefused`; 408, 429, 5xx or no answer raise `ServerDown`."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import httpx

from tersely.core.errors import ConfigError, one_line

SAY_EVERY_S = 10
SHOWN_BYTES = 500
"""Maximum characters of an error answer in a message."""


class ServerRefused(ConfigError):
    """The server answered 4xx; a retry would not help."""

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class ServerDown(RuntimeError):
    """No answer in time, no connection, or a `status` for which a retry may help (408, 429, 5xx)."""

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


def call(address: str, path: str, body: Any = None, *, timeout_s: float | None, key: str | None = None) -> Any:
    """GET, or POST with a body; returns the decoded answer (None if empty). `timeout_s` None waits without limit.

    Raises `ServerRefused` or `ServerDown`, both with the address and the server's text.
    """
    text = read(address, path, body, timeout_s=timeout_s, key=key)
    try:
        return json.loads(text) if text.strip() else None
    except ValueError as error:
        raise ServerDown(f"{address}{path}: got {text[:80]!r}; expected JSON") from error


def read(
    address: str,
    path: str,
    body: Any = None,
    *,
    timeout_s: float | None,
    key: str | None = None,
    limit: int | None = None,
    method: str | None = None,
) -> bytes:
    """The raw answer, or its first `limit` bytes. `method` replaces GET or POST."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    how, data = method or ("GET" if body is None else "POST"), None if body is None else json.dumps(body).encode()
    try:
        with _client().stream(how, address + path, content=data, headers=headers, timeout=timeout_s) as answer:
            status, text = answer.status_code, _first_bytes(answer, limit)
    except httpx.TimeoutException as error:
        raise ServerDown(f"{address}{path}: no answer within {timeout_s:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError, ImportError) as error:
        # ValueError: invalid characters in an address or a key; OSError and ImportError: unreadable certificates, or a proxy
        # that needs another package
        raise ServerDown(f"{address}{path}: {one_line(error)}") from error
    if status < 400:
        return text
    shown = text[:SHOWN_BYTES].decode("utf-8", "replace").strip() or answer.reason_phrase
    kind = ServerRefused if status < 500 and status not in (408, 429) else ServerDown
    raise kind(f"{address}{path} answered {status}: {shown}", status)


@cache
def _client() -> httpx.Client:
    """The HTTP client of this process, shared by threads. Each request opens a connection, so that none uses a connection
    that the server is closing or that a fork inherited. Uses the system's certificates.
    """
    return httpx.Client(
        verify=ssl.create_default_context(),
        follow_redirects=True,
        headers={"Connection": "close", "Accept-Encoding": "identity"},
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
    )


def _first_bytes(answer: httpx.Response, limit: int | None) -> bytes:
    found = bytearray()
    for part in answer.iter_raw():
        found += part
        if limit is not None and len(found) >= limit:
            break
    return bytes(found[:limit])


def wait_until_up(
    address: str,
    path: str,
    *,
    deadline_s: float,
    alive: Callable[[], bool] = lambda: True,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Retry every half second until the server answers; calls `tell` every ten seconds.

    Raises `ServerDown` after the deadline, or when `alive()` is false.
    """
    began, reported = time.monotonic(), 0
    end = began + deadline_s
    while True:
        try:
            call(address, path, timeout_s=5.0)
            return
        except (ServerDown, ServerRefused) as error:
            if not alive():
                raise ServerDown(f"{address}: the server's process has ended") from error
            if time.monotonic() > end:
                raise ServerDown(f"{address}: not up after {deadline_s:g} s ({error})") from error
        waited = time.monotonic() - began
        if waited // SAY_EVERY_S > reported:
            reported = int(waited // SAY_EVERY_S)
            tell(f"waiting for {address}, {waited:.0f} s of {deadline_s:g}")
        time.sleep(0.5)
