"""Helper functions of the token-by-token strategies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tersely.core.seeds import sample_seed
from tersely.engines.transformers import stop_ids
from tersely.eval.decoding.base import Row, Session


def row_seeds(session: Session, rows: Sequence[Row], device: Any, branch: int = 0) -> Tensor:
    """(R,) int64 seeds from each row's coordinates; branch 0 gives the same samples as vanilla sampling."""
    salt = "eval" if branch == 0 else f"eval|{branch}"
    seeds = [sample_seed(session.seed, 0, row.prompt.prompt_id, row.prompt.sample, salt=salt) for row in rows]
    return torch.tensor(seeds, dtype=torch.int64, device=device)


def finish_rows(session: Session, rows: Sequence[Row], sampled: Sequence[Sequence[int]], what: str) -> None:
    """Append the sampled tokens to the rows and set `finish` on rows that end."""
    stops = set(stop_ids(session.engine.model, session.tokenizer))
    for row, ids in zip(rows, sampled, strict=True):
        row.add(ids, what)
        row.finish = row.finish or ("eos" if ids and ids[-1] in stops else "length")


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy, (R, V) -> (R,) nats; 0 log 0 is 0."""
    return -(probabilities * probabilities.clamp(min=1e-30).log()).sum(1)


def top_renormalised(probabilities: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """(R, n) renormalised probabilities of the top n, and their ids."""
    values, ids = probabilities.topk(min(n, probabilities.shape[1]), dim=1)
    return values / values.sum(1, keepdim=True), ids
