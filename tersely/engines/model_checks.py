"""Checks a model's config, vocabulary and chat template without loading weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersely.core.errors import ConfigError, one_line
from tersely.engines.chat import prompt_text
from tersely.engines.model_folder import base_location, embedding_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def model_config(name: str, trust_remote_code: bool = False) -> Any:
    """The model's config."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(base_location(name), trust_remote_code=trust_remote_code)
    except Exception as error:  # a damaged config can raise any exception of its config class
        raise ConfigError(f"model_name_or_path {name!r}: its config cannot be read ({one_line(error)})") from error


def check_vocabulary(name: str, tokenizer: PreTrainedTokenizerBase, config: Any) -> None:
    """Raise `ConfigError` if the tokenizer has ids without an embedding in the model."""
    sizes = [getattr(config.get_text_config(), "vocab_size", None), embedding_rows(Path(base_location(name)))]
    size = min((size for size in sizes if size is not None), default=None)
    if size is not None and size < len(tokenizer):
        raise ConfigError(
            f"model_name_or_path {name!r}: the tokenizer has {len(tokenizer)} ids; expected at most {size}, the model's. "
            "Resize its embeddings (model.resize_token_embeddings) and save it again, or use the model's own tokenizer"
        )


def _renders(tokenizer: PreTrainedTokenizerBase, message: Mapping[str, str]) -> bool:
    """True if the chat template works without variables."""
    try:
        return bool(prompt_text(tokenizer, [message]))
    except Exception:
        return False


def check_template(
    tokenizer: PreTrainedTokenizerBase, kwargs: Mapping[str, Any] | None = None, system_prompt: str | None = None
) -> None:
    """Raise `ConfigError` for a chat template that fails, or that ignores the system prompt."""
    user = {"role": "user", "content": "1 + 1"}
    try:
        plain = prompt_text(tokenizer, [user], kwargs)
    except Exception as error:  # a template is a program and can raise anything
        if kwargs and _renders(tokenizer, user):
            raise ConfigError(
                f"chat_template_kwargs: got {dict(kwargs)}; the model's chat template fails with them ({one_line(error)}) "
                "and works without. Fix or remove these variables"
            ) from error
        raise ConfigError(
            f"the model's chat template fails on a user message: {one_line(error)}. Fix the template"
        ) from error
    if "1 + 1" not in plain:
        raise ConfigError("the model's chat template drops the user's message. Fix the template")
    if not system_prompt:
        return
    fix = "Remove system_prompt and use `instruction` for the text, or use a model with a system role"
    try:
        text = prompt_text(tokenizer, [{"role": "system", "content": system_prompt}, user], kwargs)
    except Exception as error:
        raise ConfigError(
            f"system_prompt: the model's chat template rejects a system message ({one_line(error)}). {fix}"
        ) from error
    if system_prompt.strip() not in text:
        raise ConfigError(f"system_prompt: the model's chat template drops the system message. {fix}")
