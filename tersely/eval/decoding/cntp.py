"""Cautious next-token prediction (2507.03038, released code): at high entropy, takes the best of several short branches.

    N = int(1 + (n_max - 1) clip((H - h_min) / (h_max - h_min), 0, 1)),  H = entropy of the processed distribution, nats

N = 1 samples one token. N > 1 samples N continuations, each to its first punctuation or EOS, and keeps the one with the
lowest perplexity exp(-mean log p), the first of equal ones. All count as cost: the method improves accuracy, not length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import ConfigError, require_range
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.engines.transformers import gumbel_noise
from tersely.eval.decoding.base import Decoded, Prompt, Row, Session, Strategy, start
from tersely.eval.decoding.stepper import Stepper
from tersely.eval.decoding.stepwise import entropy, row_seeds

PUNCTUATION = ".,\n?!:;)]}"


@dataclass(frozen=True)
class CautiousNextToken(Strategy):
    needs: ClassVar[tuple[str, ...]] = ("model_access",)

    n_max: int = 10
    h_min: float = 0.01
    h_max: float = 1.5
    branch_tokens: int = 64
    """Our addition: maximum length of a branch without punctuation, tokens."""

    def __post_init__(self) -> None:
        require_range("cntp.n_max", self.n_max, at_least=1)
        require_range("cntp.h_min", self.h_min, at_least=0)
        require_range("cntp.branch_tokens", self.branch_tokens, at_least=1)
        if not self.h_max > self.h_min:
            raise ConfigError(f"cntp.h_max: got {self.h_max}; expected above h_min = {self.h_min}")

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session, rows = Session(engine, sampling, seed), start(prompts)
        going = [i for i, row in enumerate(rows) if row.left > 0]
        stepper = Stepper(engine, [rows[i].prompt_ids for i in going]) if going else None
        seeds = [row_seeds(session, rows, stepper.device, branch) for branch in range(self.n_max)] if stepper else []
        while going and stepper is not None:
            going = self._turn(session, stepper, rows, going, seeds)
        for row in rows:
            row.finish = row.finish or "length"
        return [session.decoded(row) for row in rows]

    def branches(self, h: Tensor) -> Tensor:
        """(R,) entropies -> (R,) numbers of branches."""
        return (1 + (self.n_max - 1) * ((h - self.h_min) / (self.h_max - self.h_min)).clamp(0, 1)).long()

    def _turn(
        self, session: Session, stepper: Stepper, rows: list[Row], going: list[int], seeds: list[Tensor]
    ) -> list[int]:
        """Add one token, or the best of N branches, to every unfinished row; returns the rows that are still unfinished."""
        count = self.branches(entropy(torch.softmax(processed(stepper.logits, session.sampling), 1))).tolist()
        owner = [place for place, n in enumerate(count) for _ in range(n)]
        branch = [b for n in count for b in range(n)]
        stepper.select(torch.tensor(owner, device=stepper.device))
        noise_seeds = torch.stack([seeds[b][going[place]] for place, b in zip(owner, branch, strict=True)])
        sampled: list[list[int]] = [[] for _ in owner]
        logp = [0.0] * len(owner)
        live = list(range(len(owner)))
        while live:
            scores = processed(stepper.logits, session.sampling)
            at = torch.tensor([len(rows[going[place]].ids) for place in owner], device=stepper.device)
            token = choose(scores, noise_seeds, at + max(map(len, sampled)), session.sampling.temperature)
            gained = torch.log_softmax(scores, 1).gather(1, token.unsqueeze(1)).squeeze(1).tolist()
            stepper.step(token, live=torch.tensor([b in set(live) for b in range(len(owner))], device=stepper.device))
            for b in live:
                sampled[b].append(int(token[b]))
                logp[b] += gained[b]
            live = [
                b for b in live if not self._ended(session, stepper, rows[going[owner[b]]], sampled[b], count[owner[b]])
            ]
        return self._keep_best(stepper, rows, going, owner, sampled, logp)

    def _ended(self, session: Session, stepper: Stepper, row: Row, ids: list[int], branches: int) -> bool:
        if branches == 1 or ids[-1] in stepper.stops or len(ids) >= min(self.branch_tokens, row.left):
            return True
        return any(mark in session.tokenizer.decode([ids[-1]]) for mark in PUNCTUATION)

    def _keep_best(
        self,
        stepper: Stepper,
        rows: list[Row],
        going: list[int],
        owner: list[int],
        sampled: list[list[int]],
        logp: list[float],
    ) -> list[int]:
        best: dict[int, int] = {}
        for b, place in enumerate(owner):
            perplexity = -logp[b] / len(sampled[b])
            if place not in best or perplexity < -logp[best[place]] / len(sampled[best[place]]):
                best[place] = b
        chosen, left = [], []
        for place, b in best.items():
            row = rows[going[place]]
            others = sum(len(sampled[o]) for o, p in enumerate(owner) if p == place and o != b)
            row.add(sampled[b], "cautious")
            row.pay(others, "branches")
            if sampled[b][-1] in stepper.stops:
                row.finish = "eos"
            elif row.left < 1:
                row.finish = "length"
            else:
                chosen.append(b)
                left.append(going[place])
        if chosen:
            stepper.select(torch.tensor(chosen, device=stepper.device))
        return left


def processed(logits: Tensor, sampling: Sampling) -> Tensor:
    """(R, V) log-scores after temperature and truncation; greedy decoding keeps the logits."""
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    if sampling.temperature == 0:
        return logits
    scores = logits / sampling.temperature
    if sampling.top_k > 0:
        scores = TopKLogitsWarper(sampling.top_k)(None, scores)
    return TopPLogitsWarper(sampling.top_p)(None, scores) if sampling.top_p < 1 else scores


def choose(scores: Tensor, seeds: Tensor, positions: Tensor, temperature: float) -> Tensor:
    """(R,) tokens: the most probable, or sampled with each row's noise at its position."""
    if temperature == 0:
        return scores.argmax(1)
    noise = torch.cat([gumbel_noise(seeds[i : i + 1], int(p), scores.shape[1]) for i, p in enumerate(positions)])
    return (scores + noise).argmax(1)
