"""The verifier: finds the answer, decides the quick cases, caches, and sends the rest to killable workers."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tersely.configs.verifier import Policy, VerifierSpec
from tersely.core.heartbeat import beat
from tersely.core.verifier import AnswerVerifier
from tersely.rewards.verify.cache import Cache
from tersely.rewards.verify.compare.cost_limits import exceeded_limit
from tersely.rewards.verify.compare.options import by_option
from tersely.rewards.verify.compare.quick import gold_text, quick_match, tidied_text
from tersely.rewards.verify.compare.restated import restated
from tersely.rewards.verify.extract.find import answer_in_parts, find_answer
from tersely.rewards.verify.extract.whole import find_whole_answer
from tersely.rewards.verify.scorers.grade import name_in
from tersely.rewards.verify.verdict import Verdict
from tersely.rewards.verify.workers.pool import Pool

_MEGABYTE = 1 << 20
_TRANSIENT = ("crash", "budget", "no_worker")  # not remembered: another try may decide
_ALIVE: weakref.WeakSet[Verifier] = weakref.WeakSet()


class Verifier(AnswerVerifier):
    """Compares responses with reference answers, within a bounded time and memory for any text.

    workers: processes that run math-verify; default: the usable cores shared among the local ranks, at most 8
    timeout: maximum seconds per item; the worker is killed from outside
    memory_mb: address space of one worker, MiB
    cache: number of verdicts kept, by (gold, answer)
    contract: boxed | answer | lenient, see `extract`
    policy: `Policy`, or a mapping of its fields
    recycle: items after which a worker is replaced

    Usable from any thread (calls are serialised) and after a fork (the child starts its own workers). It uses no signals,
    alarms or threads. Close it, or use it as a context manager. Its processes also end when their owner ends.
    """

    def __init__(
        self,
        workers: int | None = None,
        timeout: float = 5.0,
        memory_mb: int = 1024,
        cache: int = 65536,
        contract: str = "answer",
        policy: Policy | Mapping[str, Any] | None = None,
        recycle: int = 2000,
    ):
        self.policy = Policy.of(policy)
        VerifierSpec(workers, timeout, memory_mb, cache, contract, self.policy, recycle)  # checks the ranges
        self.contract, self.timeout = contract, float(timeout)
        self.workers = default_workers() if workers is None else workers
        self._make_pool = lambda scorer: Pool(
            workers=self.workers,
            timeout=self.timeout,
            memory=int(memory_mb) * _MEGABYTE,
            recycle=recycle,
            policy=self.policy.as_dict(),
            scorer=scorer,
        )
        self._pools: dict[str | None, Pool] = {}
        self._cache = Cache(cache)
        self._lock = threading.RLock()
        self._counts: Counter[str] = Counter()
        self._seconds = 0.0
        self._closed = False
        _ALIVE.add(self)

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the worker processes' imports now, without waiting, so that they overlap with what comes next."""
        with self._lock:
            self._pool(None).start()

    def _pool(self, scorer: str | None) -> Pool:
        """The pool of the comparison with math-verify (None), or of a scorer."""
        if scorer not in self._pools:
            self._pools[scorer] = self._make_pool(scorer)
        return self._pools[scorer]

    def verify(
        self,
        golds: Sequence[str],
        responses: Sequence[str],
        prompts: Sequence[str] | None = None,
        progress: Callable[[int], None] | None = None,
        scorers: Sequence[str | None] | None = None,
    ) -> list[Verdict]:
        """One verdict per response, in order. It does not raise for any string.

        With `prompts`, an answer that only repeats a formula of its prompt is incorrect unless it is written as the gold
        is. `progress` is called with the number of items just decided.
        `scorers`: text of `payload_of` for each row that a scorer grades, None for the others.
        """
        if len(golds) != len(responses):
            raise ValueError(f"{len(golds)} golds and {len(responses)} responses; lengths must match")
        if prompts is not None and len(prompts) != len(responses):
            raise ValueError(f"{len(prompts)} prompts and {len(responses)} responses; lengths must match")
        if scorers is not None and len(scorers) != len(responses):
            raise ValueError(f"{len(scorers)} scorers and {len(responses)} responses; lengths must match")
        if self._closed:
            raise RuntimeError("the verifier is closed")
        with self._lock:
            began = time.perf_counter()
            verdicts = self._verify([str(gold) for gold in golds], responses, prompts, progress, scorers)
            self._seconds += time.perf_counter() - began
            for verdict in verdicts:
                self._counts["items"] += 1
                self._counts[f"status/{verdict.status}"] += 1
                self._counts[f"path/{verdict.path}"] += 1
            return verdicts

    def verify_rows(self, rows: Sequence[Mapping[str, Any]], responses: Sequence[str]) -> list[Verdict]:
        """`verify` with the answer, problem and scorer of each row. Every decided answer is a heartbeat for the watchdog."""
        return self.verify(responses=responses, **arguments_of(rows))

    def _verify(
        self,
        golds: Sequence[str],
        responses: Sequence[str],
        prompts: Sequence[str] | None,
        progress: Callable[[int], None] | None,
        scorers: Sequence[str | None] | None,
    ) -> list[Verdict]:
        verdicts: list[Verdict | None] = [None] * len(golds)
        open_items: dict[str | None, dict[tuple[str, str], list[int]]] = {}
        for index, (gold, response) in enumerate(zip(golds, responses, strict=True)):
            began = time.perf_counter()
            payload = None if scorers is None else scorers[index]
            if payload is not None:
                gold = payload
                answer, decided = self._look_for_scorer(payload, response)
            else:
                gold, answer, decided = self._look(gold, response, None if prompts is None else prompts[index])
            if decided is None:
                assert answer is not None  # without an answer it would be decided
                scorer = None if payload is None else name_in(payload)
                open_items.setdefault(scorer, {}).setdefault((gold, answer), []).append(index)
                continue
            verdicts[index] = Verdict(decided[0], answer, decided[1], time.perf_counter() - began)
            if progress is not None:
                progress(1)
        for scorer, items in open_items.items():
            self._send(scorer, items, verdicts, progress)
        return verdicts  # type: ignore[return-value]

    def _look(self, gold: str, response: str, prompt: str | None) -> tuple[str, str | None, tuple[str, str] | None]:
        """(gold, answer, decision in this process). An exception makes one item undecided; the other items go on."""
        answer = None
        try:
            gold = gold_text(gold)
            answer = find_answer(response, self.contract) if response else None
            if ")" in gold and tidied_text(gold).startswith("(1) "):
                answer = answer_in_parts(response, self.contract) or answer
            return gold, answer, self._decide_here(gold, answer, prompt)
        except Exception as error:
            return gold, answer, ("undecided", f"error:{type(error).__name__}")

    def _look_for_scorer(self, payload: str, response: str) -> tuple[str | None, tuple[str, str] | None]:
        """(answer, decision in this process) of a row with a scorer. Only the scorer decides about an answer."""
        try:
            answer = find_whole_answer(response, self.contract) if response else None
        except Exception as error:
            return None, ("undecided", f"error:{type(error).__name__}")
        if answer is None:
            return None, ("no_answer", "extract")
        known = self._cache.get(_digest(payload), answer)
        self._counts["cache/hits"] += known is not None
        return answer, known

    def _decide_here(self, gold: str, answer: str | None, prompt: str | None) -> tuple[str, str] | None:
        """(status, path), None if a worker has to decide."""
        if answer is None:
            return "no_answer", "extract"
        if not gold:
            return "undecided", "gold"
        if prompt and (option := by_option(gold, answer, prompt, self.policy)) is not None:
            return ("correct" if option else "incorrect"), "choice"
        fast = quick_match(gold, answer, self.policy)
        open_or_paid = fast is None or (fast[0] and fast[1] != "exact")
        if prompt and open_or_paid and restated(tidied_text(gold), tidied_text(answer), prompt):
            return "incorrect", "restated"
        if fast is not None:
            return ("correct" if fast[0] else "incorrect"), fast[1]
        known = self._cache.get(gold, answer)
        if known is not None:
            self._counts["cache/hits"] += 1
            return known
        if exceeded_limit(answer) or exceeded_limit(gold):
            return "undecided", "guard"
        return None

    def _send(
        self,
        scorer: str | None,
        open_items: dict[tuple[str, str], list[int]],
        verdicts: list[Any],
        progress: Callable[[int], None] | None,
    ) -> None:
        keys = list(open_items)
        self._counts["cache/hits"] += sum(len(indices) - 1 for indices in open_items.values())
        self._counts["cache/misses"] += len(keys)
        done = None if progress is None else lambda at: progress(len(open_items[keys[at]]))
        for key, (status, path, seconds) in zip(keys, self._pool(scorer).run(keys, done), strict=True):
            if path not in _TRANSIENT:
                self._cache.put(key[0] if scorer is None else _digest(key[0]), key[1], (status, path))
            for index in open_items[key]:
                verdicts[index] = Verdict(status, key[1], path, seconds)

    def stats(self) -> dict[str, float]:
        """Counters since the start: items, status/*, path/*, cache/*, restarts, seconds."""
        with self._lock:
            hits, misses = self._counts["cache/hits"], self._counts["cache/misses"]
            return {
                "items": 0,
                **self._counts,
                "cache/hit_rate": hits / (hits + misses) if hits + misses else 0.0,
                "cache/entries": len(self._cache),
                "restarts": sum(pool.restarts for pool in self._pools.values()),
                "seconds": self._seconds,
            }

    def pids(self) -> list[int]:
        """PIDs of the fork server and the workers that are alive. Does not wait for a verification in another thread."""
        return [pid for pool in list(self._pools.values()) for pid in pool.pids()]

    def close(self) -> None:
        """End the worker processes. The verifier cannot be used afterwards."""
        with self._lock:
            self._closed = True
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        for pool in self._pools.values():
            pool.abandon()
        self._pools.clear()


def arguments_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Arguments of `verify` for rows of a dataset, all but the responses."""
    scorers = [row.get("scorer") or None for row in rows]
    return {
        "golds": [row["answer"] for row in rows],
        "prompts": [row["problem"] for row in rows],
        "progress": lambda decided: beat(),
        "scorers": scorers if any(scorers) else None,
    }


def _digest(payload: str) -> str:
    """Key of a scorer's payload in the cache, which keeps no long texts; no reference answer begins with NUL."""
    return "\0" + hashlib.sha256(payload.encode()).hexdigest()


def default_workers() -> int:
    """The usable cores, shared among the ranks of this machine, at most 8."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    try:
        ranks = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    except ValueError:
        ranks = 1
    return max(1, min(8, cores // ranks))


def _forget_in_child() -> None:
    for verifier in list(_ALIVE):
        verifier._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
