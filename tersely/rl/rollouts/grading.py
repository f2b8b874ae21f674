"""Async grader: verification starts when completions arrive, and results are collected when needed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tersely.core.protocols import complete
from tersely.core.verifier import AnswerVerdict, AnswerVerifier


class Grader:
    """Runs one rank's verifier in a thread; the heavy work is in the verifier's processes."""

    def __init__(self, verifier: Any):
        self.verifier: AnswerVerifier = complete(AnswerVerifier, verifier)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="verify")
        self._pending: Future | None = None

    @property
    def ended(self) -> bool:
        """True if an answer counts only when its completion ended by itself; the recipe's `verifier: {ended: ...}`."""
        return self.verifier.ended

    def start(self, rows: Sequence[dict[str, Any]], texts: Sequence[str]) -> None:
        self._pending = self.submit(rows, texts)

    def submit(self, rows: Sequence[dict[str, Any]], texts: Sequence[str]) -> Future:
        """Future of (verdicts, seconds), independent of `start` and `result`."""
        return self._thread.submit(self._verify, list(rows), list(texts))

    def _verify(self, rows: list[dict[str, Any]], texts: list[str]) -> tuple[list[AnswerVerdict], float]:
        began = time.perf_counter()
        return self.verifier.verify_rows(rows, texts), time.perf_counter() - began

    def result(self) -> tuple[list[AnswerVerdict], float, float]:
        """(verdicts, seconds of verification, seconds waited here)."""
        if self._pending is None:
            raise RuntimeError("no verification was started")
        began = time.perf_counter()
        verdicts, seconds = self._pending.result()
        self._pending = None
        return verdicts, seconds, time.perf_counter() - began

    def settle(self, verdicts: list[AnswerVerdict], seconds: float) -> None:
        """Store a completed result again; the next `result` returns it."""
        done: Future = Future()
        done.set_result((verdicts, seconds))
        self._pending = done

    def metrics(self) -> dict[str, float]:
        """Counters of the verifier since the start: cache, workers, judge."""
        stats = self.verifier.stats()
        named = {"verify/cache_hit_rate": "cache/hit_rate", "verify/restarts": "restarts"}
        judged = {key: value for key, value in stats.items() if key.startswith("judge/")}
        return {name: stats[key] for name, key in named.items() if key in stats} | judged

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        self.verifier.close()
