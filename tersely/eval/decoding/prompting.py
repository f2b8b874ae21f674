"""Uses a method's prompting at inference: the one that it trained with, or a variant for evaluation.

    --strategy "prompting:of={name: hbpo, prompting: efficient}"      --strategy "prompting:of={name: arm, mode: short_cot}"
    --strategy "prompting:of={name: selfbudgeter, budget: 60}"        --strategy prompting:of=autothink

A prefill is part of the graded text and of its tokens (`injected_tokens` of a record), as everywhere in this package.
Sample j of a problem gets row j of the group. The prompt memory is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.types import RolloutPlan
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.engines.chat import opened_by
from tersely.eval.decoding.base import Decoded, Prompt, Row, Session, Strategy


@dataclass(frozen=True)
class MethodPrompting(Strategy):
    of: Any = "plain"
    """The prompting component: a name, or a mapping with a name and parameters."""

    def __post_init__(self) -> None:
        build("prompting", self.of)

    def require_samples(self, samples: int) -> None:
        """Raise `ConfigError` if the number of samples does not fit the component, for example its number of budgets."""
        try:
            build("prompting", self.of).plans(["-"], samples, None, 0)
        except ValueError as error:
            raise ConfigError(
                f"strategy prompting: {error}. In an evaluation the group size is --samples, {samples} here"
            ) from error

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session, prompting = Session(engine, sampling, seed), build("prompting", self.of)
        plans = [
            prompting.plans([p.prompt_id], max(sampling.samples, p.sample + 1), None, seed)[p.sample] for p in prompts
        ]
        rows = [planned_row(session, prompt, one) for prompt, one in zip(prompts, plans, strict=True)]
        caps = [min(one.max_new_tokens or row.left, row.left) for row, one in zip(rows, plans, strict=True)]
        session.advance(rows, caps, "sample")
        return [session.decoded(row, budget=one.budget) for row, one in zip(rows, plans, strict=True)]


def planned_row(session: Session, prompt: Prompt, plan: RolloutPlan) -> Row:
    """A row that starts with the plan's prefill."""
    row = Row(prompt, prompt.instructed(plan.instruction or ""))
    opening = session.tokenizer.decode(list(row.prompt_ids[-16:]))
    row.add(session.encode(opened_by(plan.prefill, opening)), "prefill", injected=True)
    return row
