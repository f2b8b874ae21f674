"""The engine protocol: requests (token ids, one seed per sample) and generations, in the same order."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tersely.core.errors import ConfigError


@dataclass(frozen=True)
class GenerationRequest:
    prompt_ids: tuple[int, ...]
    """Prompt tokens, prefill included."""
    seed: int
    """63 bits, from (run seed, step, prompt id, sample index)."""
    max_new_tokens: int
    stop_ids: tuple[int, ...] = ()
    """Tokens that end this request beside EOS; the one that did is kept."""
    banned_ids: tuple[int, ...] = ()
    """Tokens that are never drawn."""
    logprobs: bool = False
    """Report log-probs where the engine does so only when asked (transformers: of the unscaled, unbanned logits)."""


@dataclass(frozen=True)
class Generation:
    token_ids: tuple[int, ...]
    """Sampled tokens, EOS included."""
    logprobs: tuple[float, ...] | None
    """Of the sampled tokens at the sampling temperature, nats; None where the engine reports none."""
    finish: str
    """`eos`, `length`, or `stop` for one of the request's own stop ids."""


class Engine(Protocol):
    """A rollout engine. `reports_logprobs` is true for one with weights of its own, which must be synchronised."""

    reports_logprobs: bool

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        *,
        temperature: Any,
        top_p: float = 1.0,
        top_k: int = 0,
        extra_args: dict | None = None,
    ) -> list[Generation]: ...

    def sync_weights(self, model: Any, version: int) -> None:
        """Push the trainer's current weights; `version` is the optimiser step they belong to."""

    def facts(self) -> dict[str, Any]:
        """What a message about this engine should name: kind, synchronised version, tied embeddings."""

    def close(self) -> None: ...


def fixed_and_extra(temperature: Any, extra_args: dict | None) -> tuple[float, dict | None]:
    """For an engine that draws at a fixed temperature: an adaptive sampling as that and arguments of its processor.

    Raises `ConfigError` for a sampling that names no processor (`engine_arguments`).
    """
    if not callable(temperature):
        return temperature, extra_args
    if not hasattr(temperature, "engine_arguments"):
        raise ConfigError("engine: vllm draws at a fixed temperature; this sampling needs engine: transformers")
    return temperature.base_temperature, {**(extra_args or {}), **temperature.engine_arguments()}


NEUTRAL = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""Of every request to a server: what is left out takes the value of the model's generation config there."""

PROCESSOR = "tersely.engines.vllm_logits:AdaptiveTemperature"
"""Our logits processor, as vLLM names one: `LLM(logits_processors=[...])` and `--logits-processors`."""


def processors_for(sampling: Any) -> list[str]:
    """Logits processors that a vLLM engine must load for this sampling; none for a fixed temperature.

    A vLLM engine with a logits processor gives up model runner V2 before 0.31, so it gets one only where it is used.
    Raises `ConfigError` where old metadata of this package would have vLLM load it a second time.
    """
    if not hasattr(sampling, "engine_arguments"):
        return []
    if stale_entry_point():
        raise ConfigError(
            "the installed metadata of this package still has an entry point in vllm.logits_processors, so vLLM would load "
            "the adaptive temperature twice: pip install --no-deps -e . in the checkout"
        )
    return [PROCESSOR]


def stale_entry_point() -> bool:
    """Does an earlier installation still register our processor with every vLLM process of this environment?"""
    points = importlib.metadata.entry_points(group="vllm.logits_processors")
    return any(point.value.startswith("tersely.") for point in points)


class StaleEngineError(RuntimeError):
    """The engine's log-probs have left the trainer's."""
