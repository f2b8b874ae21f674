"""Soft thinking (2505.15778, released code): feeds mixtures of embeddings instead of tokens during thinking.

Filter (temperature, top-k, top-p, min-p), keep `top_n`, renormalise to p, feed sum_i p_i E[i]; the recorded id is the most
probable. After the end marker, vanilla sampling continues. If the entropy of the full distribution is below `threshold`
for `patience` steps in a row, the end marker is written; in the answer, generation stops. Thinking is deterministic:
compare one sample per problem with the baseline's mean over samples. The authors report poor results below about 14B.
top_n = 1 is greedy thinking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import require_range
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.engines.phases import closed_at
from tersely.engines.transformers import GumbelSampling
from tersely.eval.decoding.base import Decoded, Prompt, Row, Session, Strategy, start
from tersely.eval.decoding.stepper import Stepper
from tersely.eval.decoding.stepwise import entropy, row_seeds, top_renormalised


@dataclass(frozen=True)
class SoftThinking(Strategy):
    needs_marker: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("model_access",)

    top_n: int = 15
    threshold: float = 0.01
    """Nats."""
    patience: int = 256
    temperature: float = 0.6
    top_k: int = 30
    top_p: float = 0.95
    min_p: float = 0.001

    def __post_init__(self) -> None:
        require_range("soft_thinking.top_n", self.top_n, at_least=1)
        require_range("soft_thinking.threshold", self.threshold, at_least=0)
        require_range("soft_thinking.patience", self.patience, at_least=1)
        require_range("soft_thinking.temperature", self.temperature, above=0)
        require_range("soft_thinking.top_k", self.top_k, at_least=1)
        require_range("soft_thinking.top_p", self.top_p, above=0, at_most=1)
        require_range("soft_thinking.min_p", self.min_p, at_least=0, below=1)

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session, rows = Session(engine, sampling, seed), start(prompts)
        early: set[int] = set()
        if any(row.left > 0 for row in rows):
            self._decode(session, rows, early)
        return [session.decoded(row, "stopped_early" if i in early else None) for i, row in enumerate(rows)]

    def _decode(self, session: Session, rows: list[Row], early: set[int]) -> None:
        draw = GumbelSampling(session.sampling.temperature, session.sampling.top_p, session.sampling.top_k)
        going = [i for i, row in enumerate(rows) if row.left > 0]
        stepper = Stepper(session.engine, [rows[i].prompt_ids for i in going])
        seeds = row_seeds(session, [rows[i] for i in going], stepper.device)
        calm = [0] * len(rows)
        waiting: dict[int, list[int]] = {}  # ids of an injected end marker that are not fed yet
        position = 0
        while going:
            full = torch.softmax(stepper.logits, dim=1)
            soft, mixture = self._mixture(stepper.logits, stepper.embedding)
            plain = draw(stepper.logits, seeds, position).argmax(1)
            quiet = (entropy(full) < self.threshold).tolist()
            position += 1
            fed, kept = [], []
            for place, i in enumerate(going):
                answering = closed_at(rows[i].ids, session.end) is not None
                calm[i] = calm[i] + 1 if quiet[place] else 0
                token, hard = self._next(
                    session, rows[i], i, answering, calm, waiting, early, soft[place], plain[place]
                )
                if rows[i].finish is None and token in stepper.stops:
                    rows[i].finish = "eos"
                elif rows[i].finish is None and rows[i].left < 1:
                    rows[i].finish = "length"
                if rows[i].finish is None:
                    kept.append(place)
                    fed.append(stepper.embedding[token] if hard else mixture[place])
            going = [going[place] for place in kept]
            if going:
                index = torch.tensor(kept, device=stepper.device)
                stepper.select(index)
                seeds = seeds[index]
                stepper.step(embeds=torch.stack(fed))
        for row in rows:
            row.finish = row.finish or "length"

    def _next(
        self,
        session: Session,
        row: Row,
        i: int,
        answering: bool,
        calm: list[int],
        waiting: dict[int, list[int]],
        early: set[int],
        soft: Tensor,
        plain: Tensor,
    ) -> tuple[int, bool]:
        """(recorded id, True if its own embedding is fed) for the next position of a row."""
        if not answering and (waiting.get(i) or calm[i] >= self.patience):
            token = waiting.setdefault(i, list(session.end)).pop(0)
            early.add(i)
            calm[i] = 0
            row.add([token], "end", injected=True)
            return token, True
        token = int(plain if answering else soft)
        if answering and calm[i] >= self.patience:
            row.finish = "eos"
            early.add(i)
        row.add([token], "answer" if answering else "soft thinking")
        marks = answering or token in session.end
        return token, marks

    def _mixture(self, logits: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """(R,) most probable ids and (R, H) mixtures of the filtered distribution."""
        from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        scores = logits / self.temperature
        for warper in (TopKLogitsWarper(self.top_k), TopPLogitsWarper(self.top_p), MinPLogitsWarper(self.min_p)):
            scores = warper(None, scores)
        p, ids = top_renormalised(torch.softmax(scores, dim=1), self.top_n)
        return ids[:, 0], (p.unsqueeze(2).to(embedding.dtype) * embedding[ids]).sum(1)
