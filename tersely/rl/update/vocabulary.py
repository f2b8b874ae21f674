"""Values of each token that need the whole vocabulary, without a tensor (B, T, V).

The backbone gives hidden states (B, T, H). The output head is applied to a few tokens at a time, and each part is reduced to
some values per token before the next one. The backward pass makes the logits of a part again. So the memory is

    parts of `PART` logits, a few per distribution, + the gradient of the head's weights in float32
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

PART = 1 << 24
"""Logits of one distribution that are held at once: 64 MiB in float32."""

Formula = Callable[[Tensor, slice], Tensor]
"""(C, V) log-probs of C tokens, and which of the N tokens they are, to values (C, k)."""


def add_open_head(model: Any) -> None:
    """After this `model(..., head=f)` returns `f(hidden states (B, L, H), output head)` in place of logits.

    `f` runs inside the forward pass, where a parallel wrapper around the model expects the head's weights to be used."""
    original = model.forward

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, head: Callable[[Tensor, Any], Any] | None = None, **kwargs: Any) -> Any:
        if head is None:
            return original(*args, **kwargs)
        # looked up at each call, because PEFT replaces the head after this
        return head(self.base_model(*args, **{**kwargs, "use_cache": False})[0], self.get_output_embeddings())

    model.forward = types.MethodType(forward, model)


@dataclass(frozen=True)
class Projection:
    """The output head of a model, to log-probs at the sampling temperature."""

    weight: Tensor
    bias: Tensor | None
    temperature: float
    float32: bool = False
    """Outside of autocast, as TRL's `cast_lm_head_to_fp32`."""

    @classmethod
    def of(cls, head: Any, temperature: float, float32: bool = False) -> Projection:
        return cls(head.weight, head.bias, temperature, float32)

    @property
    def parameters(self) -> list[Tensor]:
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def logits(self, hidden: Tensor) -> Tensor:
        """(C, H) to (C, V), in the arithmetic of the model."""
        with torch.autocast(hidden.device.type, enabled=False) if self.float32 else autocast(hidden.device.type)():
            same = hidden if torch.is_autocast_enabled(hidden.device.type) else hidden.to(self.weight.dtype)
            return linear(same, self.weight, self.bias)

    def log_probs(self, logits: Tensor) -> Tensor:
        """(C, V) nats, float32."""
        return (logits.float() / self.temperature).log_softmax(-1)


def autocast(device: str) -> Callable[[], AbstractContextManager[Any]]:
    """The autocast that is in force now, for later."""
    on, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    return lambda: torch.autocast(device, dtype=dtype, enabled=on)


@contextmanager
def whole(parameters: Sequence[Tensor], writes: bool = False) -> Iterator[None]:
    """The whole parameters, which ZeRO-3 shards. `writes`: what rank 0 writes into them is kept on all ranks."""
    known: dict[int, Any] = {id(one): one for one in parameters}
    sharded = [one for one in known.values() if hasattr(one, "ds_id") and one.ds_status.name != "AVAILABLE"]
    if not sharded:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(sharded, modifier_rank=0 if writes else None):
        yield


def over_vocabulary(
    formula: Formula, hidden: Tensor, projection: Projection, others: Sequence[Projection] = ()
) -> Tensor:
    """(N, k) float32 `formula` of N tokens from hidden states (N, H), with gradient to these and to the head.

    `others`: further heads that the formula applies."""
    return _Parts.apply(hidden, projection.weight, projection.bias, projection, formula, tuple(others))


class _Parts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        ctx.save_for_backward(hidden)
        ctx.how, ctx.autocast = how, autocast(hidden.device.type)
        projection, formula, others = how
        with _heads(projection, others):
            size = max(1, PART // projection.weight.shape[0])
            ctx.size = size
            return torch.cat([_values(projection, formula, hidden, part) for part in _slices(len(hidden), size)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (hidden,), (projection, formula, others) = ctx.saved_tensors, ctx.how
        of_hidden = torch.zeros_like(hidden)
        with ctx.autocast(), _heads(projection, others):
            weight, bias = projection.weight, projection.bias
            sums = {
                i: torch.zeros(p.shape, dtype=torch.float32, device=p.device)
                for i, p in ((1, weight), (2, bias))
                if p is not None and ctx.needs_input_grad[i]
            }
            for part in _slices(len(hidden), ctx.size):
                logits = projection.logits(hidden[part]).detach().requires_grad_()
                with torch.enable_grad():
                    values = formula(projection.log_probs(logits), part)
                (of_logits,) = torch.autograd.grad(values, logits, grads[0][part])
                with torch.autocast(hidden.device.type, enabled=False):
                    of_hidden[part] = (of_logits.to(weight.dtype) @ weight).to(hidden.dtype)
                    if 1 in sums:
                        sums[1].addmm_(of_logits.float().T, hidden[part].float())
                    if 2 in sums:
                        sums[2] += of_logits.float().sum(0)
        found = [sums[i].to(p.dtype) if i in sums and p is not None else None for i, p in ((1, weight), (2, bias))]
        return of_hidden, *found, None, None, None


def _heads(projection: Projection, others: Sequence[Projection]) -> AbstractContextManager[None]:
    return whole([p for one in (projection, *others) for p in one.parameters])


def _values(projection: Projection, formula: Formula, hidden: Tensor, part: slice) -> Tensor:
    return formula(projection.log_probs(projection.logits(hidden[part])), part)


def _slices(count: int, size: int) -> list[slice]:
    """At least one, so that a rank without tokens takes part in the gathering of the head."""
    return [slice(start, start + size) for start in range(0, max(count, 1), size)]
