"""Adds one instruction after the problem (2401.05618, 2407.19825; wording ours), for example "Don't overthink."."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.eval.decoding.base import Decoded, Prompt, Row, Session, Strategy


@dataclass(frozen=True)
class Concise(Strategy):
    instruction: str = "Be concise."

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session = Session(engine, sampling, seed)
        rows = [Row(prompt, prompt.instructed(self.instruction)) for prompt in prompts]
        session.advance(rows, [row.left for row in rows], "sample")
        return [session.decoded(row) for row in rows]
