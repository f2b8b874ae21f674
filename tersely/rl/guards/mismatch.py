"""Log-prob mismatch of engine and trainer: detects an engine that does not sample from the current weights.

    gap = mean over sampled tokens of |log p_engine - log p_trainer|
Symbols: log-probs in nats at the sampling temperature. Two correct implementations differ by rounding (about 0.001 in
float32); a stale or wrongly loaded weight causes a gap that grows with training.
Degenerate: nan log-probs (not reported, or a trained prefill) are left out; no token at all is a gap of 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tersely.core.logging import get_logger
from tersely.engines.base import StaleEngineError
from tersely.rl.guards.base import Counting

logger = get_logger(__name__)


def gap(sampler_logp: Tensor, trainer_logp: Tensor, mask: Tensor) -> dict[str, float]:
    """Mean and maximum of the absolute difference over (n, T) tokens, mean ratio exp(trainer - engine), and count."""
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
    """Gap of the whole batch from each rank's gap, so that all ranks decide the same."""
    tokens = sum(one["tokens"] for one in measured)
    if tokens == 0:
        return {"mean": 0.0, "max": 0.0, "ratio": 1.0, "tokens": 0.0}
    part = [one for one in measured if one["tokens"]]
    means = {name: sum(one[name] * one["tokens"] for one in part) / tokens for name in ("mean", "ratio")}
    largest = [one["max"] for one in part]
    return {**means, "max": math.nan if any(map(math.isnan, largest)) else max(largest), "tokens": tokens}


def check_mismatch(guard: Counting, measured: Mapping[str, float], step: int, facts: Mapping[str, Any]) -> None:
    """Raise `StaleEngineError`, or warn once, if the mean gap exceeds the guard's threshold in `patience` batches in a row.

    `facts`: the engine's state, for the likely cause. A nan gap exceeds every threshold.
    """
    guard.streak = 0 if measured["mean"] <= guard.spec.threshold else guard.streak + 1
    if guard.streak < guard.spec.patience:
        return
    said = (
        f"step {step}: the log-probs of engine and trainer differ by {measured['mean']:.4f} nats per token "
        f"(largest {measured['max']:.3f}), above guards.mismatch.threshold {guard.spec.threshold:g}. The engine does not "
        f"sample from the trainer's weights: {likely_cause(step, facts)}"
    )
    if guard.spec.action == "stop":
        raise StaleEngineError(said)
    if guard.streak == guard.spec.patience:
        logger.warning(said)


def likely_cause(step: int, facts: Mapping[str, Any]) -> str:
    """The first known cause that matches the engine's state."""
    version = facts.get("version")
    if version is None:
        return "it has never received weights"
    if version != step:
        return f"it has the weights of step {version}"
    if facts.get("stale_head"):
        return (
            "its input and output embeddings are tied, and its output head has the initial weights. Save the model "
            "with tie_word_embeddings false, or use engine: transformers"
        )
    if facts.get("truncated_sampling"):
        return "top_p or top_k truncate its distribution. Train with top_p 1 and top_k 0"
    dtype = facts.get("dtype")
    return (
        f"compare its dtype{f' ({dtype})' if dtype else ''} with the trainer's, and its parameter names with the model's. A "
        "small constant gap is rounding: then raise the threshold"
    )
