"""BRPO's prompting (AnytimeReasoner): several answers at several thinking budgets along each of several traces.

Paper: arXiv 2505.13438, from the released code. The advantage is `advantages/brpo.py`.
    trace g = thinking up to its end, at most budgets[-1] tokens
    row (g, s, a) = the first budgets[s] tokens of trace g, `text`, and an answer of at most answer_tokens
    a trace that ended its thinking before budgets[s]: all of it, `closed_text`, an answer
Symbols: traces G, budgets b_1 < .. < b_S tokens, answers A; group_size is G S A.
Against GRPO: the rows share traces. The tokens of a trace are trained in one row only, that of the last budget's first answer;
    the other rows train their answers. The written texts are not trained on.
Degenerate: a trace that stops inside its thinking with EOS is not continued, so its later rows are the trace. S = A = 1: every
    row has its own trace.
Pitfalls: every row repeats the tokens of its trace in the update; the released code packs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tersely.core.errors import ConfigError, require_range
from tersely.core.memory import PromptMemory
from tersely.core.protocols import Prompting
from tersely.core.types import Exit, RolloutPlan


@dataclass(frozen=True)
class BRPOPrompting(Prompting):
    traces: int = 8
    budgets: tuple[int, ...] = (2000, 4000, 6000, 8000)
    answers: int = 4
    answer_tokens: int = 128
    text: str = "...\n\n...\n\n</think>\n\n**Final Answer**\n"
    closed_text: str = "\n\n**Final Answer**\n"

    def __post_init__(self) -> None:
        for name in ("traces", "answers", "answer_tokens"):
            require_range(f"brpo.{name}", getattr(self, name), at_least=1)
        for budget in self.budgets:
            require_range("brpo.budgets", budget, at_least=1)
        if not self.budgets or list(self.budgets) != sorted(set(self.budgets)):
            raise ConfigError(f"brpo.budgets: got {list(self.budgets)}; expected ascending token counts")
        if "</think>" not in self.text:
            raise ConfigError(f"brpo.text: got {self.text!r}; expected a text with </think>")

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        rows = self.traces * len(self.budgets) * self.answers
        if group_size != rows:
            raise ConfigError(
                f"brpo: got traces {self.traces}, {len(self.budgets)} budgets and answers {self.answers}; expected their "
                f"product to be group_size {group_size}. Set group_size: {rows}"
            )
        group = [
            self._plan(trace, order, answer)
            for trace in range(self.traces)
            for order in range(len(self.budgets))
            for answer in range(self.answers)
        ]
        return group * len(prompt_ids)

    def _plan(self, trace: int, order: int, answer: int) -> RolloutPlan:
        exit = Exit(
            trace=trace,
            order=order,
            answer=answer,
            position=self.budgets[order],
            text=self.text,
            closed_text=self.closed_text,
            answer_tokens=self.answer_tokens,
            trace_tokens=self.budgets[-1],
            trains_prefix=order == len(self.budgets) - 1 and answer == 0,
        )
        return RolloutPlan(budget=self.budgets[order], exit=exit)
