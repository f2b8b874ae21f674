"""Converts a sampling component for an engine: a temperature, or arguments of vLLM's logits processor if it is adaptive."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.protocols import Sampling
from tersely.engines.registry import Capabilities


def check_sampling(able: Capabilities, temperature: Any) -> None:
    """Raise `ConfigError` if an engine with these capabilities does not support the sampling (`temperature` of `generate`)."""
    if able.logits or isinstance(temperature, int | float):
        return
    if not able.processors:
        raise ConfigError(f"sampling: got {type(temperature).__name__}; this engine needs a fixed temperature")
    fixed_and_extra(temperature, None)


def fixed_and_extra(temperature: Any, extra_args: dict | None) -> tuple[float, dict | None]:
    """Convert an adaptive sampling to (fixed temperature, processor arguments), for an engine with a fixed temperature.

    Raises `ConfigError` for a sampling without a processor (`engine_arguments`).
    """
    if isinstance(temperature, int | float):
        return temperature, extra_args
    arguments = temperature.engine_arguments() if isinstance(temperature, Sampling) else {}
    if not arguments:
        raise ConfigError(
            f"sampling: got {type(temperature).__name__}; this engine needs a fixed temperature, or a sampling with "
            "engine_arguments. Use engine: transformers"
        )
    return temperature.base_temperature, {**(extra_args or {}), **arguments}


NEUTRAL = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""Sampling parameters of every request to a server; a missing one would come from the model's generation config."""

PROCESSOR = "tersely.engines.vllm_logits:AdaptiveTemperature"
"""Import path of our logits processor, for `LLM(logits_processors=[...])` and `--logits-processors`."""


def processors_for(sampling: Any) -> list[str]:
    """Logits processors that a vLLM engine must load for this sampling; empty for a fixed temperature.

    Before 0.31, a vLLM engine with a logits processor cannot use model runner V2, so it gets one only if needed.
    Raises `ConfigError` if old metadata of this package would make vLLM load it a second time.
    """
    if not isinstance(sampling, Sampling) or not sampling.engine_arguments():
        return []
    if stale_entry_point():
        raise ConfigError(
            "the installed metadata of this package still has an entry point in vllm.logits_processors, so vLLM would load "
            "the adaptive temperature twice. Run `pip install --no-deps -e .` in the checkout"
        )
    return [PROCESSOR]


def stale_entry_point() -> bool:
    """True if an old installation still registers our processor with every vLLM process of this environment."""
    points = importlib.metadata.entry_points(group="vllm.logits_processors")
    return any(point.value.startswith("tersely.") for point in points)
