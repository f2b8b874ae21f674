"""API key check on every path of our vLLM servers, because vLLM's own check leaves the development endpoints open.

`--middleware tersely.engines.server.auth.KeyOnEveryPath`; the key is VLLM_API_KEY of the server's environment.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable
from typing import Any

VARIABLE = "TERSELY_SERVER_KEY"
"""Environment variable with the key of the servers, for servers and clients."""
OPEN = ("/health", "/ping")
"""Paths that need no key; they reveal nothing about the run."""
REFUSAL = b'{"error": "the key is missing or wrong"}'


class KeyOnEveryPath:
    """ASGI middleware: status 401 for requests without `Authorization: Bearer <key>`."""

    def __init__(self, app: Callable[..., Awaitable[None]]):
        self.app, self._wanted = app, f"Bearer {os.environ['VLLM_API_KEY']}".encode()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        sent = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(sent, self._wanted):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(REFUSAL)).encode())]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSAL})
        else:
            await send({"type": "websocket.close", "code": 1008})
