"""Items through killable workers: a deadline for each, enforced from outside, and nothing lost.

Hostile items must not hold up the others. So the cheap-looking go first; an item that exceeds a short deadline is
killed and put back; those put back get the whole deadline at the end, within a budget of one deadline (plus half of
what the clean items took) for the batch. What is still open then is undecided.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence

from tersely.rewards.verify.nursery import Nursery, Worker, WorkerError

Outcome = tuple[str, str, float]
_SHORT_SECONDS = 1.0
_CRASHES = 2


class Pool:
    """`workers` processes, started when there is work for them."""

    def __init__(self, *, workers: int, timeout: float, memory: int, recycle: int, policy: dict):
        self.workers, self.timeout, self.recycle = workers, timeout, recycle
        self._start = lambda: Nursery(memory=memory, policy=policy)
        self._nursery: Nursery | None = None
        self._idle: list[Worker] = []
        self._busy: dict[Worker, tuple[int, float, float]] = {}
        self.restarts = 0

    def run(self, tasks: Sequence[tuple[str, str]], done: Callable[[int], None] | None = None) -> list[Outcome]:
        """(status, path, seconds) of every (gold, answer), in order."""
        batch = _Batch(self, tasks, done)
        try:
            batch.run()
        finally:
            for worker in list(self._busy):
                self._busy.pop(worker)
                worker.kill()
        return batch.outcomes  # type: ignore[return-value]

    def take(self) -> Worker:
        if self._idle:
            return self._idle.pop()
        for attempt in (1, 2):
            if self._nursery is None:
                self._nursery = self._start()
            try:
                return self._nursery.worker()
            except (WorkerError, OSError) as error:
                self._nursery.close()
                self._nursery = None
                if attempt == 2 or "cannot start" in str(error):
                    raise
                self.restarts += 1
        raise AssertionError

    def give(self, worker: Worker, last: bool) -> None:
        if last or worker.served >= self.recycle:
            worker.forget()
        else:
            self._idle.append(worker)

    def pids(self) -> list[int]:
        """The processes alive now, nursery first."""
        own = [self._nursery.process.pid] if self._nursery else []
        return own + [worker.pid for worker in [*self._idle, *self._busy]]

    def close(self) -> None:
        for worker in [*self._idle, *self._busy]:
            worker.kill()
        self._idle.clear()
        self._busy.clear()
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None

    def abandon(self) -> None:
        """In a forked child: let go of the parent's processes without touching them."""
        for worker in [*self._idle, *self._busy]:
            worker.forget()
        self._idle.clear()
        self._busy.clear()
        if self._nursery is not None:
            self._nursery.abandon()
            self._nursery = None


class _Batch:
    """One call's items on their way through the pool."""

    def __init__(self, pool: Pool, tasks: Sequence[tuple[str, str]], done: Callable[[int], None] | None):
        self.pool, self.tasks, self.done = pool, tasks, done
        self.outcomes: list[Outcome | None] = [None] * len(tasks)
        order = sorted(range(len(tasks)), key=lambda index: len(tasks[index][1]))
        self.waiting = deque(order)
        self.late: deque[int] = deque()
        self.crashes: dict[int, int] = {}
        self.began = time.monotonic()
        self.lost = 0.0
        few = len(tasks) <= pool.workers
        self.limit = pool.timeout if few else min(pool.timeout, _SHORT_SECONDS)
        self.end: float | None = None

    def run(self) -> None:
        while self.waiting or self.late or self.pool._busy:
            if not self.waiting and not self.pool._busy:
                self._start_late_round()
            self._assign()
            self._collect()

    def _start_late_round(self) -> None:
        """Every item had its short turn; those that were killed get the whole deadline, within the budget."""
        now = time.monotonic()
        clean = max(0.0, now - self.began - self.lost)
        budget = max(self.limit, self.pool.timeout - self.lost + self.limit) + 0.5 * clean
        self.end = now + min(budget, self.pool.timeout * -(-len(self.late) // self.pool.workers))
        self.limit = self.pool.timeout
        self.waiting, self.late = self.late, deque()

    def _assign(self) -> None:
        busy = self.pool._busy
        while self.waiting and len(busy) < self.pool.workers:
            index = self.waiting.popleft()
            now = time.monotonic()
            limit = self.limit
            if self.end is not None:
                limit = min(limit, self.end - now)
                if limit <= 0:
                    self._finish(index, ("undecided", "budget", 0.0))
                    continue
            gold, answer = self.tasks[index]
            worker = self.pool.take()
            busy[worker] = (index, time.monotonic(), limit)
            try:
                worker.send({"gold": gold, "answer": answer})
            except OSError:
                self._crashed(worker)

    def _collect(self) -> None:
        busy = self.pool._busy
        if not busy:
            return
        nearest = min(began + limit for _, began, limit in busy.values())
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                selector.register(worker, selectors.EVENT_READ, worker)
            ready = [key.data for key, _ in selector.select(max(0.0, nearest - time.monotonic()))]
        for worker in ready:
            self._read(worker)
        now = time.monotonic()
        for worker, (_, began, limit) in list(busy.items()):
            if now - began >= limit:
                self._expired(worker)

    def _read(self, worker: Worker) -> None:
        try:
            data = worker.connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._crashed(worker)
            return
        worker.buffer.feed(data)
        reply = worker.buffer.pop()
        if reply is None:
            return
        index, began, _ = self.pool._busy.pop(worker)
        self.pool.give(worker, bool(reply.get("last")))
        self._finish(index, (reply["status"], reply["path"], time.monotonic() - began))

    def _expired(self, worker: Worker) -> None:
        index, began, limit = self.pool._busy.pop(worker)
        worker.kill()
        self.pool.restarts += 1
        spent = time.monotonic() - began
        self.lost += spent / self.pool.workers
        if self.end is None and limit < self.pool.timeout and self.lost < self.pool.timeout:
            self.late.append(index)
        else:
            self._finish(index, ("undecided", "timeout", spent))
        if self.end is None and self.lost >= self.pool.timeout:
            # The budget is gone before the late round: what is left has a short turn each, and no second one.
            self.limit = min(self.limit, _SHORT_SECONDS / 4)

    def _crashed(self, worker: Worker) -> None:
        index, began, _ = self.pool._busy.pop(worker)
        worker.kill()
        self.pool.restarts += 1
        self.crashes[index] = self.crashes.get(index, 0) + 1
        if self.crashes[index] < _CRASHES:
            self.waiting.append(index)
        else:
            self._finish(index, ("undecided", "crash", time.monotonic() - began))

    def _finish(self, index: int, outcome: Outcome) -> None:
        self.outcomes[index] = outcome
        if self.done is not None:
            self.done(index)
