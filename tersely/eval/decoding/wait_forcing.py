"""s1's minimum thinking (2501.19393, released code): replaces the end of thinking with "Wait".

EOS inside the thinking counts as an end of thinking. Removed tokens were generated, so they count as cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tersely.core.errors import require_range
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.engines.phases import closed_at
from tersely.eval.decoding.base import Decoded, Prompt, Row, Session, Strategy, start


@dataclass(frozen=True)
class WaitForcing(Strategy):
    needs_marker: ClassVar[bool] = True

    times: int = 2
    string: str = "Wait"
    max_thinking: int | None = None
    """Thinking tokens above which the end of thinking is kept."""

    def __post_init__(self) -> None:
        require_range("wait_forcing.times", self.times, at_least=0)
        require_range("wait_forcing.max_thinking", self.max_thinking, at_least=1)

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session, rows = Session(engine, sampling, seed), start(prompts)
        going = rows
        for _ in range(self.times):
            session.advance(going, [row.left for row in going], "thinking", stop_ids=session.stop_at_end)
            going = [row for row in going if self._take_back(session, row)]
        session.advance(going, [row.left for row in going], "thinking", stop_ids=session.stop_at_end)
        for row in rows:
            if row.finish is None and row.cut and row.left < 1:
                row.finish = "length"
        session.answer(rows)
        return [session.decoded(row) for row in rows]

    def _take_back(self, session: Session, row: Row) -> bool:
        """Replace the end of thinking with the string; False if there is none, or if thinking is long enough."""
        end = closed_at(row.ids, session.end)
        thought = end - len(session.end) if end is not None else len(row.ids) - (row.finish == "eos")
        ended = end is not None or row.finish == "eos"
        if not ended or (self.max_thinking is not None and thought >= self.max_thinking):
            return False
        string = session.encode(self.string)
        if row.prompt.max_new_tokens - thought + row.written < 1 or row.room < 1:
            return False
        row.extra += len(row.ids) - thought  # already counted in the phase that sampled them
        row.shorten(thought)
        row.add(string, "wait", injected=True)
        return True
