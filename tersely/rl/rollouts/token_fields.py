"""Optional fields of `Rollouts` that describe tokens and phases of the completions.

Each field is made only if a component `needs` it. Shapes: n rows of this rank, T padded tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tersely.rl.reflections import reflection_count
from tersely.rl.rollouts.rollout import RolloutRound

OF_POLICY_PASS = frozenset({"entropy", "old_logp"})
"""Fields from the pass of the policy that sampled the batch."""
FILL = {"token_ids": -1, "step": -1, "entropy": 0.0, "old_logp": 0.0}
"""Field of shape (n, T) -> its value on padding."""


class TokenFields:
    """Makes the fields of one rank's rows. `tokenizer` decodes the entries of its vocabulary."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    def __call__(
        self,
        needs: Collection[str],
        rollouts: RolloutRound,
        batch: Mapping[str, Tensor],
        old: tuple[Tensor, Tensor] | None,
    ) -> dict[str, Tensor]:
        """Field -> (n,) or (n, T), on the device of `batch`. `old`: log-probs and entropies of the policy pass."""
        found: dict[str, Tensor] = {}
        ids, padding = batch["completion_ids"], batch["completion_mask"] == 0
        if {"token_ids", *OF_POLICY_PASS} & set(needs):
            found["token_ids"] = ids.masked_fill(padding, -1)
        if "entropy" in needs and old is not None:
            found["entropy"] = old[1].masked_fill(padding, 0.0)
        if "old_logp" in needs and old is not None:
            found["old_logp"] = old[0].masked_fill(padding, 0.0)
        if "step" in needs:
            found["step"] = steps_of(ids.cpu(), padding.cpu(), self.step_ends).to(ids.device)
        if {"thinking_end", "answer_start"} & set(needs):
            ends, starts = thinking_bounds(rollouts).to(ids.device).unbind(1)
            found |= {"thinking_end": ends, "answer_start": starts}
        if "forced" in batch:
            found["forced"] = batch["forced"]
        if "reflections" in needs:
            counts = [reflection_count(text) for text in rollouts.texts]
            found["reflections"] = torch.tensor(counts, dtype=torch.int64, device=ids.device)
        return found

    @cached_property
    def step_ends(self) -> Tensor:
        """(V,) bool: the token's own text has two newlines."""
        return step_ends(self.tokenizer)


def step_ends(tokenizer: Any) -> Tensor:
    """(V,) bool for each entry of the vocabulary: its own text has two newlines."""
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
    return torch.tensor([text.count("\n") >= 2 for text in texts])


def steps_of(ids: Tensor, padding: Tensor, ends: Tensor) -> Tensor:
    """(n, T) int64 number of each token's step, -1 on padding. `ends` (V,) bool: the token is the last of its step."""
    known = (ids >= 0) & (ids < len(ends)) & ~padding
    last = ends[ids.clamp(0, len(ends) - 1)] & known
    return (last.long().cumsum(1) - last.long()).masked_fill(padding, -1)


def thinking_bounds(rollouts: RolloutRound) -> Tensor:
    """(n, 2) int64: positions before the end of thinking, first position of the answer."""
    marker = rollouts.template.end_of_thinking
    found = [
        (0, 0) if rollouts.thinking_is_closed(plan) else bounds_of(ids, marker, written)
        for plan, ids, written in zip(rollouts.plans, rollouts.completion_ids, rollouts.written, strict=True)
    ]
    return torch.tensor(found, dtype=torch.int64).view(-1, 2)


def bounds_of(ids: Sequence[int], marker: Sequence[int], forced: Sequence[bool] = ()) -> tuple[int, int]:
    """(positions before the first `marker`, first position after it); both are the row's positions without one.

    A marker inside text that the program wrote extends to the whole of that text; `forced` has one entry per position.
    """
    count, size = len(ids), len(marker)
    starts = (i for i in range(count - size + 1) if tuple(ids[i : i + size]) == tuple(marker)) if size else iter(())
    start = next(starts, None)
    if start is None:
        return count, count
    end = start + size
    if any(forced[start:end]):
        while start > 0 and forced[start - 1]:
            start -= 1
        while end < count and forced[end]:
            end += 1
    return start, end
