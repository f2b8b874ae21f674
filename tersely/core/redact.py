"""Redacts secrets in what a run writes and prints: resolved config, environment, command lines, logs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

REDACTED = "[redacted]"
ENV_NAME = re.compile(r"TOKEN(?!IZER)|KEY|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
"""Environment variables whose value is secret: HF_TOKEN, WANDB_API_KEY, MY_PASSWORD."""
FIELD_NAME = re.compile(r"(?:.*_)?(?:hub_token|access_token|api_key|password|secret)|token", re.IGNORECASE)
"""Recipe keys whose value is secret, at any depth, such as TRL's hub_token; not eos_token or max_tokens."""
SHORTEST = 8
"""Minimum characters of a redacted value; a shorter one is part of too many other words."""


def redacted(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a recipe without secrets; redacting twice changes nothing."""
    copy = {key: _redacted(key, value) for key, value in config.items()}
    env = config.get("env")
    if isinstance(env, Mapping):
        copy["env"] = {key: REDACTED if ENV_NAME.search(str(key)) else value for key, value in env.items()}
    return copy


def _redacted(key: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _redacted(name, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(key, inner) for inner in value]
    return REDACTED if isinstance(value, str) and FIELD_NAME.fullmatch(str(key)) else value


def secrets_of(config: Mapping[str, Any]) -> list[str]:
    """Keys of a recipe that hold secrets: env.HF_TOKEN, hub_token."""
    hidden, env = redacted(config), config.get("env")
    found = [key for key, value in config.items() if key != "env" and hidden[key] != value]
    return found + [f"env.{name}" for name in (env if isinstance(env, Mapping) else ()) if ENV_NAME.search(str(name))]


def secret_values(config: Mapping[str, Any]) -> list[str]:
    """Secrets of a recipe and of this process's environment, longest first."""
    found = {value for name, value in os.environ.items() if ENV_NAME.search(name)}
    env = config.get("env")
    if isinstance(env, Mapping):
        found |= {str(value) for name, value in env.items() if ENV_NAME.search(str(name))}
    found |= set(_fields(None, config))
    return sorted((value for value in found if len(value) >= SHORTEST), key=len, reverse=True)


def _fields(key: Any, value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _fields(name, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(key, inner)
    elif isinstance(value, str) and FIELD_NAME.fullmatch(str(key)):
        yield value


def export_hub_token(args: Any) -> None:
    """Move TRL's hub_token to HF_TOKEN: Trainer saves its arguments with the weights and sends them to loggers."""
    if getattr(args, "hub_token", None):
        os.environ["HF_TOKEN"], args.hub_token = args.hub_token, None


def struck(text: str, secrets: Iterable[str]) -> str:
    """`text` without the secrets."""
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return text
