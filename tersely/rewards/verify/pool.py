"""The pool of worker processes: started when there is work, replaced when they die, ended with their owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tersely.rewards.verify.batch import Batch, Outcome
from tersely.rewards.verify.nursery import Nursery, Worker, WorkerError


class Pool:
    """`workers` processes, started when there is work for them."""

    def __init__(self, *, workers: int, timeout: float, memory: int, recycle: int, policy: dict):
        self.workers, self.timeout, self.recycle = workers, timeout, recycle
        self._start = lambda: Nursery(memory=memory, policy=policy)
        self._nursery: Nursery | None = None
        self._idle: list[Worker] = []
        self.busy: set[Worker] = set()
        self.restarts = 0

    def run(self, tasks: Sequence[tuple[str, str]], done: Callable[[int], None] | None = None) -> list[Outcome]:
        """(status, path, seconds) of every (gold, answer), in order."""
        try:
            return Batch(self, tasks, done).run()
        finally:  # an interrupt may leave some at work
            for worker in list(self.busy):
                self.drop(worker)

    def take(self) -> Worker:
        """An idle worker, or a new one. It is busy until it is given back or dropped."""
        worker = self._idle.pop() if self._idle else self._new()
        self.busy.add(worker)
        return worker

    def _new(self) -> Worker:
        for attempt in (1, 2):
            if self._nursery is None:
                self._nursery = self._start()
            try:
                return self._nursery.worker()
            except (WorkerError, OSError) as error:
                self._nursery.close()
                self._nursery = None
                if attempt == 2 or (isinstance(error, WorkerError) and error.fatal):
                    raise error if isinstance(error, WorkerError) else WorkerError(str(error)) from error
                self.restarts += 1
        raise AssertionError

    def drop(self, worker: Worker) -> None:
        """Kill it. Another one takes its place when there is work."""
        self.busy.discard(worker)
        worker.kill()
        self.restarts += 1

    def give(self, worker: Worker, last: bool) -> None:
        """Back from its item; a worker that has served its time is let go."""
        self.busy.discard(worker)
        if last or worker.served >= self.recycle:
            worker.forget()
        else:
            self._idle.append(worker)

    def pids(self) -> list[int]:
        """The processes alive now, nursery first."""
        own = [self._nursery.process.pid] if self._nursery else []
        return own + [worker.pid for worker in [*self._idle, *self.busy]]

    def close(self) -> None:
        for worker in [*self._idle, *self.busy]:
            worker.kill()
        self._idle.clear()
        self.busy.clear()
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None

    def abandon(self) -> None:
        """In a forked child: let go of the parent's processes without touching them."""
        for worker in [*self._idle, *self.busy]:
            worker.forget()
        self._idle.clear()
        self.busy.clear()
        if self._nursery is not None:
            self._nursery.abandon()
            self._nursery = None
