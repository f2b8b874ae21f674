"""Rollout engine on a transformers model; each sample is reproducible independently of its batch.

Sampling uses the Gumbel-max trick: argmax(logits / temperature + g) is a sample of softmax(logits / temperature) when g is
standard Gumbel noise. The noise is a hash of (seed of the sample, position, token id), so that a sample is the same
alone, in any batch, on any rank, and at once or in pieces (`GenerationRequest.start`). It does not use transformers'
`generate`, so that finished rows leave the batch and its cache: with a reasoning model's spread of lengths this saves more
than half of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from tersely.core.heartbeat import beat
from tersely.engines.base import Engine, EngineSettings, Generation, GenerationRequest
from tersely.engines.growing_cache import growing_cache
from tersely.engines.models import load_frozen
from tersely.engines.row_rules import RowRules

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64, the splitmix64 increment
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


KEPT_SHARE = 0.8
"""Share of running rows at which the batch is compacted; a copy of the cache costs about a step."""


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's own keeps the sign)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser, on int64 with wrap-around."""
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def gumbel_noise(seeds: Tensor, position: int | Tensor, vocabulary: int) -> Tensor:
    """(R, V) float32 standard Gumbel noise for R samples; `seeds` (R,) int64, `position` one for all or (R,) int64."""
    place = torch.as_tensor(position + 1, dtype=torch.int64, device=seeds.device)
    row = _mix(seeds + place * _GOLDEN).unsqueeze(1)
    token = torch.arange(1, vocabulary + 1, dtype=torch.int64, device=seeds.device) * _GOLDEN
    bits = _shift(_mix(row + token), 40)  # 24 bits are exact in float32
    uniform = ((bits.float() + 0.5) * 2.0**-24).clamp(max=1 - 2.0**-24)  # 24 ones and a half round up to 1: noise inf
    return -torch.log(-torch.log(uniform))


class GumbelSampling:
    """Applies temperature, truncation and noise; the argmax of the result is the sample."""

    def __init__(self, temperature: float | Callable[[Tensor], Tensor], top_p: float, top_k: int):
        from transformers import TopKLogitsWarper, TopPLogitsWarper

        self.temperature = temperature
        self.warpers = [TopKLogitsWarper(top_k)] if top_k > 0 else []
        self.warpers += [TopPLogitsWarper(top_p)] if top_p < 1.0 else []

    def __call__(self, logits: Tensor, seeds: Tensor, position: int | Tensor) -> Tensor:
        """(R, V) logits -> (R, V) scores; temperature 0 leaves the logits as they are."""
        scores = logits.float()
        if not callable(self.temperature) and self.temperature == 0:
            return scores
        scores = self.temperature(scores) if callable(self.temperature) else scores / self.temperature
        for warper in self.warpers:
            scores = warper(None, scores)
        return scores + gumbel_noise(seeds, position, scores.shape[1])


class TransformersEngine(Engine):
    """Generates with a transformers model. It uses the trainer's weights, so there is no weight sync.

    `unwrapped` returns a context manager that yields the plain model (gathered under ZeRO-3 or FSDP, gradient
    checkpointing off); without it the model is used directly. Temperature 0 is greedy.
    """

    name = "transformers"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        unwrapped: Callable[[], AbstractContextManager[Any]] | None = None,
        rows_at_once: int | None = None,
    ):
        self.model, self.tokenizer = model, tokenizer
        self.unwrapped = unwrapped or (lambda: nullcontext(model))
        self.rows_at_once = rows_at_once
        self.context = getattr(getattr(model, "config", None), "max_position_embeddings", None)

    @classmethod
    def create(cls, settings: EngineSettings) -> TransformersEngine:
        model = settings.model if not isinstance(settings.model, str) else load_frozen(settings.model, settings.dtype)
        return cls(model, settings.tokenizer, unwrapped=settings.unwrapped, rows_at_once=settings.rows_at_once)

    @property
    def batch(self) -> int:
        """Default batch size: large for a tiny model, otherwise limited by the KV cache of long answers."""
        if sum(parameter.numel() for parameter in self.model.parameters()) < 20_000_000:
            return 256
        return 16 if next(self.model.parameters()).device.type == "cpu" else 64

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        *,
        temperature: float | Callable[[Tensor], Tensor] = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        extra_args: dict | None = None,
    ) -> list[Generation]:
        """One generation per request, in order. Each row stops at its `max_new_tokens` or at EOS."""
        if not requests:
            return []
        sampling = GumbelSampling(temperature, top_p, top_k)
        with self.unwrapped() as model, torch.no_grad():
            was_training = model.training
            model.eval()
            try:
                size = self.rows_at_once or len(requests)
                return [
                    generation
                    for start in range(0, len(requests), size)
                    for generation in self._batch(model, requests[start : start + size], sampling)
                ]
            finally:
                model.train(was_training)

    def _batch(self, model, requests, sampling: GumbelSampling) -> list[Generation]:
        device = next(model.parameters()).device
        ids, mask = (x.to(device) for x in left_padded(requests, pad_id(self.tokenizer)))
        seeds = torch.tensor([request.seed for request in requests], dtype=torch.int64, device=device)
        caps = torch.tensor([request.max_new_tokens for request in requests], device=device)
        starts = torch.tensor([request.start for request in requests], dtype=torch.int64, device=device)
        stops = torch.tensor(stop_ids(model, self.tokenizer), device=device)
        rows = torch.arange(len(requests), device=device)  # request index of each row of the shrinking batch
        active = torch.ones_like(rows, dtype=torch.bool)
        cache, places = growing_cache(model.config), (mask.cumsum(1) - 1).clamp(min=0)
        rules, wanted = None, any(request.logprobs for request in requests)
        sampled: list[tuple[Tensor, ...]] = []
        for position in range(int(caps.max())):
            output = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=places,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            logits = output.logits[:, -1]
            if position == 0:
                rules = RowRules.of(requests, logits.shape[1], device)
            token = sampling(logits if rules is None else rules.allowed(logits), seeds, starts + position).argmax(1)
            sampled.append((rows, token, active, *([_logp(logits, token)] if wanted else [])))
            active = active & ~torch.isin(token, stops) & (caps > position + 1)
            if rules is not None:
                active = active & ~rules.stopped(token)
            left = int(active.sum())
            beat()
            if not left:
                break
            ids, places = token.unsqueeze(1), places[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            if left <= KEPT_SHARE * len(active):
                kept = active.nonzero().flatten()
                cache.batch_select_indices(kept)
                ids, places, mask, seeds, starts, caps, rows, active = (
                    x[kept] for x in (ids, places, mask, seeds, starts, caps, rows, active)
                )
                if rules is not None:
                    rules.keep(kept)
        return _collect(sampled, requests, set(stops.tolist()))

    def reading_model(self) -> Any:
        return self.model


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """Ids that end a completion: the tokenizer's EOS and those of the model's generation config."""
    declared = getattr(model.generation_config, "eos_token_id", None)
    declared = declared if isinstance(declared, list) else [] if declared is None else [declared]
    return list(dict.fromkeys([tokenizer.eos_token_id, *declared]))


def pad_id(tokenizer: Any) -> int:
    pad = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if pad is None else pad)


def left_padded(requests: Sequence[GenerationRequest], pad: int) -> tuple[Tensor, Tensor]:
    """(R, longest prompt) left-padded ids and mask."""
    longest = max(len(request.prompt_ids) for request in requests)
    ids = torch.full((len(requests), longest), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, request in enumerate(requests):
        ids[row, longest - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
        mask[row, longest - len(request.prompt_ids) :] = 1
    return ids, mask


def _logp(logits: Tensor, token: Tensor) -> Tensor:
    """(R,) log-probs of the sampled tokens under the model's distribution, nats."""
    return torch.log_softmax(logits.float(), dim=1).gather(1, token.unsqueeze(1)).squeeze(1)


def _collect(
    sampled: list[tuple[Tensor, ...]], requests: Sequence[GenerationRequest], stops: set[int]
) -> list[Generation]:
    """Assign tokens (and log-probs) to their requests: (row, token, still active[, log-prob]), one per position."""
    tokens: list[list[int]] = [[] for _ in requests]
    logps: list[list[float]] = [[] for _ in requests]
    for rows, token, active, *logp in sampled:
        owners = rows[active].tolist()
        for row, value in zip(owners, token[active].tolist(), strict=True):
            tokens[row].append(value)
        for row, value in zip(owners, logp[0][active].tolist() if logp else (), strict=bool(logp)):
            logps[row].append(value)
    return [
        Generation(
            tuple(row),
            tuple(logp) if request.logprobs else None,
            "eos" if row[-1] in stops else "stop" if row[-1] in request.stop_ids else "length",
        )
        for row, logp, request in zip(tokens, logps, requests, strict=True)
    ]
