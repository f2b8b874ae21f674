"""Nobody asks a server anything without its key, its health excepted."""

from __future__ import annotations

import asyncio

import pytest

from tersely.engines.server.auth import KeyOnEveryPath


@pytest.fixture
def guarded(monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "s3cret")

    def ask(path, header=None, kind="http"):
        sent = []

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200})

        async def send(message):
            sent.append(message)

        headers = [(b"authorization", header.encode())] if header else []
        asyncio.run(KeyOnEveryPath(app)({"type": kind, "path": path, "headers": headers}, None, send))
        return sent[0].get("status", sent[0]["type"])

    return ask


@pytest.mark.parametrize("path", ["/v1/completions", "/collective_rpc", "/update_weight_version", "/metrics"])
def test_every_path_asks_for_it(guarded, path):
    assert guarded(path) == guarded(path, "Bearer other") == guarded(path, "s3cret") == 401
    assert guarded(path, "Bearer s3cret") == 200


def test_health_is_open_and_sockets_are_not(guarded):
    assert guarded("/health") == 200
    assert guarded("/v1/realtime", kind="websocket") == "websocket.close"
    assert guarded("/v1/realtime", "Bearer s3cret", kind="websocket") == 200
