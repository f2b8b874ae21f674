"""Budget forcing (s1, 2501.19393): cuts thinking at a budget and forces the answer.

A trace that ends its thinking within the budget is unchanged, so it is the same for every larger budget. `budgets` cuts
the same trace at each budget: a forced-answer curve for the cost of one trace plus its answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tersely.core.errors import ConfigError, require_range
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.engines.phases import closed_at
from tersely.eval.decoding.base import Decoded, Prompt, Row, Session, Strategy, start

FORMS = {
    "final": "\n</think>\n\n**Final Answer**\n\\boxed{",
    "boxed": "\n</think>\n\\boxed{",
    "s1": "\n</think>\nFinal Answer:",
}


@dataclass(frozen=True)
class ForcedAnswer(Strategy):
    """`answer_prefix`, a text or a name of FORMS, is appended to the cut trace."""

    needs_marker: ClassVar[bool] = True

    budget: int | None = None
    """Thinking tokens; 0 skips thinking."""
    budgets: tuple[int, ...] = ()
    answer_prefix: str = FORMS["final"]
    answer_tokens: int = 512
    """Cap of the answer in tokens; 64 is enough for the boxed form."""
    answer_greedy: bool = True

    def __post_init__(self) -> None:
        if (self.budget is None) == (not self.budgets):
            raise ConfigError("forced_answer: expected either `budget` (a number) or `budgets` (a list)")
        for budget in self._all:
            require_range("forced_answer.budget", budget, at_least=0)
        require_range("forced_answer.answer_tokens", self.answer_tokens, at_least=1)
        if "</think>" not in self.prefix:
            raise ConfigError(
                f"forced_answer.answer_prefix: got {self.answer_prefix!r}; expected a text with </think>, or one of "
                f"{', '.join(FORMS)}"
            )

    @property
    def prefix(self) -> str:
        return FORMS.get(self.answer_prefix, self.answer_prefix)

    @property
    def _all(self) -> tuple[int, ...]:
        return self.budgets or (self.budget,)  # type: ignore[return-value]

    def variants(self) -> list[ForcedAnswer]:
        """One strategy per budget."""
        return [replace(self, budget=budget, budgets=()) for budget in self._all]

    def recorded(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "budget": self.budget,
            **{key: value for key, value in given.items() if key not in ("budget", "budgets")},
        }

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        """One result per prompt for one budget; for several, the results of the first budget, then of the next."""
        session, rows = Session(engine, sampling, seed), start(prompts)
        deepest = max(self._all)
        session.advance(rows, [min(deepest, row.left) for row in rows], "thinking", stop_ids=session.stop_at_end)
        for row in rows:
            if row.cut and len(row.ids) < deepest:  # by the cap of a vanilla sample, or by the context
                row.finish = "length"
        session.answer([row for row in rows if session.ended_thinking(row)])
        return [result for budget in self._all for result in self._cut(session, rows, budget)]

    def _cut(self, session: Session, rows: list[Row], budget: int) -> list[Decoded]:
        """The same traces with one budget."""
        prefix = session.encode(self.prefix)
        cut = [self._at(row, budget, session) for row in rows]
        forced = [row for row in cut if row.finish is None]
        for row in forced:
            row.add(prefix, "forced", injected=True)
        session.answer(forced, self.answer_tokens, greedy=self.answer_greedy)
        was_forced = set(map(id, forced))
        return [session.decoded(row, "forced" if id(row) in was_forced else None) for row in cut]

    def _at(self, row: Row, budget: int, session: Session) -> Row:
        """The trace unchanged if its thinking ended within the budget; else its first `budget` tokens, unfinished."""
        thought = closed_at(row.ids, session.end) or len(row.ids)
        if row.finish is not None and thought <= budget:
            return row
        return row.branch(budget)
