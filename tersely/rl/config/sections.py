"""Checks recipe mappings that other libraries read: `model_init_kwargs`, `chat_template_kwargs`, `dataset`.

An unknown key or a value of the wrong type would otherwise fail after the model is loaded.
"""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tersely.configs.dataset import SourceSpec
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError, nearest, typed

LOADING: dict[str, Any] = {
    **dict.fromkeys(("dtype", "torch_dtype", "attn_implementation", "experts_implementation"), str),
    **dict.fromkeys(("revision", "code_revision", "subfolder", "variant", "cache_dir"), str),
    **dict.fromkeys(("trust_remote_code", "local_files_only", "force_download", "low_cpu_mem_usage"), bool),
    **dict.fromkeys(("use_safetensors", "weights_only", "ignore_mismatched_sizes", "offload_buffers"), bool),
    **dict.fromkeys(("device_map", "tp_plan"), str | dict),
    **dict.fromkeys(("quantization_config", "max_memory", "proxies", "key_mapping", "config"), dict),
    **dict.fromkeys(("offload_folder", "gguf_file"), str),
    "tp_size": int,
    "token": str | bool,
    "use_kernels": bool,
}
"""Arguments of `from_pretrained` and their types. Any other key must be in the model's config."""


def export_env(recipe: Recipe) -> None:
    """Set the recipe's environment variables that are not set yet."""
    for name, value in recipe.env.items():
        os.environ.setdefault(name, value)


def check_loading(name: str, given: Mapping[str, Any] | None) -> None:
    """Check `model_init_kwargs`: arguments of `from_pretrained`, or keys of the model's config if that is local."""
    for key, value in (given or {}).items():
        if key in LOADING:
            if value is not None:
                typed(value, LOADING[key], f"model_init_kwargs: {key}")
            continue
        config = _config_on_disk(name)
        close = difflib.get_close_matches(str(key), LOADING, n=1, cutoff=0.8)
        if not isinstance(key, str) or close or (config is not None and not hasattr(config, key)):
            raise ConfigError(
                f"model_init_kwargs: unknown key {key!r}, also in the model's config; {nearest(str(key), LOADING)}"
            )


def _config_on_disk(name: str) -> Any:
    """The model's config if it is local."""
    from tersely.engines.model_checks import model_config
    from tersely.engines.models import model_place

    return model_config(name) if model_place(name).level == "ok" else None


def check_template_kwargs(given: Mapping[str, Any] | None) -> None:
    """Check `chat_template_kwargs`: template variables, not arguments of the rendering function, which are fixed."""
    from transformers import PreTrainedTokenizerBase

    taken = set(inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters)
    taken = taken - {"self", "kwargs", "tools", "documents"} | {"messages"}
    for key in given or {}:
        if not isinstance(key, str) or not key.isidentifier():
            raise ConfigError(f"chat_template_kwargs: got the key {key!r}; expected the name of a template variable")
        if key in taken:
            raise ConfigError(f"chat_template_kwargs: {key} is already set for every prompt. Remove it")


def check_data(run: Recipe, seed: int) -> None:
    """Check the sources of a run and of its evaluation."""
    if run.evaluation is not None:
        _check_sources(run.evaluation.dataset, "evaluation: ", seed)
    _check_sources(run.dataset, "", seed)


def _check_sources(sources: Sequence[SourceSpec], where: str, seed: int) -> None:
    """Check sources without reading files: tests, extractors, and the first procedural problem."""
    from tersely.data.filters import check_conditions, check_drops
    from tersely.data.rows import Reader
    from tersely.data.sources import read_rows
    from tersely.rewards.verify.scorers.grade import load_scorer

    try:
        for source in sources:
            label = f"dataset {source.label}"
            check_conditions(source.filter, label)
            check_drops(source.drop, label)
            Reader(source)
            if source.scoring is not None:
                load_scorer(source.scoring.name)
            if source.procedural:
                next(iter(read_rows(replace(source, limit=1), seed)), None)
    except ConfigError as error:
        raise ConfigError(f"{where}{error}") from error
