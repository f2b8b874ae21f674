from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tersely.core.http import ServerDown, ServerRefused, call, read, wait_until_up


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(2)
        if self.path == "/torn":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"{")
            return
        status = {"/missing": 404, "/busy": 429, "/broken": 500}.get(self.path, 200)
        text = {"/empty": b"", "/html": b"<html>"}.get(self.path, json.dumps({"path": self.path}).encode())
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = json.dumps({"got": json.loads(body), "key": self.headers.get("Authorization")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_answers(address):
    assert call(address, "/x", timeout_s=5) == {"path": "/x"}
    assert call(address, "/x", {}, timeout_s=5, key="k") == {"got": {}, "key": "Bearer k"}
    assert call(address, "/empty", timeout_s=5) is None


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("/missing", ServerRefused, "answered 404.*missing"),
        ("/busy", ServerDown, "answered 429"),
        ("/broken", ServerDown, "answered 500"),
        ("/html", ServerDown, "<html>.*JSON"),
        ("/torn", ServerDown, "without sending complete"),
        ("/slow", ServerDown, "no answer within 0.3 s"),
    ],
)
def test_what_went_wrong_is_said(address, path, kind, said):
    with pytest.raises(kind, match=f"{address}{path}.*{said}|{said}"):
        call(address, path, timeout_s=0.3)


def test_a_stopped_process_that_accepts_no_more_is_late_too():
    """Its port listens, and the queue in front of it is full."""
    waiting = []
    with socket.socket() as stopped:
        stopped.bind(("127.0.0.1", 0))
        stopped.listen(0)
        try:
            for _ in range(4):
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(stopped.getsockname())
            with pytest.raises(ServerDown, match="/health.*0.3 s"):
                call(f"http://127.0.0.1:{stopped.getsockname()[1]}", "/health", timeout_s=0.3)
        finally:
            for one in waiting:
                one.close()


def test_no_more_than_the_limit_is_read(address):
    assert read(address, "/x", timeout_s=5, limit=3) == b'{"p'


@pytest.mark.parametrize(
    "name", ["127.0.0.1:80", "ftp://127.0.0.1", "http://[::1", "http://\0", "file:///etc/hostname"]
)
def test_an_address_that_is_none_is_named(name):
    with pytest.raises(ServerDown) as raised:
        call(name, "/x", timeout_s=1)
    assert str(raised.value).startswith(f"{name}/x: ")


def test_a_proxy_that_needs_another_package_is_one_line():
    program = "from tersely.core.http import call; call('http://127.0.0.1:1', '/x', timeout_s=1)"
    environment = {key: value for key, value in os.environ.items() if key.lower() != "no_proxy"}
    environment["ALL_PROXY"] = "socks5://127.0.0.1:1"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("tersely.core.http.ServerDown: http://127.0.0.1:1/x: ")


def test_nobody_there():
    with pytest.raises(ServerDown, match="refused"):
        call("http://127.0.0.1:1", "/", timeout_s=1)
    began = time.monotonic()
    with pytest.raises(ServerDown, match="0.2 s"):
        wait_until_up("http://127.0.0.1:1", "/", deadline_s=0.2)
    with pytest.raises(ServerDown, match="process has ended"):
        wait_until_up("http://127.0.0.1:1", "/", deadline_s=60, alive=lambda: False)
    assert time.monotonic() - began < 5
