"""A run's ranks and engines on a clock that nobody waits for: real scheduling code, simulated seconds.

Ranks are threads of which one runs at a time. One that waits (for an answer, for a collective, for work on its GPU) hands
over; when all wait, the clock goes to the next event. When all wait and nothing is to come, the run hangs, and says so.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque


class Simulation:
    def __init__(self, ranks: int):
        self.ranks, self.now, self.events, self.number = ranks, 0.0, [], 0
        self.here = 0  # the rank that runs
        self.beats: list[list[float]] = [[] for _ in range(ranks)]
        self._turns = [threading.Semaphore(0) for _ in range(ranks)]
        self._handed = threading.Semaphore(0)
        self._able: deque[int] = deque()
        self._ended, self._errors, self._aborted = 0, [], False
        self._brought: dict[int, object] = {}

    def run(self, body) -> None:
        """`body(rank)` on every rank."""

        def work(rank):
            self._turns[rank].acquire()
            try:
                if not self._aborted:
                    body(rank)
            except BaseException as error:
                self._errors.append(error)
            self._ended += 1
            self._handed.release()

        threads = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(self.ranks)]
        for thread in threads:
            thread.start()
        self._able.extend(range(self.ranks))
        while self._ended < self.ranks and not self._errors:
            while self._able and not self._errors:
                self.here = self._able.popleft()
                self._turns[self.here].release()
                self._handed.acquire()
            if self._ended < self.ranks and not self._errors:
                self._next()
        self._aborted = True
        for turn in self._turns:
            turn.release()
        for thread in threads:
            thread.join(10)
        if self._errors:
            raise self._errors[0]

    def _next(self) -> None:
        while self.events:
            at, _, live, act = heapq.heappop(self.events)
            if live[0]:
                self.now = at
                act()
                return
        self._errors.append(AssertionError("every rank waits, and nothing is to come"))

    def at(self, seconds: float, act) -> list[bool]:
        """Call `act` in `seconds`, unless the mark that is returned is unset by then."""
        self.number += 1
        live = [True]
        heapq.heappush(self.events, (self.now + seconds, self.number, live, act))
        return live

    def wait(self) -> None:
        """Of the running rank: until somebody calls `wake` with it."""
        rank = self.here
        self._handed.release()
        self._turns[rank].acquire()
        if self._aborted:
            raise SystemExit

    def wake(self, rank: int) -> None:
        self._able.append(rank)

    def work(self, seconds: float) -> None:
        """The running rank's GPU is busy, and it gets on then."""
        rank = self.here
        self.at(seconds, lambda: self.wake(rank))
        self.wait()
        self.beat()

    def beat(self) -> None:
        self.beats[self.here].append(self.now)

    def gather(self, value) -> list:
        """What every rank brought, in their order; all wait for the last."""
        self._brought[self.here] = value
        if len(self._brought) < self.ranks:
            self.wait()
        else:
            found = [self._brought[rank] for rank in range(self.ranks)]
            self._brought, self._all = {}, found
            for rank in range(self.ranks):
                if rank != self.here:
                    self.wake(rank)
        return self._all

    # ---- in place of the modules `threading` and `time` of tersely.engines.server.scheduler ----

    def monotonic(self) -> float:
        return self.now

    def Condition(self):  # noqa: N802
        return _Condition(self)

    def thread_of(self, submit):
        """A `Thread` that runs its target at the moment when `submit(args, done)` calls `done`."""

        def thread(target, args, daemon):
            return _Started(lambda: submit(args, lambda: target(*args)))

        return thread


class _Started:
    def __init__(self, start):
        self.start = start


class _Condition:
    def __init__(self, simulation):
        self.simulation, self.waiting = simulation, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def wait(self, seconds: float) -> None:
        rank, simulation = self.simulation.here, self.simulation

        def over():
            if mine in self.waiting:
                self.waiting.remove(mine)
                simulation.wake(rank)

        mine = [rank, simulation.at(seconds, over)]
        self.waiting.append(mine)
        simulation.wait()

    def notify_all(self) -> None:
        for rank, timer in self.waiting:
            timer[0] = False
            self.simulation.wake(rank)
        self.waiting = []


class Engines:
    """Continuous batching: `together` sequences at once, each a token further every `step_s(running)` seconds."""

    def __init__(self, simulation: Simulation, together: int, step_s):
        self.simulation, self.together, self.step_s = simulation, together, step_s
        self.engines: dict[str, _Engine] = {}

    def submit(self, address: str, tokens: int, done) -> None:
        engine = self.engines.setdefault(address, _Engine())
        engine.waiting.append((tokens, done))
        self._go_on(engine)

    def _go_on(self, engine) -> None:
        now = self.simulation.now
        if engine.running:
            engine.decoded += (now - engine.at) / self.step_s(len(engine.running))
        engine.at, engine.timer[0] = now, False
        while engine.waiting and len(engine.running) < self.together:
            tokens, done = engine.waiting.popleft()
            engine.number += 1
            heapq.heappush(engine.running, (engine.decoded + tokens, engine.number, done))
        if engine.running:
            left = max(0.0, engine.running[0][0] - engine.decoded)
            engine.timer = self.simulation.at(left * self.step_s(len(engine.running)), lambda: self._ended(engine))

    def _ended(self, engine) -> None:
        engine.decoded += (self.simulation.now - engine.at) / self.step_s(len(engine.running))
        engine.at = self.simulation.now
        done = heapq.heappop(engine.running)[2]
        done()
        self._go_on(engine)


class _Engine:
    def __init__(self):
        self.running, self.waiting, self.timer = [], deque(), [False]
        self.at, self.decoded, self.number = 0.0, 0.0, 0
