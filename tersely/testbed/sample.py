"""Batched sampling from a small model: left-padded prompts, one cache, finished rows leave the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    end_id: int,
    pad_id: int,
    seed: int = 0,
    temperature: float = 1.0,
) -> list[list[int]]:
    """One completion per prompt, token ids with the end token; one without it was truncated at `max_new_tokens`.

    Temperature 0 is greedy. The samples depend on the seed and on the whole batch.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    width = max(map(len, prompts))
    ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in prompts])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
    completions: list[list[int]] = [[] for _ in prompts]
    rows = torch.arange(len(prompts))
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = None
    with torch.inference_mode():
        for _ in range(max_new_tokens):
            out = model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
            cache = out.past_key_values
            drawn = _draw(out.logits[:, -1], temperature, generator)
            for row, token in zip(rows.tolist(), drawn.tolist(), strict=True):
                completions[row].append(token)
            going = (drawn != end_id).nonzero().flatten()
            if not len(going):
                break
            positions = positions[:, -1:] + 1
            if len(going) < len(rows):
                cache.batch_select_indices(going)
                rows, drawn, mask, positions = rows[going], drawn[going], mask[going], positions[going]
            ids = drawn[:, None]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
    return completions


def _draw(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    import torch

    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial((logits.float() / temperature).softmax(-1), 1, generator=generator)[:, 0]
