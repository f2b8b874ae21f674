"""NoThinking (2504.09858): prefills a finished thought, so that the model answers at once.

For templates with their own switch (Qwen3), `prefill=""` is their empty block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.eval.decoding.base import ANSWER_CAP, Decoded, Prompt, Session, Strategy, start


@dataclass(frozen=True)
class NoThinking(Strategy):
    needs_marker: ClassVar[bool] = True

    prefill: str = "Okay, I think I have finished thinking."

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session, rows = Session(engine, sampling, seed), start(prompts)
        for row in rows:
            row.add(closed_thought(session, row.prompt_ids, self.prefill), "prefill", injected=True)
        session.advance(rows, [min(ANSWER_CAP, row.left) for row in rows], "answer")
        return [session.decoded(row) for row in rows]


def opens_thinking(session: Session, prompt_ids: Sequence[int]) -> bool:
    """True if the prompt ends inside a thought that the template opened."""
    tail = session.tokenizer.decode(list(prompt_ids[-16:]))
    return tail.rstrip().endswith("<think>")


def closed_thought(session: Session, prompt_ids: Sequence[int], prefill: str) -> list[int]:
    """Ids of `<think>`, the prefill and `</think>`; without the opening if the template has written it."""
    opening = "" if opens_thinking(session, prompt_ids) else "<think>\n"
    return session.encode(f"{opening}{prefill}\n</think>\n\n")
