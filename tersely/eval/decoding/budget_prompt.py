"""Requests a number of tokens in the prompt (L1, released code); the records keep it for the adherence metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tersely.core.errors import require_choice, require_range
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.eval.decoding.base import Decoded, Prompt, Row, Session, Strategy

CLOSING = "Let's think step by step and output the final answer within \\boxed{}."
FORMS = {
    "exact": CLOSING + " Think for {n} tokens.",
    "max": CLOSING + " Think for maximum {n} tokens.",
    "tale": "Let's think step by step and use less than {n} tokens:",
}


@dataclass(frozen=True)
class BudgetPrompt(Strategy):
    tokens: int
    mode: str = "exact"
    """`exact` and `max` are L1's two forms, `tale` is TALE's."""

    def __post_init__(self) -> None:
        require_range("budget_prompt.tokens", self.tokens, at_least=1)
        require_choice("budget_prompt.mode", self.mode, tuple(FORMS))

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session = Session(engine, sampling, seed)
        request = FORMS[self.mode].replace("{n}", str(self.tokens))
        rows = [Row(prompt, prompt.instructed(request, separator=" ")) for prompt in prompts]
        session.advance(rows, [row.left for row in rows], "sample")
        return [session.decoded(row, budget=float(self.tokens)) for row in rows]
