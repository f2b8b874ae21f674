"""ThoughtTerminator (2504.13367; wording ours): tells the model its token count, and stops it at a deadline.

Every `interval` tokens: a complete box in the text ends the sample, otherwise the interrupt is injected. `used` counts
injected tokens too. A box in the middle of thinking may be an intermediate result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tersely.core.errors import require_range
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.eval.decoding.base import Decoded, Prompt, Row, Session, Strategy, start

INTERRUPT = "\n\nI have used {used} tokens, and I have {left} tokens left to answer. Let me continue.\n\n"
TERMINATION = "\n\nI'm out of time, I need to provide my final answer now.\n</think>\n\n\\boxed{"
FORCED_CAP = 512


@dataclass(frozen=True)
class ThoughtTerminator(Strategy):
    needs_marker: ClassVar[bool] = True

    deadline: int
    """Deadline in tokens. The paper predicts one per problem from a pool of models; here it is a constant per benchmark."""
    interval: int | None = None
    """None means min(250, deadline // 2), at least 1."""

    def __post_init__(self) -> None:
        require_range("thought_terminator.deadline", self.deadline, at_least=1)
        require_range("thought_terminator.interval", self.interval, at_least=1)

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session, rows = Session(engine, sampling, seed), start(prompts)
        every = self.interval or max(1, min(250, self.deadline // 2))
        early: set[int] = set()
        out_of_time: list[Row] = []
        going = list(range(len(rows)))
        while going:
            active = [rows[i] for i in going]
            caps = [min(every, row.left, self.deadline - len(row.ids)) for row in active]
            session.advance(active, caps, "thinking")
            for i in going:
                row = rows[i]
                if row.finish is not None:
                    continue
                if len(row.ids) >= self.deadline:
                    out_of_time.append(row)
                elif row.left < 1:
                    row.finish = "length"
                elif _boxed(session.text(row.ids)):
                    row.finish = "eos"
                    early.add(i)
                else:
                    self._interrupt(session, row, out_of_time)
            late = set(map(id, out_of_time))
            going = [i for i in going if rows[i].finish is None and id(rows[i]) not in late]
        for row in out_of_time:
            row.add(session.encode(TERMINATION), "forced", injected=True)
        session.answer(out_of_time, FORCED_CAP)
        late = set(map(id, out_of_time))
        return [
            session.decoded(
                row,
                "forced" if id(row) in late else "stopped_early" if i in early else None,
                float(self.deadline),
            )
            for i, row in enumerate(rows)
        ]

    def _interrupt(self, session: Session, row: Row, out_of_time: list[Row]) -> None:
        """Inject the interrupt; if that passes the deadline, the sample is terminated."""
        text = INTERRUPT.format(used=len(row.ids), left=self.deadline - len(row.ids))
        row.add(session.encode(text), "interrupt", injected=True)
        if len(row.ids) >= self.deadline:
            out_of_time.append(row)


def _boxed(text: str) -> bool:
    from tersely.rewards.verify.extract.boxes import last_box

    return "\\boxed{" in text and bool(last_box(text))
