"""ARM's consensus-guided mode (2505.20258): samples three cheap formats, and the long chain only if they disagree.

The result is the direct answer's text if direct answer, short chain and code give the same answer, and the long chain's
otherwise. The cost counts all sampled tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tersely.algorithms.prompting.arm import TAGS, ARMPrompting
from tersely.core.types import RolloutPlan
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.eval.decoding.answer_convergence import same_answer
from tersely.eval.decoding.base import Decoded, Prompt, Row, Session, Strategy
from tersely.eval.decoding.prompting import planned_row

CHEAP = ("direct", "short_cot", "code")


@dataclass(frozen=True)
class ArmConsensus(Strategy):
    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session = Session(engine, sampling, seed)
        cheap = [[self._row(session, prompt, mode) for mode in CHEAP] for prompt in prompts]
        self._draw(session, [row for rows in cheap for row in rows])
        agreed = [self._agreed(session, rows) for rows in cheap]
        long = [self._row(session, p, "long_cot") for p, done in zip(prompts, agreed, strict=True) if not done]
        self._draw(session, long)
        rest = iter(long)
        return [
            self._paid(session, rows[0] if done else next(rest), rows) for rows, done in zip(cheap, agreed, strict=True)
        ]

    def _row(self, session: Session, prompt: Prompt, mode: Any) -> Row:
        plan: RolloutPlan = ARMPrompting(mode)([prompt.prompt_id], 1)[0]
        row = planned_row(session, prompt, plan)
        row.rounds = list(TAGS).index(mode)  # a separate seed per format
        return row

    def _draw(self, session: Session, rows: list[Row]) -> None:
        session.advance(rows, [row.left for row in rows], "sample")

    def _agreed(self, session: Session, rows: list[Row]) -> bool:
        first, *others = [answer_of(session.text(row.ids)) for row in rows]
        return bool(first) and all(other and same_answer(first, other) for other in others)

    def _paid(self, session: Session, row: Row, cheap: list[Row]) -> Decoded:
        row.pay(sum(len(other.ids) for other in cheap if other is not row), "other formats")
        return session.decoded(row)


def answer_of(text: str) -> str:
    """Content of the answer tags, without a box around it; empty without tags."""
    from tersely.rewards.verify.extract.boxes import last_box

    body = text.rpartition("<ANSWER>")[2].partition("</ANSWER>")[0].strip()
    return last_box(body) or body
