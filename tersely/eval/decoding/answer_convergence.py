"""Stops thinking when probed answers agree; represents TrimR (2505.17155), DEER (2504.15895) and certainty probes.

After every chunk of thinking an answer is forced greedily, as a probe. `agree` equal answers in a row end the thinking.
Incorrect answers converge too: look at the accuracy of stopped and unstopped samples separately (`finish` in the records).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tersely.core.errors import ConfigError, require_range
from tersely.core.parse_completion import END_OF_THINKING
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine, Generation
from tersely.engines.registry import evaluation_engines
from tersely.eval.decoding.base import ANSWER_CAP, Decoded, Prompt, Row, Session, Strategy, start


@dataclass(frozen=True)
class AnswerConvergence(Strategy):
    needs_marker: ClassVar[bool] = True

    chunk: int = 256
    agree: int = 2
    """1 stops at the first answer that is not empty."""
    probe_prefix: str = "\n</think>\n\n\\boxed{"
    probe_tokens: int = 20
    min_thinking: int = 0
    confidence: float | None = None
    """DEER: stop instead when the geometric mean of the probabilities of the answer's tokens exceeds this."""

    def __post_init__(self) -> None:
        for name in ("chunk", "agree", "probe_tokens"):
            require_range(f"answer_convergence.{name}", getattr(self, name), at_least=1)
        require_range("answer_convergence.min_thinking", self.min_thinking, at_least=0)
        require_range("answer_convergence.confidence", self.confidence, above=0, below=1)

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        if self.confidence is not None and engine.capabilities.lacks(["logprobs"]):
            able = " or ".join(evaluation_engines(["logprobs"]))
            raise ConfigError(f"answer_convergence.confidence: needs log-probs. Use --engine {able}")
        session, rows = Session(engine, sampling, seed), start(prompts)
        seen: dict[int, tuple[str, int]] = {}  # row -> (last answer, number of times in a row)
        stopped: set[int] = set()
        thinking = list(range(len(rows)))
        while thinking:
            self._chunk(session, [rows[i] for i in thinking])
            thinking = [i for i in thinking if rows[i].finish is None and not session.ended_thinking(rows[i])]
            probed = [i for i in thinking if len(rows[i].ids) >= self.min_thinking]
            for i, generation in zip(probed, self._probe(session, [rows[i] for i in probed]), strict=True):
                if self._converged(session, i, generation, seen):
                    stopped.add(i)
                    rows[i].add(session.encode(f"{END_OF_THINKING}\n\n"), "stop", injected=True)
            thinking = [i for i in thinking if i not in stopped]
        session.answer([rows[i] for i in stopped], ANSWER_CAP)
        session.answer(rows)
        return [session.decoded(row, "stopped_early" if i in stopped else None) for i, row in enumerate(rows)]

    def _chunk(self, session: Session, rows: list[Row]) -> None:
        session.advance(rows, [min(self.chunk, row.left) for row in rows], "thinking", stop_ids=session.stop_at_end)
        for row in rows:
            if row.finish is None and row.left < 1:
                row.finish = "length"

    def _probe(self, session: Session, rows: list[Row]) -> list[Generation]:
        prefix = session.encode(self.probe_prefix)
        caps = [min(self.probe_tokens, row.room - len(prefix)) for row in rows]
        found = session.draw(rows, caps, tail=prefix, greedy=True, logprobs=self.confidence is not None)
        for row, generation in zip(rows, found, strict=True):
            row.rounds -= 1  # greedy: the round's seed was not used
            row.pay(len(prefix) + len(generation.token_ids), "probe")
        return found

    def _converged(self, session: Session, i: int, probe: Generation, seen: dict[int, tuple[str, int]]) -> bool:
        answer = boxed_content(session.text(probe.token_ids))
        if self.confidence is not None:
            return bool(answer) and self._certainty(session, probe) > self.confidence
        before, times = seen.get(i, ("", 0))
        times = 0 if not answer else times + 1 if before and same_answer(before, answer) else 1
        seen[i] = (answer, times)
        return times >= self.agree

    def _certainty(self, session: Session, probe: Generation) -> float:
        """The ids up to and including the token that closes the box."""
        length = next(
            (n for n in range(1, len(probe.token_ids) + 1) if _closes(session.text(probe.token_ids[:n])) is not None),
            len(probe.token_ids),
        )
        logps = (probe.logprobs or ())[:length]
        return math.exp(sum(logps) / len(logps)) if logps else 0.0


def _closes(text: str) -> int | None:
    """Position of the brace that closes a box that is open at the start of the text."""
    depth = 1
    for place, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return place
    return None


def boxed_content(text: str) -> str:
    """Content of a box that is open at the start of the text; empty if it does not close."""
    place = _closes(text)
    return "" if place is None else text[:place].strip()


def same_answer(a: str, b: str) -> bool:
    """The verifier's equivalence without math-verify: texts, numbers, shapes."""
    from tersely.configs.verifier import Policy
    from tersely.rewards.verify.compare.quick import quick_match

    decided = quick_match(a, b, Policy())
    return a == b if decided is None else decided[0]
