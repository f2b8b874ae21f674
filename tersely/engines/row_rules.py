"""Per-request stop tokens and banned tokens, for the transformers engine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tersely.engines.base import GenerationRequest


class RowRules:
    """Stop ids and bans of R rows, which shrinks with the batch. `of` returns None if no request has any."""

    def __init__(self, requests: Sequence[GenerationRequest], vocabulary: int, device: torch.device):
        widest = max(1, *(len(request.stop_ids) for request in requests))
        self.stops = torch.full((len(requests), widest), -1, dtype=torch.long)
        kinds: dict[tuple[int, ...], int] = {}
        rows = [kinds.setdefault(tuple(request.banned_ids), len(kinds)) for request in requests]
        self.bans = torch.zeros((len(kinds), vocabulary), dtype=torch.bool)
        for row, request in enumerate(requests):
            self.stops[row, : len(request.stop_ids)] = torch.tensor(request.stop_ids, dtype=torch.long)
        for ids, kind in kinds.items():
            self.bans[kind, torch.tensor([i for i in ids if 0 <= i < vocabulary], dtype=torch.long)] = True
        self.stops, self.bans = self.stops.to(device), self.bans.to(device)
        self.kind = torch.tensor(rows, device=device)

    @classmethod
    def of(cls, requests: Sequence[GenerationRequest], vocabulary: int, device: torch.device) -> RowRules | None:
        if not any(request.stop_ids or request.banned_ids for request in requests):
            return None
        return cls(requests, vocabulary, device)

    def allowed(self, logits: Tensor) -> Tensor:
        """(R, V) logits with minus infinity for each row's banned tokens."""
        return logits.masked_fill(self.bans[self.kind], float("-inf"))

    def stopped(self, token: Tensor) -> Tensor:
        """(R,) bool: the row has sampled one of its stop ids."""
        return (token.unsqueeze(1) == self.stops).any(1)

    def keep(self, rows: Tensor) -> None:
        self.stops, self.kind = self.stops[rows], self.kind[rows]
