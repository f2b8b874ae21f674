"""JSON over HTTP with a timeout; a 4xx answer raises `ServerRefused`, no answer or a 5xx raises `ServerDown`."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from tersely.core.errors import SpecError

SAY_EVERY_S = 10


class ServerRefused(SpecError):
    """The server answered 4xx: it will not do this, however often it is asked."""


class ServerDown(RuntimeError):
    """No answer in time, no connection, or a 5xx."""


def call(address: str, path: str, body: Any = None, *, timeout_s: float | None, key: str | None = None) -> Any:
    """GET, or POST where there is a body; the decoded answer (None where it is empty). `timeout_s` None waits for ever.

    Raises `ServerRefused` (4xx) or `ServerDown`, both with the address and what was said.
    """
    text = read(address, path, body, timeout_s=timeout_s, key=key)
    try:
        return json.loads(text) if text.strip() else None
    except ValueError as error:
        raise ServerDown(f"{address}{path} answered something that is no JSON: {text[:80]!r}") from error


def read(address: str, path: str, body: Any = None, *, timeout_s: float | None, key: str | None = None) -> bytes:
    """The same, as it was sent."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        said = error.read(500).decode("utf-8", "replace").strip() or error.reason
        kind = ServerRefused if error.code < 500 and error.code not in (408, 429) else ServerDown
        raise kind(f"{address}{path} answered {error.code}: {said}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an address that is none
        # a refused connection comes wrapped, a late answer does not
        late = isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)
        said = f"no answer within {timeout_s:g} s" if late else str(error)
        raise ServerDown(f"{address}{path}: {said}") from error


def wait_until_up(
    address: str,
    path: str,
    *,
    deadline_s: float,
    alive: Callable[[], bool] = lambda: True,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Ask every half second until the answer comes, and say every ten that it has not.

    Raises `ServerDown` after the deadline, or when `alive()` is false.
    """
    began, told = time.monotonic(), 0
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
        if waited // SAY_EVERY_S > told:
            told = int(waited // SAY_EVERY_S)
            tell(f"waiting for {address}, {waited:.0f} s of {deadline_s:g}")
        time.sleep(0.5)
