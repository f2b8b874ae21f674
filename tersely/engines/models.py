"""Loads the model and its tokenizer, and checks both."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tersely.configs.peft import PeftSpec
from tersely.core.errors import ConfigError, one_line
from tersely.core.findings import Finding
from tersely.core.redact import export_hub_token
from tersely.engines.adapter import merged, with_adapter
from tersely.engines.model_checks import check_vocabulary
from tersely.engines.model_folder import (
    adapter_config,
    base_location,
    base_name,
    folder_fault,
    is_adapter,
    model_location,
    tokenizer_location,
)

FIRST_RANK_LOADS = "FSDP_CPU_RAM_EFFICIENT_LOADING"
"""Environment variable by which accelerate tells transformers to load on rank 0 only."""


def load_tokenizer(name: str, trust_remote_code: bool = False, needs_pad: bool = True) -> Any:
    """Load the tokenizer, left-padded; raises if it has no chat template or no EOS token.

    Without `needs_pad` (evaluation and counting), the EOS token replaces a missing pad token.
    """
    location = tokenizer_location(name)
    try:
        tokenizer = _tokenizer_class(location).from_pretrained(
            location, padding_side="left", trust_remote_code=trust_remote_code
        )
        words = tokenizer.encode("1 + 1", add_special_tokens=False)
    except Exception as error:  # a damaged file can raise anything, even a plain Exception
        raise ConfigError(
            f"model_name_or_path {name!r}: cannot load its tokenizer ({one_line(error)}). Copy tokenizer.json and "
            "tokenizer_config.json of the model again"
        ) from error
    if not words:
        raise ConfigError(
            f"model_name_or_path {name!r}: its tokenizer has no vocabulary. Copy tokenizer.json of the model into the folder"
        )
    if tokenizer.chat_template is None:
        raise ConfigError(
            f"model_name_or_path {name!r} has no chat template. Use the instruct version of the model, or save a "
            "chat_template.jinja next to its tokenizer"
        )
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"model_name_or_path {name!r}: the tokenizer has no eos_token, so no completion would end")
    if tokenizer.pad_token_id is None and not needs_pad:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise ConfigError(
            f"model_name_or_path {name!r}: the tokenizer has no pad_token. Set an unused special token other than the "
            "eos_token and save the tokenizer again"
        )
    return tokenizer


def _tokenizer_class(location: str) -> Any:
    """Tokenizer class of a folder; without a model family its files are read as they are, not rebuilt by AutoTokenizer."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    config = Path(location) / "tokenizer_config.json"
    named = json.loads(config.read_text()).get("tokenizer_class") if config.is_file() else None
    return PreTrainedTokenizerFast if named in ("TokenizersBackend", "PreTrainedTokenizerFast") else AutoTokenizer


LOADING_ERRORS = (OSError, ValueError, TypeError, ImportError, RuntimeError, KeyError, AttributeError)
"""Exceptions of transformers for invalid model files: missing file, wrong shape, unknown architecture."""


def load_model(name: str, args: Any, peft: PeftSpec | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) for training with `args`, a GRPOConfig. `peft`: an adapter is trained.

    An adapter is loaded on its base model, as a PeftModel, to be trained further.
    """
    from transformers import AutoModelForCausalLM

    export_hub_token(args)
    tokenizer = load_tokenizer(name, args.trust_remote_code)
    kwargs = dict(args.model_init_kwargs or {})
    args.model_init_kwargs = kwargs
    kwargs.setdefault("dtype", weights_dtype(args, frozen=peft is not None))
    rounds = str(kwargs["dtype"]).removeprefix("torch.") in ("bfloat16", "float16")
    if rounds and peft is None and not keeps_float32(args):
        warnings.warn(
            f"model_init_kwargs: dtype: got {kwargs['dtype']} without float32 master weights: small updates are rounded "
            "away, so the model hardly learns. Leave dtype out and set bf16: true, which computes in bfloat16 with float32 "
            "weights, or use DeepSpeed"
        )
    kwargs.setdefault("trust_remote_code", args.trust_remote_code)
    accumulate_in_float32(args)
    if getattr(args, "beta", 0.0):
        os.environ[FIRST_RANK_LOADS] = "false"  # TRL loads the reference model and shards each rank's copy
    location = base_location(name)
    if (adapter := adapter_config(model_location(name))) is not None and adapter.get("revision"):
        kwargs.setdefault("revision", adapter["revision"])
    if "attn_implementation" not in kwargs and (chosen := attention(location, kwargs["dtype"])) is not None:
        kwargs["attn_implementation"] = chosen
    try:
        model = AutoModelForCausalLM.from_pretrained(location, **kwargs)
    except LOADING_ERRORS as error:
        raise ConfigError(f"model_name_or_path {name!r}: cannot be loaded ({one_line(error)})") from error
    args.model_init_kwargs = None
    check_vocabulary(name, tokenizer, model.config)
    if adapter is not None:
        model = with_adapter(model, model_location(name), trainable=True)
    return model, tokenizer


def load_frozen(location: str, dtype: str | None = None, device: str | None = None) -> Any:
    """Load a model for inference, in bfloat16 on a GPU, else in float32 on the CPU. An adapter is merged into its base."""
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or ("bfloat16" if device == "cuda" else "float32")
    return load_weights(location, getattr(torch, dtype)).to(device).eval()


def load_weights(location: str, dtype: Any, trust_remote_code: bool = False) -> Any:
    """Load a model of a folder or hub id. An adapter is merged into its base."""
    from transformers import AutoModelForCausalLM

    location = model_location(location)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base_location(location), dtype=dtype, trust_remote_code=trust_remote_code
        )
    except LOADING_ERRORS as error:
        raise ConfigError(f"model {location!r} cannot be loaded: {one_line(error)}") from error
    return merged(with_adapter(model, location)) if is_adapter(location) else model


def weights_dtype(args: Any, frozen: bool = False) -> str:
    """dtype of the weights: float32, because AdamW's updates at 1e-6 are too small for bfloat16 weights.

    `bf16` still computes in bfloat16, by autocast. DeepSpeed keeps float32 master weights, so there the weights are bfloat16 if
    the arithmetic is. `frozen` weights under an adapter are bfloat16 in the same case; the adapter is float32.
    """
    import torch

    rounded = args.bf16 and torch.cuda.is_available() and (frozen or args.deepspeed_plugin is not None)
    return "bfloat16" if rounded else "float32"


def accumulate_in_float32(args: Any) -> None:
    """Make DeepSpeed accumulate gradients in float32 under bf16, unless its configuration sets a dtype.

    Its default is the weights' dtype: 256 micro-batches added in bfloat16 have an error of 1.6 %
    (`pytest tests/contracts/test_deepspeed.py`).
    """
    settings = getattr(args.deepspeed_plugin, "hf_ds_config", None)
    if settings is not None and args.bf16:
        settings.config.setdefault("data_types", {}).setdefault("grad_accum_dtype", "fp32")


def attention(location: str, dtype: Any) -> str | None:
    """`flash_attention_2` if it is installed, supported by the model, and the weights are in half precision; else None.

    None means SDPA. FlashAttention does not support float32, and float32 weights reach it outside autocast.
    """
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig
    from transformers.utils import is_flash_attn_2_available

    half = str(dtype).removeprefix("torch.") in ("bfloat16", "float16")
    if not (half and torch.cuda.is_available() and is_flash_attn_2_available()):
        return None
    try:
        model = MODEL_FOR_CAUSAL_LM_MAPPING[type(AutoConfig.from_pretrained(location))]
    except (KeyError, OSError, ValueError):  # a model with remote code, or a fault that loading reports
        return None
    return "flash_attention_2" if getattr(model, "_supports_flash_attn", False) else None


def arithmetic(args: Any) -> Any:
    """Context manager for the trainer's precision outside a trainer: bfloat16 under `bf16`."""
    import torch

    return torch.autocast(args.device.type, torch.bfloat16, enabled=bool(args.bf16))


def keeps_float32(args: Any) -> bool:
    """True if the launch keeps float32 copies of lower-precision weights; FSDP does under mixed precision."""
    sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true" and (args.bf16 or args.fp16)
    return args.deepspeed_plugin is not None or bool(sharded)


def load_whole_model(name: str, args: Any) -> tuple[Any, Any]:
    """Load a full copy on this rank, for sampling outside a trainer: neither sharded nor loaded on rank 0 only.

    An adapter is merged into its base.
    """
    from transformers.integrations import deepspeed

    plugin = args.deepspeed_plugin
    with every_rank_loads():
        if plugin is not None:
            deepspeed.unset_hf_deepspeed_config()
        try:
            model, tokenizer = load_model(name, args)
            return merged(model), tokenizer
        finally:
            if plugin is not None:
                deepspeed.set_hf_deepspeed_config(getattr(args, "hf_deepspeed_config", None) or plugin.dschf)


@contextmanager
def every_rank_loads() -> Iterator[None]:
    """Context manager to load a model on all ranks. Under FSDP, transformers may load weights only on rank 0, because
    accelerate fills the others when it shards the trained model; a model that is not sharded must be loaded inside.
    """
    before = os.environ.get(FIRST_RANK_LOADS)
    os.environ[FIRST_RANK_LOADS] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FIRST_RANK_LOADS]
        else:
            os.environ[FIRST_RANK_LOADS] = before


def model_place(name: str) -> Finding:
    """Check that the model exists: a folder with a config, or a hub id that is available. Of an adapter, also its base."""
    if name == "testbed":
        return Finding("ok", "model", "testbed, the embedded model")
    folder = Path(model_location(name))
    if folder.is_dir():
        if text := folder_fault(folder):
            return Finding("fail", "model", f"{name}: {text}")
        if is_adapter(str(folder)):
            return _on_base(name)
        if (folder / "config.json").is_file():
            return Finding("ok", "model", f"{name}, a folder")
        return Finding("fail", "model", f"the folder {name} has no config.json", "use the folder with the weights")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        return Finding("fail", "model", f"no such folder: {name}", "set model_name_or_path to a folder or a hub id")
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        text = f"got {name!r}; expected `testbed`, a folder, or a hub id such as Qwen/Qwen3-0.6B"
        return Finding("fail", "model", text, "a hub id has letters, digits, - _ . and at most one /")
    if is_adapter(name):
        return _on_base(name)
    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return Finding("ok", "model", f"{name}, in the hub cache")
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        fix = "unset it for the first run, or copy the model to a folder"
        return Finding("fail", "hub", f"{name} is not in the hub cache, and HF_HUB_OFFLINE is set", fix)
    return Finding("note", "model", f"{name} will be downloaded")


def _on_base(name: str) -> Finding:
    """The finding about an adapter's base model."""
    try:
        found = model_place(base_name(name))
    except ConfigError as error:
        return Finding("fail", "model", str(error))
    return replace(found, text=f"{name}, an adapter of {found.text}")
