"""Chain of Draft (2502.18600, released code): drafts of five words per step, the answer after `####`.

The grader reads the text after the last `####`, or the whole response without one. Small models need the few-shot
examples; without them their accuracy falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tersely.core.errors import ConfigError
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.eval.decoding.base import Decoded, Prompt, Row, Session, Strategy

DRAFT = "Think step by step, but only keep minimum draft for each thinking step, with 5 words at most."
CLOSING = "Return the answer at the end of the response after a separator ####."


@dataclass(frozen=True)
class ChainOfDraft(Strategy):
    few_shot: tuple[Any, ...] = ()
    """Pairs (question, drafted response)."""

    def __post_init__(self) -> None:
        if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in self.few_shot):
            raise ConfigError(
                f"chain_of_draft.few_shot: got {self.few_shot!r}; expected a list of [question, response]"
            )

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session = Session(engine, sampling, seed)
        rows = [Row(prompt, self._ids(prompt)) for prompt in prompts]
        session.advance(rows, [row.left for row in rows], "sample")
        return [session.decoded(row) for row in rows]

    def _ids(self, prompt: Prompt) -> tuple[int, ...]:
        if not self.few_shot:
            return prompt.instructed(f"{DRAFT} {CLOSING}")
        if prompt.render is None:
            raise ConfigError("chain_of_draft changes the prompt, so it needs the chat, not only its ids")
        shots = [
            {"role": role, "content": str(text) + (f"\n{DRAFT} {CLOSING}" if role == "user" else "")}
            for pair in self.few_shot
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        *before, last = prompt.messages
        return prompt.render([*before, *shots, {**last, "content": f"{last['content']}\n{DRAFT} {CLOSING}"}])

    def graded(self, text: str) -> str:
        """The text that the verifier reads."""
        _, found, answer = text.rpartition("####")
        return answer.strip() if found else text
