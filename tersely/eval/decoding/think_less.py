"""ThinkLess (2505.15684; k and the wording are ours): ends thinking early, then adds an instruction for the answer.

With k = 0 it is no_thinking plus an instruction. Models may resume thinking in the answer: check both token counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tersely.core.errors import require_range
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.eval.decoding.base import ANSWER_CAP, Decoded, Prompt, Session, Strategy, start
from tersely.eval.decoding.no_thinking import opens_thinking


@dataclass(frozen=True)
class ThinkLess(Strategy):
    needs_marker: ClassVar[bool] = True

    k: int = 0
    """Thinking tokens before the end marker is written."""
    instruction: str = "Give a brief solution and put the final answer within \\boxed{}."

    def __post_init__(self) -> None:
        require_range("think_less.k", self.k, at_least=0)

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session, rows = Session(engine, sampling, seed), start(prompts)
        session.advance(rows, [min(self.k, row.left) for row in rows], "thinking", stop_ids=session.stop_at_end)
        for row in rows:
            if row.cut and len(row.ids) < self.k:
                row.finish = "length"
        shortened = [row for row in rows if row.finish is None and not session.ended_thinking(row)]
        for row in shortened:
            opening = "" if row.ids or opens_thinking(session, row.prompt_ids) else "<think>\n"
            row.add(session.encode(f"{opening}\n</think>\n\n{self.instruction}\n\n"), "instruction", injected=True)
        forced = set(map(id, shortened))
        session.answer(shortened, ANSWER_CAP)
        session.answer(rows)
        return [session.decoded(row, "forced" if id(row) in forced else None) for row in rows]
