"""JSON that keeps Python types for a scorer: tuples, sets, and dictionaries whose keys are not text.

Plain JSON makes tuples lists, and several scorers of reasoning-gym compare tuples with `==`. Nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MARK = "__tersely__"


def encode(value: Any) -> Any:
    """A JSON value that `decode` converts back. A value without a JSON type becomes text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and MARK not in value:
            return {key: encode(item) for key, item in value.items()}
        return {MARK: "dict", "items": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    for kind, name in ((tuple, "tuple"), (set, "set"), (frozenset, "frozenset")):
        if isinstance(value, kind):
            items = value if name == "tuple" else sorted(value, key=repr)
            return {MARK: name, "items": [encode(item) for item in items]}
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        return encode(value.tolist())
    return str(value)


def decode(value: Any) -> Any:
    """The value that `encode` was given."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if MARK not in value:
        return {key: decode(item) for key, item in value.items()}
    items = decode(value["items"])
    kinds: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}
    return dict(map(tuple, items)) if value[MARK] == "dict" else kinds[value[MARK]](items)
