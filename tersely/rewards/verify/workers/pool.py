"""Pool of worker processes: starts them on demand, replaces those that end, and enforces a deadline per item.

Expensive items must not delay the others:

- Short answers go first, each with a short deadline. A worker that exceeds it is killed, and its item is postponed.
- Postponed items get the full deadline at the end. All of them together have a budget: one deadline, plus half of the time
  that the other items took.
- An item that is still open after that is undecided.

Deadlines are CPU seconds of the worker, so a busy machine does not make an answer expensive. The wall time of an item is at
most three times its deadline.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tersely.rewards.verify.workers.fork_server import ForkServer, Worker, WorkerError

Outcome = tuple[str, str, float]
_SHORT_SECONDS = 1.0
_STARVED = 3.0
_CRASHES = 2


class Pool:
    """Up to `workers` processes, started when there are items for them."""

    def __init__(
        self,
        *,
        workers: int,
        timeout: float,
        memory: int,
        recycle: int,
        policy: dict[str, Any],
        scorer: str | None = None,
    ):
        self.workers, self.timeout, self.recycle = workers, timeout, recycle
        self._start = lambda: ForkServer(memory=memory, policy=policy, scorer=scorer)
        self._fork_server: ForkServer | None = None
        self._idle: list[Worker] = []
        self.busy: set[Worker] = set()
        self.restarts = 0

    def start(self) -> None:
        """Start the fork server without waiting for its imports, which take seconds."""
        if self._fork_server is None:
            self._fork_server = self._start()

    def run(self, tasks: Sequence[tuple[str, str]], done: Callable[[int], None] | None = None) -> list[Outcome]:
        """Return (status, path, seconds) for every (gold, answer), in order."""
        try:
            return Batch(self, tasks, done).run()
        finally:  # after an interrupt, some workers are still busy
            for worker in list(self.busy):
                self.drop(worker)

    def take(self) -> Worker:
        """Take an idle worker, or start one. It is busy until `give` or `drop`."""
        worker = self._idle.pop() if self._idle else self._new()
        self.busy.add(worker)
        return worker

    def _new(self) -> Worker:
        for attempt in (1, 2):
            self.start()
            assert self._fork_server is not None
            try:
                return self._fork_server.worker()
            except (WorkerError, OSError) as error:
                self._fork_server.close()
                self._fork_server = None
                if attempt == 2 or (isinstance(error, WorkerError) and error.fatal):
                    raise error if isinstance(error, WorkerError) else WorkerError(str(error)) from error
                self.restarts += 1
        raise AssertionError

    def drop(self, worker: Worker) -> None:
        """Kill the worker. A new one starts when there are items for it."""
        self.busy.discard(worker)
        worker.kill()
        self.restarts += 1

    def give(self, worker: Worker, last: bool) -> None:
        """Return a worker after its item. A worker that has reached `recycle` items ends."""
        self.busy.discard(worker)
        if last or worker.served >= self.recycle:
            worker.forget()
        else:
            self._idle.append(worker)

    def pids(self) -> list[int]:
        """PIDs of the processes that are alive, fork server first."""
        server = [self._fork_server.process.pid] if self._fork_server else []
        return server + [worker.pid for worker in [*self._idle, *self.busy]]

    def close(self) -> None:
        for worker in [*self._idle, *self.busy]:
            worker.kill()
        self._idle.clear()
        self.busy.clear()
        if self._fork_server is not None:
            self._fork_server.close()
            self._fork_server = None

    def abandon(self) -> None:
        """In a forked child: close this copy of the sockets; the processes belong to the parent."""
        for worker in [*self._idle, *self.busy]:
            worker.forget()
        self._idle.clear()
        self.busy.clear()
        if self._fork_server is not None:
            self._fork_server.abandon()
            self._fork_server = None


@dataclass
class _Turn:
    """An item that a worker is computing."""

    index: int
    began: float
    limit: float
    check: float
    """Time of the next check of the worker's CPU time."""
    cpu: float | None


class Batch:
    """Distributes the items of one call over the workers and collects their outcomes."""

    def __init__(self, pool: Pool, tasks: Sequence[tuple[str, str]], done: Callable[[int], None] | None):
        self.pool, self.tasks, self.done = pool, tasks, done
        self.outcomes: list[Outcome | None] = [None] * len(tasks)
        self.waiting = deque(sorted(range(len(tasks)), key=lambda index: len(tasks[index][1])))
        self.late: deque[int] = deque()
        self.turns: dict[Worker, _Turn] = {}
        self.crashes: dict[int, int] = {}
        self.clean = 0.0
        self.lost = 0.0
        self.budget = pool.timeout
        self.last_round = len(tasks) <= pool.workers
        self.limit = pool.timeout if self.last_round else min(pool.timeout, _SHORT_SECONDS)

    def run(self) -> list[Outcome]:
        while self.waiting or self.late or self.turns:
            if not self.waiting and not self.turns:
                self._start_last_round()
            self._assign()
            self._collect()
        return self.outcomes  # type: ignore[return-value]

    def _start_last_round(self) -> None:
        """Give the postponed items the full deadline, within the budget."""
        self.last_round = True
        self.budget = max(self.pool.timeout, self.lost + self.limit) + 0.5 * self.clean
        self.limit = self.pool.timeout
        self.waiting, self.late = self.late, deque()

    def _assign(self) -> None:
        while self.waiting and len(self.turns) < self.pool.workers:
            index = self.waiting.popleft()
            limit = self.limit
            if self.last_round and len(self.tasks) > self.pool.workers:
                limit = min(limit, self.budget - self.lost)
                if limit <= 0:
                    self._finish(index, ("undecided", "budget", 0.0))
                    continue
            gold, answer = self.tasks[index]
            try:
                worker = self.pool.take()
            except WorkerError as error:
                if error.fatal:
                    raise
                self._give_up(index)
                return
            now = time.monotonic()
            self.turns[worker] = _Turn(index, now, limit, now + limit, worker.cpu())
            try:
                worker.send({"gold": gold, "answer": answer})
            except OSError:
                self._crashed(worker)

    def _give_up(self, index: int) -> None:
        """No worker could be started: open items are undecided, and the next call tries again."""
        for open_item in (index, *self.waiting, *self.late):
            self._finish(open_item, ("undecided", "no_worker", 0.0))
        self.waiting.clear()
        self.late.clear()

    def _collect(self) -> None:
        if not self.turns:
            return
        nearest = min(turn.check for turn in self.turns.values())
        with selectors.DefaultSelector() as selector:
            for worker in self.turns:
                selector.register(worker, selectors.EVENT_READ, worker)
            ready = [key.data for key, _ in selector.select(max(0.0, nearest - time.monotonic()))]
        for worker in ready:
            self._read(worker)
        now = time.monotonic()
        for worker, turn in list(self.turns.items()):
            if now >= turn.check:
                self._look(worker, turn, now)

    def _look(self, worker: Worker, turn: _Turn, now: float) -> None:
        """Kill the worker if its item has used its CPU time, or three times as much wall time."""
        used = _used(worker, turn, now)
        wall = now - turn.began
        if used < turn.limit and wall < _STARVED * turn.limit:
            turn.check = now + max(0.01, min(turn.limit - used, _STARVED * turn.limit - wall))
        else:
            self._expired(worker, used)

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
        turn = self.turns.pop(worker)
        self.pool.give(worker, bool(reply.get("last")))
        self.clean += reply["seconds"] / self.pool.workers
        self._finish(turn.index, (reply["status"], reply["path"], time.monotonic() - turn.began))

    def _expired(self, worker: Worker, used: float) -> None:
        turn = self.turns.pop(worker)
        self.pool.drop(worker)
        self.lost += min(used, _STARVED * turn.limit) / self.pool.workers
        if not self.last_round and turn.limit < self.pool.timeout and self.lost < self.pool.timeout:
            self.late.append(turn.index)
        else:
            self._finish(turn.index, ("undecided", "timeout", time.monotonic() - turn.began))
        if not self.last_round and self.lost >= self.pool.timeout:
            # The budget is used up before the last round: each remaining item gets one short deadline.
            self.limit = min(self.limit, _SHORT_SECONDS / 2)

    def _crashed(self, worker: Worker) -> None:
        turn = self.turns.pop(worker)
        self.pool.drop(worker)
        self.crashes[turn.index] = self.crashes.get(turn.index, 0) + 1
        if self.crashes[turn.index] < _CRASHES:
            self.waiting.append(turn.index)
        else:
            self._finish(turn.index, ("undecided", "crash", time.monotonic() - turn.began))

    def _finish(self, index: int, outcome: Outcome) -> None:
        self.outcomes[index] = outcome
        if self.done is not None:
            self.done(index)


def _used(worker: Worker, turn: _Turn, now: float) -> float:
    """CPU seconds that the item has used; wall seconds if the CPU time is unknown."""
    cpu = worker.cpu()
    return now - turn.began if cpu is None or turn.cpu is None else cpu - turn.cpu
