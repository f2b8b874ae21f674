"""Checks values of GRPOConfig's fields: declared type, finite, in range, and with an effect."""

from __future__ import annotations

import enum
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from tersely.core.errors import ConfigError, nearest, require_choice, require_range, typed

SEEDS = 2**32 - 1
"""The largest seed of NumPy, which transformers also seeds."""
LARGEST = 1e38
"""About the largest float32."""
RANGES: dict[str, dict[str, float]] = {
    "learning_rate": {"at_least": 0, "at_most": 100},
    **dict.fromkeys(("weight_decay", "beta"), {"at_least": 0, "at_most": 10**4}),
    "warmup_steps": {"at_least": 0, "at_most": 10**9},
    "max_grad_norm": {"at_least": 0},
    **dict.fromkeys(("neftune_noise_alpha", "router_aux_loss_coef", "top_k"), {"at_least": 0}),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), {"at_least": 0, "below": 1}),
    **dict.fromkeys(("adam_epsilon", "num_train_epochs", "logging_steps"), {"above": 0, "at_most": 10**9}),
    **dict.fromkeys(("max_completion_length", "num_iterations", "ddp_timeout", "ddp_bucket_cap_mb"), {"at_least": 1}),
    **dict.fromkeys(("torch_empty_cache_steps", "vllm_max_model_length", "ref_model_sync_steps"), {"at_least": 1}),
    "num_completions_to_print": {"at_least": 1},
    "ref_model_mixup_alpha": {"at_least": 0, "at_most": 1},
    "top_p": {"above": 0, "at_most": 1},
    "vllm_gpu_memory_utilization": {"above": 0, "at_most": 1},
    "seed": {"at_least": 0, "at_most": SEEDS},
}
CHOICES = {
    **dict.fromkeys(("log_level", "log_level_replica"), ("debug", "info", "warning", "error", "critical", "passive")),
    "ddp_backend": ("nccl", "gloo", "mpi", "ccl", "hccl", "cncl", "mccl", "xccl"),
    "loss_type": ("luspo", "vespo"),
    "torch_compile_mode": ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
}
NO_TEXT = (
    "lr_scheduler_kwargs",
    "gradient_checkpointing_kwargs",
    "activation_checkpointing_kwargs",
    "model_init_kwargs",
    "chat_template_kwargs",
    "liger_kernel_config",
)
"""Mappings that TRL declares as `dict | str`; a text has no effect there, or fails late."""


def field_value(key: str, value: Any, hint: Any) -> Any:
    """Convert a value to the field's type; numeric text becomes a number (YAML reads `1e-6` as text). Raises `ConfigError`."""
    if key.endswith("_strategy") and value is False:
        return "no"  # YAML reads a bare `no` as false
    kinds = _kinds(hint)
    if value is None:
        if type(None) not in kinds or key == "max_completion_length":
            raise ConfigError(f"{key}: got null; expected a value. Remove it for its default")
        return None
    if key in NO_TEXT and not isinstance(value, Mapping):
        raise ConfigError(f"{key}: got {value!r}; expected a mapping, {{key: value}}")
    kinds.discard(type(None))
    numbers = kinds & {int, float}
    if numbers and not (isinstance(value, str) and str in kinds):
        value = _number(key, value, whole=float not in kinds)
        value = float(value) if key.startswith("adam_") else value  # torch rejects whole numbers as betas
    elif kinds == {bool}:
        if not isinstance(value, bool):
            raise ConfigError(f"{key}: got {value!r}; expected true or false")
    elif enums := [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, enum.Enum)]:
        if not isinstance(value, enums[0]):
            valid = [str(member.value) for member in enums[0]]
            if str(value) not in valid:
                raise ConfigError(f"{key}: got {value!r}; {nearest(str(value), valid)}")
    elif kinds == {str}:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ConfigError(f"{key}: got {value!r}; expected text")
        value = str(value)
    else:
        value = typed(value, hint, key)
    if key == "pad_to_multiple_of" and value != "auto":
        require_range(key, _number(key, value, whole=True), at_least=1)
    if key == "max_steps" and value != -1:
        require_range("max_steps", value, at_least=1)
    require_range(key, value, **RANGES[key]) if key in RANGES else None
    if key in CHOICES:
        require_choice(key, value, CHOICES[key])
    return value


def _kinds(hint: Any) -> set[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return set(typing.get_args(hint))
    return {hint}


def _number(key: str, value: Any, whole: bool) -> int | float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ConfigError(f"{key}: got {value!r}; expected a number") from None
    wanted = "a whole number" if whole else "a finite number"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{key}: got {value!r}; expected {wanted.replace('finite ', '')}")
    if (isinstance(value, float) and not math.isfinite(value)) or abs(value) > (SEEDS if whole else LARGEST):
        raise ConfigError(f"{key}: got {value}; expected {wanted} of at most {SEEDS if whole else LARGEST:g}")
    if whole and not float(value).is_integer():
        raise ConfigError(f"{key}: got {value!r}; expected a whole number")
    return int(value) if whole else value


NEEDS = {
    "fsdp_config": "fsdp",
    "liger_kernel_config": "use_liger_kernel",
    "ref_model_mixup_alpha": "sync_ref_model",
    "ref_model_sync_steps": "sync_ref_model",
}
"""Field -> switch that it needs to have an effect."""


def check_together(values: Mapping[str, Any]) -> None:
    """Raise for a field that has no effect without another field, or that conflicts with one."""
    for key, switch in NEEDS.items():
        if values.get(key) is not None and not values.get(switch):
            raise ConfigError(f"{key}: has no effect without {switch}. Add {switch}, or remove {key}")
    if values.get("sync_ref_model") and not values.get("beta"):
        raise ConfigError("sync_ref_model: got true; with beta 0 there is no reference model. Set beta, or remove it")
    optim = str(values.get("optim", ""))
    if values.get("optim_target_modules") and not optim.startswith(("galore", "apollo")):
        raise ConfigError(
            f"optim_target_modules: has no effect with optim {optim or 'the default'!r}, only with galore and apollo"
        )
    if values.get("remove_unused_columns") not in (None, False):
        raise ConfigError(
            "remove_unused_columns: got true; expected false, because the columns are the problems. Remove it"
        )
