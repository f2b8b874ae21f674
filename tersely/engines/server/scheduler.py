"""Least-loaded dispatch over servers; results are yielded as they complete.

Requests may be added while others run. The requests of a server that stops answering, whose process is stopped, or that
makes no progress go to the others; the stream raises an error when none is left. There is no time limit per answer: any
token that a server generates, for any client, counts as progress.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from tersely.core.heartbeat import beat
from tersely.core.http import ServerDown
from tersely.engines.base import Generation, GenerationRequest

Ask = Callable[[str, GenerationRequest], Generation]


@dataclass
class _Server:
    running: dict[Hashable, GenerationRequest] = field(default_factory=dict)
    busy_s: float = 0.0
    since: float = 0.0
    answered: int = 0
    tokens: float | None = None
    moved: float = 0.0
    """Time of the last progress."""


class Stream:
    """`add` requests with a key, `ready` returns (key, generation) of finished ones. Use it as a context manager.

    `ask(address, request)` answers one request or raises `ServerDown`; any other error ends the stream, and `ready` raises
    it. `healthy(address)` is called every `probe_s` for servers with requests in flight, to detect dead servers during long
    answers. `tokens(address)` is a counter that grows while the server works, or None; a server without new tokens or
    answers for `silent_s` is given up. `down` (address -> reason) is read and written.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        ask: Ask,
        *,
        concurrency: int,
        down: dict[str, str],
        healthy: Callable[[str], str | None] = lambda address: None,
        tokens: Callable[[str], float | None] = lambda address: None,
        probe_s: float = 20.0,
        silent_s: float = math.inf,
    ):
        self.ask, self.concurrency, self.down, self.healthy, self.tokens = ask, concurrency, down, healthy, tokens
        self.probe_s, self.silent_s = probe_s, silent_s
        self.waiting: deque[tuple[Hashable, GenerationRequest]] = deque()
        self.answers: deque[tuple[Hashable, Generation]] = deque()
        self.servers = {address: _Server() for address in addresses}
        self.fatal: BaseException | None = None
        self.began = self.ended = time.monotonic()
        self._probed, self._closed = self.began, False
        self._change = threading.Condition()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._closed = True

    @property
    def pending(self) -> int:
        """Number of requests whose answers `ready` has not returned yet."""
        with self._change:
            running = sum(len(server.running) for server in self.servers.values())
            return len(self.waiting) + running + len(self.answers)

    def add(self, key: Hashable, request: GenerationRequest) -> None:
        with self._change:
            self.waiting.append((key, request))
            self._start()

    def ready(self) -> list[tuple[Hashable, Generation]]:
        """New answers; waits for the first one. Empty if nothing is pending."""
        while True:
            with self._change:
                if self.fatal is not None:
                    raise self.fatal
                if self.answers or not self.pending:
                    found = list(self.answers)
                    self.answers.clear()
                    if found:
                        beat()
                    return found
                if not self._live():
                    reasons = "; ".join(self.down.values())
                    raise ServerDown(f"no server is left, {self.pending} completions are missing: {reasons}")
                self._change.wait(max(0.01, self._probed + self.probe_s - time.monotonic()))
            self._probe()

    @property
    def busy_s(self) -> float:
        """Seconds with requests in flight per server, mean over the servers."""
        return sum(server.busy_s for server in self.servers.values()) / len(self.servers)

    def _live(self) -> list[str]:
        return [address for address in self.servers if address not in self.down]

    def _start(self) -> None:
        """Assign waiting requests to servers with capacity. Needs the lock."""
        live = self._live()
        while self.waiting and live and self.fatal is None and not self._closed:
            address = min(live, key=lambda one: len(self.servers[one].running))
            server = self.servers[address]
            if len(server.running) >= self.concurrency:
                return
            key, request = self.waiting.popleft()
            if not server.running:
                server.since = server.moved = time.monotonic()
            server.running[key] = request
            threading.Thread(target=self._serve, args=(address, key, request), daemon=True).start()

    def _serve(self, address: str, key: Hashable, request: GenerationRequest) -> None:
        answer = error = None
        try:
            answer = self.ask(address, request)
        except BaseException as raised:
            error = raised
        with self._change:
            server = self.servers[address]
            if server.running.get(key) is not request:
                return  # reassigned to another server
            if isinstance(error, ServerDown):
                self._lose(address, str(error))
            else:
                self._stop(server, key)
                if error is not None:
                    self.fatal = self.fatal or error
                else:
                    assert answer is not None
                    server.answered += 1
                    self.answers.append((key, answer))
            self._start()
            self._change.notify_all()

    def _stop(self, server: _Server, key: Hashable) -> None:
        del server.running[key]
        self.ended = server.moved = time.monotonic()
        if not server.running:
            server.busy_s += self.ended - server.since

    def _lose(self, address: str, reason: str) -> None:
        """Put the server's requests back at the front of the queue. Needs the lock."""
        self.down.setdefault(address, reason)
        server = self.servers[address]
        for key, request in reversed(list(server.running.items())):
            self.waiting.appendleft((key, request))
            self._stop(server, key)

    def _probe(self) -> None:
        """Check every `probe_s` that each server with requests in flight answers and makes progress."""
        if time.monotonic() < self._probed + self.probe_s:
            return
        for address in [one for one in self._live() if self.servers[one].running]:
            if reason := self.healthy(address) or self._standing_still(address):
                with self._change:
                    self._lose(address, reason)
                    self._start()
        self._probed = time.monotonic()

    def _standing_still(self, address: str) -> str | None:
        """Reason to give up a server that still answers probes, or None. Its tokens count as progress of this rank."""
        server, tokens = self.servers[address], self.tokens(address)
        with self._change:
            if tokens is not None and tokens != server.tokens:
                server.tokens, server.moved = tokens, time.monotonic()
                beat()
            silent = time.monotonic() - server.moved
        if silent <= self.silent_s:
            return None
        return f"{address}: no token and no answer for {silent:.0f} s, although it answers /health"
