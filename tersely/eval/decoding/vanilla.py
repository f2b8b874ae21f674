"""Plain sampling with the benchmark's settings. `accuracy_at_budget` computes a truncation curve from its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.eval.decoding.base import Decoded, Prompt, Session, Strategy, start


@dataclass(frozen=True)
class Vanilla(Strategy):
    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session, rows = Session(engine, sampling, seed), start(prompts)
        session.advance(rows, [row.left for row in rows], "sample")
        return [session.decoded(row) for row in rows]
