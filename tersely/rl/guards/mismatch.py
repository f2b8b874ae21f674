"""Log-prob mismatch between rollout engine and trainer: detects an engine that does not sample from the current weights.

    gap = mean over sampled tokens of |log p_engine - log p_trainer|
Symbols: log-probs in nats at the sampling temperature. Two honest implementations differ by rounding (about 0.001 in
float32); a stale or wrongly loaded weight shows as a gap that grows with training.
Degenerate: nan log-probs (not reported, or a trained prefill) are left out; no token at all is a gap of 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tersely.engines.base import StaleEngineError
from tersely.rl.guards.base import Counting


def gap(sampler_logp: Tensor, trainer_logp: Tensor, mask: Tensor) -> dict[str, float]:
    """Mean and maximum of the absolute difference over (n, T) tokens, the mean ratio exp(trainer - engine), the count."""
    known = mask.bool() & ~sampler_logp.isnan()
    if not known.any():
        return {"mean": 0.0, "max": 0.0, "ratio": 1.0, "tokens": 0.0}
    difference = (trainer_logp[known] - sampler_logp[known]).double()
    return {
        "mean": difference.abs().mean().item(),
        "max": difference.abs().max().item(),
        "ratio": difference.clamp(-20, 20).exp().mean().item(),
        "tokens": float(difference.numel()),
    }


def over_ranks(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The gap of the whole batch from each rank's, so that every rank decides alike."""
    tokens = sum(one["tokens"] for one in measured)
    if tokens == 0:
        return {"mean": 0.0, "max": 0.0, "ratio": 1.0, "tokens": 0.0}
    part = [one for one in measured if one["tokens"]]
    means = {name: sum(one[name] * one["tokens"] for one in part) / tokens for name in ("mean", "ratio")}
    largest = [one["max"] for one in part]
    return {**means, "max": math.nan if any(map(math.isnan, largest)) else max(largest), "tokens": tokens}


def check_mismatch(guard: Counting, measured: Mapping[str, float], step: int, facts: Mapping[str, Any]) -> None:
    """Raise `StaleEngineError`, or warn once, where the mean gap exceeded the guard's threshold `patience` batches in a row.

    `facts` is what the engine says of itself, from which the likely cause is told. A nan gap exceeds every threshold.
    """
    guard.streak = 0 if measured["mean"] <= guard.threshold else guard.streak + 1
    if guard.streak < guard.patience:
        return
    said = (
        f"step {step}: the log-probs of engine and trainer differ by {measured['mean']:.4f} nats a token "
        f"(largest {measured['max']:.3f}), above guards.mismatch.threshold {guard.threshold:g}. The engine does not sample "
        f"from the trainer's weights: {likely_cause(step, facts)}"
    )
    if guard.action == "stop":
        raise StaleEngineError(said)
    if guard.streak == guard.patience:
        print(f"warning: {said}", flush=True)


def likely_cause(step: int, facts: Mapping[str, Any]) -> str:
    """The first of the known causes that the engine's facts agree with."""
    version = facts.get("version")
    if version is None:
        return "no weights were ever synchronised into it"
    if version != step:
        return f"it holds the weights of step {version}"
    if facts.get("stale_head"):
        return (
            "its input and output embeddings are tied, and its output head stayed as it was first loaded; save the model "
            "with tie_word_embeddings false, or use engine: transformers"
        )
    if facts.get("truncated_sampling"):
        return "top_p or top_k cut the distribution that it samples from; train with top_p 1 and top_k 0"
    dtype = facts.get("dtype")
    return (
        f"compare its dtype{f' ({dtype})' if dtype else ''} with the trainer's, and the parameter names that it loads with "
        "the model's; a small constant gap is rounding, and then the threshold can be raised"
    )
