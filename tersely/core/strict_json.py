"""Reads JSON without silent changes: a key that occurs twice is found, where Python's reader keeps the last one."""

from __future__ import annotations

import json
from typing import Any


def strict_json(text: str) -> Any:
    """The value of a JSON text. `ValueError` for what cannot be read, and for a key that occurs more than once."""
    value, repeated = json_of(text)
    if repeated:
        raise ValueError(twice(repeated[0]))
    return value


def json_of(text: str) -> tuple[Any, list[tuple[dict[str, Any], str]]]:
    """(value, the objects in it that have a key more than once, with that key). `ValueError` for what cannot be read."""
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
    """What is wrong with an object of `json_of`'s list."""
    return f"key {repeated[1]!r} occurs more than once; expected unique keys. Remove or rename one of them"
