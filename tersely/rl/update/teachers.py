"""The teachers of a loss: other distributions over the tokens of a micro-batch (`Loss.teachers`, `Loss.compare`).

A teacher is a frozen model with its own prompt before the same completion. Its hidden states are computed for one
micro-batch at a time, without a gradient; the logits of policy and teachers exist for a few tokens at a time
(`update/vocabulary.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tersely.algorithms.objective import Objective
from tersely.core.divergence import entropy_of
from tersely.core.protocols import Loss, loss_chain
from tersely.rl.rollouts.rollout import RolloutRound
from tersely.rl.update.padding import padded
from tersely.rl.update.vocabulary import Projection, over_vocabulary

OpenHead = Callable[[Any, Tensor, Tensor, Callable[[Tensor, Any], Any]], Any]
"""`f(model, ids, mask, head)`: a forward pass of `add_open_head`'s models."""


def comparing(objective: Objective) -> Loss | None:
    """The part of the loss that has teachers."""
    return next((part for part in loss_chain(objective.loss) if part.teachers), None)


@dataclass(frozen=True)
class Teachers:
    """Distributions of the policy and the teachers of `loss`, reduced to values per token."""

    loss: Loss
    forward: OpenHead
    models: tuple[Callable[[], AbstractContextManager[Any]], ...]
    """Per teacher: a context with its model, without a gradient."""
    pad: int
    temperature: float
    float32: bool = False
    """The head is float32, outside of autocast."""

    def prompts(self, rollouts: RolloutRound, multiple_of: int | None) -> dict[str, Tensor]:
        """Ids and masks (n, L) of the teachers' prompts, padded on the left; none for a teacher that reads the rollout's."""
        found = {}
        for number, teacher in enumerate(self.loss.teachers):
            if teacher.instruction is not None:
                ids = rollouts.prompts_after(teacher.instruction)
                found[f"prompt_ids_{number}"] = padded(ids, self.pad, "left", multiple_of)
                found[f"prompt_mask_{number}"] = padded([[1] * len(one) for one in ids], 0, "left", multiple_of)
        return found

    def __call__(self, model: Any, rows: Mapping[str, Any]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(B, T) log-probs of the completions' tokens, entropies, and the values of `compare` by name."""
        mask = rows["completion_mask"].bool()
        known = [self._hidden(number, rows, mask) for number in range(len(self.models))]
        labels, names = rows["completion_ids"][mask], list[str]()

        def formula(logp: Tensor, part: slice) -> Tensor:
            with torch.no_grad():
                teachers = [head.log_probs(head.logits(hidden[part])) for hidden, head in known]
            compared = self.loss.compare(logp, *teachers)
            names[:] = compared
            sampled = logp.gather(-1, labels[part].unsqueeze(-1)).squeeze(-1)
            return torch.stack([sampled, entropy_of(logp), *compared.values()], dim=-1)

        def head(hidden: Tensor, lm_head: Any) -> Tensor:
            return over_vocabulary(formula, before(hidden, mask), self._projection(lm_head), [one for _, one in known])

        values = self.forward(model, *inputs(rows, ""), head)
        logp, entropy, *compared = (_spread(column, mask) for column in values.unbind(-1))
        return logp, entropy, dict(zip(names, compared, strict=True))

    def _hidden(self, number: int, rows: Mapping[str, Any], mask: Tensor) -> tuple[Tensor, Projection]:
        """(N, H) hidden states before each token of the completions under a teacher, and its head."""
        own = f"_{number}" if f"prompt_ids_{number}" in rows else ""
        with self.models[number]() as model:
            hidden, lm_head = self.forward(model, *inputs(rows, own), lambda hidden, lm_head: (hidden, lm_head))
        return before(hidden, mask), self._projection(lm_head)

    def _projection(self, lm_head: Any) -> Projection:
        return Projection.of(lm_head, self.temperature, self.float32)


def inputs(rows: Mapping[str, Any], own: str) -> tuple[Tensor, Tensor]:
    """Ids and mask (B, L + T) of the prompts, those of a teacher or the rollouts', with the completions."""
    prompt, mask = rows[f"prompt_ids{own}"], rows[f"prompt_mask{own}"]
    start = prompt.shape[1] - int(mask.sum(1).max())
    parts = ((prompt[:, start:], rows["completion_ids"]), (mask[:, start:], rows["completion_mask"]))
    ids, attention = (torch.cat(part, dim=1) for part in parts)
    return ids, attention


def before(hidden: Tensor, mask: Tensor) -> Tensor:
    """(N, H) of (B, L + T, H): the states that predict the N tokens of the completion mask (B, T)."""
    return hidden[:, -mask.shape[1] - 1 : -1][mask]


def _spread(values: Tensor, mask: Tensor) -> Tensor:
    """(B, T) of N values at the tokens of the mask, 0 elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
