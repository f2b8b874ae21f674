"""Mixture of inputs (2505.14827, released code): mixes the sampled token's embedding with its distribution.

    p = renormalised top n,  H = entropy(p) / log n,  q = (p + beta onehot(y)) / (1 + beta)
    code:   input = H sum_i q_i E[i] + (1 - H) E[y]
    paper:  weights (H p_i + (beta + 1 - H) onehot) / (beta + 1)

beta = -100 is a switch of the released code: the plain mixture sum_i p_i E[i]. n = 1 has H = 0 and is plain sampling. Tokens
stay about the same; the method improves accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tersely.core.errors import ConfigError, require_choice, require_range
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.engines.transformers import GumbelSampling
from tersely.eval.decoding.base import Decoded, Prompt, Session, Strategy, start
from tersely.eval.decoding.stepper import Stepper
from tersely.eval.decoding.stepwise import entropy, finish_rows, row_seeds, top_renormalised

PLAIN_MIXTURE = -100.0


@dataclass(frozen=True)
class MixtureOfInputs(Strategy):
    needs: ClassVar[tuple[str, ...]] = ("model_access",)

    beta: float = 1.0
    top_n: int = 20
    form: str = "code"

    def __post_init__(self) -> None:
        if self.beta != PLAIN_MIXTURE and not self.beta >= 0:
            raise ConfigError(
                f"moi.beta: got {self.beta}; expected at least 0, or {PLAIN_MIXTURE:g} for the plain mixture"
            )
        require_range("moi.top_n", self.top_n, at_least=1)
        require_choice("moi.form", self.form, ("code", "paper"))

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session, rows = Session(engine, sampling, seed), start(prompts)
        draw = GumbelSampling(sampling.temperature, sampling.top_p, sampling.top_k)
        going = [i for i, row in enumerate(rows) if row.left > 0]
        stepper = Stepper(engine, [rows[i].prompt_ids for i in going]) if going else None
        sampled: list[list[int]] = [[] for _ in rows]
        seeds = row_seeds(session, [rows[i] for i in going], stepper.device) if stepper else None
        position = 0
        while going and stepper is not None and seeds is not None:
            token = draw(stepper.logits, seeds, position).argmax(1)
            position += 1
            inputs = self.mixed(stepper.logits / (sampling.temperature or 1.0), token, stepper.embedding)
            for i, value in zip(going, token.tolist(), strict=True):
                sampled[i].append(value)
            kept = [
                place
                for place, i in enumerate(going)
                if sampled[i][-1] not in stepper.stops and len(sampled[i]) < rows[i].left
            ]
            going = [going[place] for place in kept]
            if going:
                index = torch.tensor(kept, device=stepper.device)
                stepper.select(index)
                seeds = seeds[index]
                stepper.step(embeds=inputs[index])
        finish_rows(session, rows, sampled, "mixed")
        return [session.decoded(row) for row in rows]

    def mixed(self, scores: Tensor, token: Tensor, embedding: Tensor) -> Tensor:
        """(R, H) next inputs from (R, V) scores and the sampled (R,) tokens."""
        p, ids = top_renormalised(torch.softmax(scores, dim=1), self.top_n)
        cloud = (p.unsqueeze(2).to(embedding.dtype) * embedding[ids]).sum(1)
        embedded = embedding[token]
        if self.beta == PLAIN_MIXTURE:
            return cloud
        h = (entropy(p) / math.log(p.shape[1]) if p.shape[1] > 1 else torch.zeros(len(p), device=p.device)).unsqueeze(1)
        h = h.to(embedding.dtype)
        if self.form == "paper":
            return (h * cloud + (self.beta + 1 - h) * embedded) / (self.beta + 1)
        return h * (cloud + self.beta * embedded) / (1 + self.beta) + (1 - h) * embedded
