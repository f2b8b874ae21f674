"""Adapters (LoRA, steering vectors): makes and loads them, checks their layers, and merges them into the base model.

The folder of an adapter has adapter_config.json, which names the base model, and adapter_model.safetensors.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tersely.configs.peft import ALL_LINEAR, KEY, STEERING, PeftSpec
from tersely.core.errors import ConfigError, nearest, one_line
from tersely.core.files import write_json
from tersely.engines import steering
from tersely.engines.model_folder import CONFIG, adapter_config, base_location, model_location


def require_peft(what: str) -> None:
    """Raise `ConfigError` if peft is not installed. `what` needs it."""
    from importlib.util import find_spec

    if find_spec("peft") is None:
        raise ConfigError(f"{what} needs the package peft. Install it: pip install 'tersely[lora]'")


def new_adapter(spec: PeftSpec | None, model: Any) -> Any:
    """peft's config of a new adapter for TRL's trainers; None without one, or if the model already has an adapter.

    Steering vectors are peft's BEFT adapter, on layers that have a bias; those without get a zero bias here.
    """
    if spec is None or hasattr(model, "peft_config"):
        return None
    from peft import BeftConfig, LoraConfig

    if spec.method == STEERING:
        steering.add_biases(targeted(model, spec).values())
        return BeftConfig(task_type="CAUSAL_LM", target_modules=steering.target_modules(spec.layers))
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=spec.targets if isinstance(spec.targets, str) else list(spec.targets),
        use_dora=spec.method == "dora",
    )


def trained_parts(model: Any, spec: PeftSpec | None) -> Any:
    """The model with a new adapter, as TRL's trainers make it; unchanged without a section, or if it has an adapter."""
    config = new_adapter(spec, model)
    if config is None:
        return model
    from peft import get_peft_model

    return get_peft_model(model, config)


# ---- layers ----


def linear_layers(model: Any) -> dict[str, Any]:
    """Linear layers by name, without the output head, which never gets an adapter: the fused head reads its weights."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer is not head
    }


def targeted(model: Any, spec: PeftSpec) -> dict[str, Any]:
    """The layers that get an adapter, by name. Raises `ConfigError` for a target that is not a linear layer of the model."""
    if spec.method == STEERING:
        return steering.steered_layers(model, spec.layers)
    layers = linear_layers(model)
    if spec.targets == ALL_LINEAR:
        return layers
    found: dict[str, Any] = {}
    for target in spec.targets:
        matching = {name: one for name, one in layers.items() if name == target or name.endswith(f".{target}")}
        if not matching:
            valid = {name.rpartition(".")[2] for name in layers}
            raise ConfigError(f"{KEY}.targets: got {target!r}; {nearest(target, valid)}")
        found |= matching
    return found


def check_layers(config: Any, spec: PeftSpec) -> None:
    """Check targets, layers and rank against a model's config. Builds the model on the meta device, without weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    largest = max(min(layer.weight.shape) for layer in targeted(model, spec).values())
    if spec.method != STEERING and spec.rank > largest:
        raise ConfigError(f"{KEY}.rank: got {spec.rank}; expected at most {largest}, the rank of the largest layer")


def trained_parameters(model: Any, spec: PeftSpec) -> int:
    """Number of parameters of a new adapter of the model."""
    layers = targeted(model, spec).values()
    low_rank = 0 if spec.method == STEERING else spec.rank * sum(sum(layer.weight.shape) for layer in layers)
    vectors = 0 if spec.method == "lora" else sum(layer.weight.shape[0] for layer in layers)
    return low_rank + vectors


# ---- adapters on disk ----


def check_same(location: str, spec: PeftSpec) -> None:
    """Raise `ConfigError` for a section that differs from the adapter which the run starts from."""
    stored = adapter_config(location) or {}
    found: dict[str, Any] = {"method": "dora" if stored.get("use_dora") else "lora"}
    if stored.get("peft_type") == steering.PEFT_TYPE:
        found = {"method": STEERING, "layers": steering.layers_of(stored)}
    elif spec.method != STEERING:
        found |= {"rank": stored.get("r"), "alpha": stored.get("lora_alpha")}
    for key, value in found.items():
        if getattr(spec, key) != value:
            raise ConfigError(
                f"{KEY}.{key}: got {getattr(spec, key)}; expected {value}, that of the adapter {location}, which is trained "
                "further. Or merge it first (`tersely merge`), and start a new one"
            )


def with_adapter(model: Any, location: str, trainable: bool = False) -> Any:
    """The base model with the adapter of a folder or hub id, as a PeftModel."""
    require_peft(f"{location}, an adapter,")
    from peft import PeftModel

    stored = adapter_config(location) or {}
    if (kind := stored.get("peft_type")) not in ("LORA", steering.PEFT_TYPE):
        raise ConfigError(f"{location}: got an adapter of type {kind}; expected LORA or {steering.PEFT_TYPE}")
    if kind == steering.PEFT_TYPE:
        steering.add_biases(steering.steered_layers(model, steering.layers_of(stored)).values())
    try:
        found = PeftModel.from_pretrained(model, location, is_trainable=trainable)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ConfigError(f"adapter {location!r} cannot be loaded: {one_line(error)}") from error
    found.peft_config["default"].base_model_name_or_path = base_location(
        location
    )  # peft reads its config when it saves
    return found


def adapter_only(folder: Path) -> None:
    """Remove the other files that peft saves with an adapter, and make its config portable and equal in every run.

    The reference of a stage that trains an adapter further is a frozen copy, in the folder `ref`, which a resume makes
    again. The README is a template without content.
    """
    path = folder / CONFIG
    if not path.is_file():
        return
    shutil.rmtree(folder / "ref", ignore_errors=True)
    (folder / "README.md").unlink(missing_ok=True)
    stored = json.loads(path.read_text())
    base = str(stored.get("base_model_name_or_path"))
    if base == model_location("testbed"):
        stored["base_model_name_or_path"] = "testbed"
    elif Path(base).is_dir():
        stored["base_model_name_or_path"] = str(Path(base).absolute())
    if isinstance(stored.get("target_modules"), list):
        stored["target_modules"] = sorted(stored["target_modules"])
    write_json(path, stored)


# ---- merging ----


def merged(model: Any) -> Any:
    """The plain model with its adapter added to the weights; a model without an adapter unchanged."""
    return model.merge_and_unload() if hasattr(model, "peft_config") else model


def merged_parameters(model: Any, gathered: Any) -> Iterator[tuple[str, Any]]:
    """Iterate over (name, tensor) of the base model, with the adapter added, one layer at a time.

    The model does not change: adding the adapter to its weights and subtracting it again would leave rounding errors in
    them, which add up over a run and are lost on resume. `gathered`: context manager that gathers a list of parameters.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    base = model.get_base_model()
    layers = {name: layer for name, layer in base.named_modules() if isinstance(layer, BaseTunerLayer)}
    changed = "bias" if steering.is_steered(model) else "weight"
    for name, parameter in base.named_parameters():
        owner, _, leaf = name.partition(".base_layer.")
        if leaf == changed and owner in layers:
            with gathered(list(layers[owner].parameters())):
                yield f"{owner}.{leaf}", _sum(layers[owner], leaf)
        elif model.prefix not in name:
            with gathered([parameter]):
                yield name.replace(".base_layer.", "."), parameter.data


def _sum(layer: Any, leaf: str) -> Any:
    """Weight or bias of one layer plus its adapter's, in float32 if it has less precision."""
    import torch

    parameter = getattr(layer.get_base_layer(), leaf)
    kept = parameter.data
    try:
        parameter.data = kept.float() if kept.dtype in (torch.bfloat16, torch.float16) else kept
        layer.merge(safe_merge=True)  # replaces `parameter.data` by a new tensor
        return parameter.data
    finally:
        parameter.data = kept
        layer.merged_adapters.clear()
