"""Runs a transformers model one token at a time, for strategies that need embeddings, hidden states or forks.

R rows share one left-padded cache. Rows can be selected, dropped or repeated; a row that is not live in a step gets a
masked position in the cache, so rows of different lengths stay together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tersely.engines.base import Engine, GenerationRequest
from tersely.engines.growing_cache import growing_cache
from tersely.engines.transformers import left_padded, pad_id, stop_ids


class Stepper:
    """`logits` (R, V) are for the next token of every row. The engine needs `model_access`."""

    def __init__(self, engine: Engine, prompts: Sequence[Sequence[int]]):
        self.model = engine.model
        self.device = next(self.model.parameters()).device
        requests = [GenerationRequest(tuple(ids), 0, 1) for ids in prompts]
        ids, self.mask = (x.to(self.device) for x in left_padded(requests, pad_id(engine.tokenizer)))
        self.cache = growing_cache(self.model.config)
        self.places = (self.mask.cumsum(1) - 1).clamp(min=0)
        self.stops = set(stop_ids(self.model, engine.tokenizer))
        self.logits = self._forward(input_ids=ids)
        self.places = self.places[:, -1:]

    @property
    def embedding(self) -> Tensor:
        """(V, H) input embeddings."""
        return self.model.get_input_embeddings().weight

    def step(self, ids: Tensor | None = None, *, embeds: Tensor | None = None, live: Tensor | None = None) -> None:
        """Feed one token (R,) or one embedding (R, H) per row; rows that are not `live` keep their logits and position."""
        live = torch.ones(len(self.mask), dtype=torch.bool, device=self.device) if live is None else live
        before = self.logits
        self.mask = torch.cat([self.mask, live.long().unsqueeze(1)], dim=1)
        self.places = self.places + live.long().unsqueeze(1)
        fed = {"input_ids": ids.unsqueeze(1)} if ids is not None else {"inputs_embeds": embeds.unsqueeze(1)}  # type: ignore[union-attr]
        after = self._forward(**fed)
        self.logits = torch.where(live.unsqueeze(1), after, before)

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may repeat."""
        self.cache.batch_select_indices(rows)
        self.mask, self.places, self.logits = self.mask[rows], self.places[rows], self.logits[rows]

    @torch.no_grad()
    def _forward(self, **fed: Tensor) -> Tensor:
        output = self.model(
            **fed,
            attention_mask=self.mask,
            position_ids=self.places,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()
