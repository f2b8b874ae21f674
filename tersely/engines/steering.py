"""Steering vectors: which layers can have one, and a form of the model in which they are biases of its own architecture.

The output of `mlp.down_proj` is added to the residual stream, so a bias of that layer is a vector added after the decoder
layer, at every position. peft trains it as a BEFT adapter. Qwen2 has no such bias. Llama does (`mlp_bias`), and a Qwen2 model
is a Llama with biases in its attention, so the vectors of both are saved and served as a Llama.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tersely.configs.peft import ALL, KEY
from tersely.core.errors import ConfigError

PEFT_TYPE = "BEFT"
"""Type of the adapter in adapter_config.json."""
LAYER = r".*\.layers\.{}\.mlp\.down_proj"
"""Name of the layer that gets a vector, a regular expression with the number of the decoder layer to fill in."""


def target_modules(layers: str | tuple[int, ...]) -> str:
    """peft's target_modules of the decoder layers, a regular expression."""
    return LAYER.format(r"\d+" if isinstance(layers, str) else f"(?:{'|'.join(map(str, sorted(set(layers))))})")


def layers_of(stored: Mapping[str, Any]) -> str | tuple[int, ...]:
    """The decoder layers of a saved adapter, the inverse of `target_modules`. Raises `ConfigError` for other modules."""
    targets = str(stored.get("target_modules"))
    if targets == target_modules(ALL):
        return ALL
    numbers = re.search(r"\(\?:([\d|]+)\)", targets)
    layers = tuple(int(number) for number in numbers[1].split("|")) if numbers else ()
    if not layers or targets != target_modules(layers):
        raise ConfigError(f"adapter: got {PEFT_TYPE} with target_modules {targets}; expected {target_modules(ALL)}")
    return layers


def steered_layers(model: Any, layers: str | tuple[int, ...]) -> dict[str, Any]:
    """The linear layers that get a vector, by name. Raises `ConfigError` for a layer or an architecture without one."""
    from torch import nn

    modules = dict(model.named_modules())
    found = {
        name: module
        for name, module in modules.items()
        if re.fullmatch(target_modules(ALL), name) and isinstance(module, nn.Linear)
    }
    normed = any(name.endswith("post_feedforward_layernorm") for name in modules)
    if not found or normed:
        raise ConfigError(
            f"{KEY}.method: got steering; expected a model whose mlp.down_proj writes to the residual stream, which "
            f"{type(model).__name__} does not. Use lora"
        )
    if isinstance(layers, str):
        return found
    for layer in layers:
        if not any(re.fullmatch(target_modules((layer,)), name) for name in found):
            raise ConfigError(f"{KEY}.layers: got {layer}; expected layers of the model, 0 to {len(found) - 1}")
    return {name: module for name, module in found.items() if re.fullmatch(target_modules(layers), name)}


def add_biases(layers: Iterable[Any]) -> None:
    """Give linear layers without a bias a zero bias, which peft needs to merge a vector."""
    import torch

    for layer in layers:
        if layer.bias is None:
            zeros = torch.zeros(layer.out_features, dtype=layer.weight.dtype, device=layer.weight.device)
            layer.bias = torch.nn.Parameter(zeros, requires_grad=False)


def is_steered(model: Any) -> bool:
    """True for a PeftModel with steering vectors."""
    return any(config.peft_type == PEFT_TYPE for config in getattr(model, "peft_config", {}).values())


# ---- the form with biases ----


def llama_values(config: Any) -> dict[str, Any]:
    """Values of a config with which the model is a Llama with MLP biases. Raises `ConfigError` for other architectures."""
    kind = config.model_type
    if kind not in ("llama", "qwen2") or "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise ConfigError(
            f"{KEY}.method: got steering for a {kind} model, which cannot have the vectors as biases; expected llama or qwen2, "
            "without sliding attention. Use engine: transformers to train and the adapter's folder to evaluate it"
        )
    attention_bias = kind == "qwen2" or bool(getattr(config, "attention_bias", False))
    return {"architectures": ["LlamaForCausalLM"], "mlp_bias": True, "attention_bias": attention_bias}


def zero_biases(model: Any) -> Iterator[tuple[str, Any]]:
    """Iterate over (name, tensor) of the biases that the Llama has and the plain model does not have."""
    import torch

    attention = llama_values(model.config)["attention_bias"]
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear) or module.bias is not None:
            continue
        if name.endswith((".gate_proj", ".up_proj", ".down_proj")) or (attention and name.endswith(".o_proj")):
            yield f"{name}.bias", torch.zeros(module.out_features)


def as_llama(model: Any) -> Any:
    """The plain model as a LlamaForCausalLM with MLP biases, to be saved. Raises `ConfigError` for other architectures."""
    from transformers import LlamaConfig, LlamaForCausalLM

    values = {**model.config.to_dict(), **llama_values(model.config)}
    known = LlamaConfig().to_dict().keys() - {"model_type", "transformers_version"}
    config = LlamaConfig(**{key: value for key, value in values.items() if key in known})
    state = {**model.state_dict(), **dict(zero_biases(model))}
    found = LlamaForCausalLM.from_pretrained(None, config=config, state_dict=state, dtype=model.dtype)
    found.generation_config = model.generation_config
    return found


def vllm_options(config: Any) -> dict[str, Any]:
    """Options with which vLLM loads a checkpoint of the model as that Llama. Its biases are what a weight sync sends."""
    return {
        "hf_overrides": llama_values(config),
        "model_loader_extra_config": {
            "enable_weights_track": False
        },  # else a weight that is not in the file is an error
    }


def vllm_arguments(config: Any) -> tuple[str, ...]:
    """The same for the command line of a server."""
    options = vllm_options(config).items()
    return tuple(part for key, value in options for part in (f"--{key.replace('_', '-')}", json.dumps(value)))
