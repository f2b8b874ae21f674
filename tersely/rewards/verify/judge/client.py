"""Client of a judge model behind an OpenAI-compatible endpoint, with limits on time, concurrency and cost.

It never raises: a timeout, an error or a reply that cannot be parsed is no verdict (None).
"""

from __future__ import annotations

import json
import os
import random
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tersely.configs.verifier import JudgeSpec
from tersely.core.http import ServerDown, ServerRefused, read
from tersely.rewards.verify.judge.prompts import FORMATS, messages
from tersely.rewards.verify.normalize.latex import squeeze, tidy

Question = tuple[str, str, str, str | None]
"""(question, gold, prediction, whole response or None)."""
_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Judge(JudgeSpec):
    """Asks `model` at `url` whether answers are correct; caches verdicts and counts requests. Options: see `JudgeSpec`."""

    _known: dict[tuple[str, str, str], bool] = field(default_factory=dict, init=False, repr=False)
    _counts: dict[str, float] = field(default_factory=lambda: defaultdict(float), init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def ask(self, questions: Sequence[Question]) -> list[bool | None]:
        """Return one verdict per question, in order; equal questions are asked once."""
        keys = [_key(question) for question in questions]
        fresh: dict[tuple[str, str, str], Question] = {}
        for key, question in zip(keys, questions, strict=True):
            if key in self._known or key in fresh:
                self._counts["judge/cache_hits"] += 1
            else:
                fresh[key] = question
        answers = dict(zip(fresh, self._ask_all(list(fresh.values())), strict=True))
        found = [self._known.get(key, answers.get(key)) for key in keys]
        for key, answer in answers.items():
            if answer is not None and self.cache:
                self._known[key] = answer
                if len(self._known) > self.cache:
                    self._known.pop(next(iter(self._known)))
        return found

    def _ask_all(self, questions: list[Question]) -> list[bool | None]:
        if not questions:
            return []
        end = time.monotonic() + self.deadline
        with ThreadPoolExecutor(min(self.concurrency, len(questions)), thread_name_prefix="judge") as threads:
            return list(threads.map(lambda question: self._ask_one(question, end), questions))

    def _ask_one(self, question: Question, end: float) -> bool | None:
        style = FORMATS[self.format]
        body = {
            "model": self.model,
            "messages": messages(style, f"=== {secrets.token_hex(8)} ===", *question),
            "temperature": 0,
            "max_tokens": style.max_tokens,
        }
        for attempt in range(self.retries + 1):
            left = end - time.monotonic()
            if left <= 0:
                self._count("judge/deadline")
                return None
            began = time.monotonic()
            text, again = self._request(body, min(self.timeout, left))
            self._count("judge/seconds", time.monotonic() - began)
            if text is not None:
                verdict = style.read(text)
                if verdict is None:
                    self._count("judge/unreadable")
                return verdict
            if not again or attempt == self.retries:
                break
            self._count("judge/retries")
            pause = self.backoff * 2**attempt * (0.5 + random.random())
            time.sleep(max(0.0, min(pause, end - time.monotonic())))
        self._count("judge/failed")
        return None

    def _request(self, body: dict[str, Any], timeout: float) -> tuple[str | None, bool]:
        """Send one request; returns (the judge's text or None, whether another try may help)."""
        self._count("judge/requests")
        try:
            found = read(
                self.url.rstrip("/"),
                "/chat/completions",
                body,
                timeout_s=timeout,
                key=os.environ.get(self.key_variable),
                limit=_ANSWER_BYTES,
            )
            answer = json.loads(found)
            text = answer["choices"][0]["message"]["content"]
            usage = answer.get("usage") or {}
            self._count("judge/tokens_in", int(usage.get("prompt_tokens") or 0))
            self._count("judge/tokens_out", int(usage.get("completion_tokens") or 0))
            return (text, False) if isinstance(text, str) else (None, False)
        except (ServerDown, ServerRefused) as error:
            self._count(f"judge/http_{error.status}" if error.status else "judge/no_answer")
            return None, error.status is None or error.status in _RETRIED
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            self._count("judge/malformed")
            return None, False

    def _count(self, name: str, by: float = 1) -> None:
        with self._lock:
            self._counts[name] += by

    def stats(self) -> dict[str, float]:
        """Return counters so far: requests, retries, failures, tokens, and their price."""
        with self._lock:
            counts = dict(self._counts)
        spent = counts.get("judge/tokens_in", 0) * self.price_in + counts.get("judge/tokens_out", 0) * self.price_out
        return {"judge/requests": 0, **counts, "judge/cost": spent / 1e6}


def _key(question: Question) -> tuple[str, str, str]:
    return question[0], question[1], squeeze(tidy(question[2]))
