"""How a sampling reaches an engine: a temperature, or arguments of a logits processor that vLLM loads for an adaptive one."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.protocols import Sampling
from tersely.engines.registry import Capabilities


def check_sampling(able: Capabilities, temperature: Any) -> None:
    """`ConfigError` for a sampling, `temperature` of `generate`, that an engine with these capabilities cannot draw from."""
    if able.logits or isinstance(temperature, int | float):
        return
    if not able.processors:
        raise ConfigError(f"sampling: got {type(temperature).__name__}; this engine needs a fixed temperature")
    fixed_and_extra(temperature, None)


def fixed_and_extra(temperature: Any, extra_args: dict | None) -> tuple[float, dict | None]:
    """For an engine that draws at a fixed temperature: an adaptive sampling as that and arguments of its processor.

    Raises `ConfigError` for a sampling that names no processor (`engine_arguments`).
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
"""Of every request to a server: what is left out takes the value of the model's generation config there."""

PROCESSOR = "tersely.engines.vllm_logits:AdaptiveTemperature"
"""Our logits processor, as vLLM names one: `LLM(logits_processors=[...])` and `--logits-processors`."""


def processors_for(sampling: Any) -> list[str]:
    """Logits processors that a vLLM engine must load for this sampling; none for a fixed temperature.

    A vLLM engine with a logits processor gives up model runner V2 before 0.31, so it gets one only where it is used.
    Raises `ConfigError` where old metadata of this package would have vLLM load it a second time.
    """
    if not isinstance(sampling, Sampling) or not sampling.engine_arguments():
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
