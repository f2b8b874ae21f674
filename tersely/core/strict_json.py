"""Strict JSON parsing: reports duplicate keys, of which Python's reader silently keeps the last one."""

from __future__ import annotations

import json
from typing import Any


def strict_json(text: str) -> Any:
    """Parse JSON; raises `ValueError` for invalid JSON and duplicate keys."""
    value, repeated = json_of(text)
    if repeated:
        raise ValueError(twice(repeated[0]))
    return value


def json_of(text: str) -> tuple[Any, list[tuple[dict[str, Any], str]]]:
    """Parse JSON; returns (value, [(object with a duplicate key, that key), ...]). Raises `ValueError` for invalid JSON."""
    repeated: list[tuple[dict[str, Any], str]] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            repeated.append((found, next(name for name in names if names.count(name) > 1)))
        return found

    try:
        return json.loads(text, object_pairs_hook=unique), repeated
    except RecursionError:
        raise ValueError("lists or objects are nested too deeply") from None


def twice(repeated: tuple[dict[str, Any], str]) -> str:
    """Error text for an item of `json_of`'s list."""
    return f"duplicate key {repeated[1]!r}. Remove or rename one of them"
