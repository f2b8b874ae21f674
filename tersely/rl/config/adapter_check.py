"""Checks the `peft:` section of a recipe against its model and the launch, before weights are loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from tersely.configs.peft import KEY, STEERING
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.core.findings import Finding
from tersely.engines.adapter import check_layers, check_same, require_peft
from tersely.engines.model_checks import model_config
from tersely.engines.model_folder import is_adapter, model_location
from tersely.engines.models import model_place
from tersely.engines.registry import capabilities_of
from tersely.engines.steering import llama_values

SMALL_FOR_VECTORS = 1e-4
"""Below this, a thousand steps of Adam move a number by less than 0.1; a residual stream has numbers of about 1 or more."""


def check_adapter(run: Recipe) -> None:
    """Raise `ConfigError` for an adapter that cannot be trained. Reads at most the model's config."""
    location = model_location(run.model_name_or_path)
    if run.peft is None:
        if is_adapter(location):
            raise ConfigError(
                f"model_name_or_path: got {run.model_name_or_path}, an adapter; expected a whole model without {KEY}. Set "
                f"{KEY} to train it further, or merge it first (`tersely merge`)"
            )
        return
    from transformers.integrations import is_deepspeed_zero3_enabled

    require_peft(KEY)
    given: Any = run.trl.get("model_init_kwargs") or {}
    if "quantization_config" in given:
        raise ConfigError(f"model_init_kwargs.quantization_config: got a value; expected none with {KEY}. Remove it")
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" or run.trl.get("fsdp"):
        raise ConfigError(f"{KEY} does not work under FSDP. Use DeepSpeed (zero2), or plain data parallelism")
    if is_adapter(location):
        check_same(location, run.peft)
    # a rank under ZeRO-3 cannot make a model on the meta device; its launcher has checked the layers
    if model_place(run.model_name_or_path).level == "ok" and not is_deepspeed_zero3_enabled():
        trust = bool(run.trl.get("trust_remote_code"))
        config = model_config(run.model_name_or_path, trust)
        check_layers(config, run.peft)
        if run.peft.method == STEERING and capabilities_of(run.engine).weight_sync:
            llama_values(config)


def adapter_notes(run: Recipe, learning_rate: float) -> Iterator[Finding]:
    """Warn about dropout in an RL stage, and about a learning rate at which steering vectors stay near zero."""
    if run.peft is None:
        return
    if run.peft.method == STEERING and learning_rate < SMALL_FOR_VECTORS:
        text = (
            f"got {learning_rate:g}: a step changes each number of a steering vector by about that, so they stay near 0"
        )
        yield Finding("warn", "learning_rate", text, "set 1e-3 or more, see docs/adapters.md")
    if run.peft.dropout:
        text = f"got {run.peft.dropout}: old and current policy get different log-probs for the same weights"
        yield Finding("warn", f"{KEY}.dropout", text, "set it to 0 for RL")
