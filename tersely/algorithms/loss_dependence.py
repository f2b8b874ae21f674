"""Tests what a loss depends on, by evaluating it on a few seeded random micro-batches, whole and split.

This works for any loss, shipped or external, and cannot become outdated like a declaration.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tersely.core.protocols import Loss, loss_chain
from tersely.core.types import TokenBatch

ROWS, WIDTH, SEEDS = 6, 24, 3
CLOSE = 1e-9


def depends_on_cut(loss_fn: Loss) -> bool:
    """True if the loss of a token depends on the other rows of its micro-batch."""
    for batch in _batches():
        loss, gradient = _loss_and_gradient(loss_fn, batch)
        parts = [_loss_and_gradient(loss_fn, _rows(batch, part)) for part in (slice(0, 3), slice(3, ROWS))]
        if not (_same(loss, [p[0] for p in parts]) and _same(gradient, [p[1] for p in parts])):
            return True
    return False


def silent_without_advantage(loss_fn: Loss) -> bool:
    """True if value and gradient are exactly 0 where the advantage is 0: no KL, entropy or penalty term."""
    for batch in _batches():
        loss, gradient = _loss_and_gradient(
            loss_fn, dataclasses.replace(batch, advantage=torch.zeros_like(batch.advantage))
        )
        if loss.abs().max() > 0 or gradient.abs().max() > 0:
            return False
    return True


def _batches() -> Iterator[TokenBatch]:
    """Rows whose halves differ in entropy, sign of the advantage and size of the ratio; some padding."""
    for seed in range(SEEDS):
        g = torch.Generator().manual_seed(seed)

        def normal(scale: float, g: torch.Generator = g) -> Tensor:
            return scale * torch.randn(ROWS, WIDTH, generator=g, dtype=torch.float64)

        half = (torch.arange(ROWS) >= ROWS // 2).double().unsqueeze(1)
        mask = torch.ones(ROWS, WIDTH)
        mask[1, WIDTH // 2 :] = 0
        logp = -0.05 - normal(1.0).abs() - half
        yield TokenBatch(
            logp=logp,
            old_logp=logp - normal(0.4),
            entropy=0.01 + normal(0.5).abs() + half,
            mask=mask,
            advantage=(1.0 - 2.0 * half) * (0.2 + normal(1.0).abs()),
            ref_logp=logp - normal(0.3),
            sampler_logp=logp - normal(0.1),
        )


def _loss_and_gradient(loss_fn: Loss, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """(B, T) per-token loss, and the gradients of its sum by logp and by the live entropy, added."""
    loss_fn = copy.deepcopy(loss_fn)
    for part in loss_chain(loss_fn):
        if part.needs_step_entropy:
            whole = next(_batches())
            part.observe_step(whole.entropy, whole.mask)
    leaf, live = batch.logp.clone().requires_grad_(), batch.entropy.clone().requires_grad_()
    compared = made_up_comparison(loss_fn, leaf)
    loss, _ = loss_fn(dataclasses.replace(batch, logp=leaf, live_entropy=live, compared=compared))
    if not loss.requires_grad:
        return loss.detach(), torch.zeros_like(leaf)
    found = torch.autograd.grad(loss.sum(), (leaf, live), allow_unused=True)
    return loss.detach(), sum((g for g in found if g is not None), torch.zeros_like(leaf))


def made_up_comparison(loss_fn: Loss, logp: Tensor) -> dict[str, Tensor] | None:
    """`compared` for synthetic distributions over three tokens, of which `logp` (B, T) changes the policy's. None for a loss
    without teachers."""
    part = next((part for part in loss_chain(loss_fn) if part.teachers), None)
    if part is None:
        return None
    first = logp.reshape(-1, 1)
    others = torch.tensor([-1.0, -2.0], dtype=logp.dtype).expand(len(first), 2)
    student = torch.cat([first, others], dim=1).log_softmax(1)
    known = torch.tensor([-1.0, -0.5, -2.0], dtype=logp.dtype).log_softmax(0)
    teachers = [known.roll(i).expand_as(student) for i in range(len(part.teachers))]
    return {name: value.view(logp.shape) for name, value in part.compare(student, *teachers).items()}


def _rows(batch: TokenBatch, part: slice) -> TokenBatch:
    cut: dict[str, Any] = {
        field.name: value[part]
        for field in dataclasses.fields(batch)
        if isinstance(value := getattr(batch, field.name), Tensor)
    }
    return dataclasses.replace(batch, **cut)


def _same(whole: Tensor, parts: list[Tensor]) -> bool:
    return torch.allclose(whole, torch.cat(parts), atol=CLOSE, rtol=CLOSE)
