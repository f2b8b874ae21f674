"""`ConfigError` and the checks that all YAML sections share: unknown keys, wrong types, values out of range."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

LARGEST_FLOAT = 1e38
"""About the largest float32."""
LARGEST_WHOLE = 2**53
"""The largest whole number that a float64 holds exactly."""


class ConfigError(ValueError):
    """An invalid configuration; the message names the key, the value, what is expected, and a fix."""


def one_line(error: BaseException) -> str:
    """The error's text without line breaks, or its class name if the text is empty."""
    return " ".join(str(error).split()) or type(error).__name__


RENAMED = {
    "plan": "prompting",
    "policy": "loss",
    "planned_update": "micro_batching",
    "hollow_reward": "reward_hacking",
    "engine_gap": "mismatch",
    "traps": "pitfalls",
    "right": "correct",
    "wrong": "incorrect",
}
"""Keys and values of earlier versions -> current names."""


def renamed(given: str, valid: Iterable[str]) -> str | None:
    """Hint for a name of an earlier version; None for any other name."""
    new = RENAMED.get(given)
    return f"it is now called {new!r}" if new is not None and new in valid else None


def nearest(given: str, valid: Iterable[str]) -> str:
    """Hint such as `did you mean 'alp'? valid: alp, correctness, ...`; for an old name, its current name."""
    names = sorted(valid)
    if new := renamed(given, names):
        return new
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}valid: {', '.join(names)}"


def check_fields(cls: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check values against the fields of the dataclass `cls`; returns keyword arguments of the declared types.

    Whole numbers are accepted as floats, and so are numeric strings: YAML reads `1e-7` as text.
    """
    if not dataclasses.is_dataclass(cls):
        return dict(values)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    hints = _hints(cls)
    checked = {}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(
                f"{where}: unknown parameter {key!r}; {nearest(key, fields) if fields else 'it takes none'}"
            )
        checked[key] = typed(value, hints.get(key, Any), f"{where}: {key}")
    missing = [
        name
        for name, field in fields.items()
        if name not in checked and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where}: missing {', '.join(missing)}")
    return checked


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def require_range(
    where: str,
    value: float | None,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    below: float = math.inf,
    at_most: float = math.inf,
) -> None:
    """Raise unless the number is finite and in the range; None passes."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{where}: got {value!r}; expected a number")
    if math.isfinite(value) and above < value < below and at_least <= value <= at_most:
        return
    parts = [
        f"{word} {bound:g}"
        for word, bound in (("above", above), ("at least", at_least), ("below", below), ("at most", at_most))
        if math.isfinite(bound)
    ]
    raise ConfigError(f"{where}: got {value}; expected {' and '.join(parts) or 'a finite number'}")


def whole_number(where: str, value: Any) -> int:
    """The value as a whole number; accepts text (YAML reads `1e2` as text) and floats such as 100.0."""
    try:
        number = float(value) if isinstance(value, str) else value
        if not isinstance(number, bool) and number == int(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ConfigError(f"{where}: got {value!r}; expected a whole number")


def require_choice(where: str, value: str, choices: Sequence[str]) -> None:
    """Raise unless the value is one of the choices."""
    if value not in choices:
        raise ConfigError(f"{where}: got {value!r}; {nearest(str(value), choices)}")


def require_mapping(where: str, value: Any, example: str) -> None:
    """Raise unless the value is a mapping. `example`: a valid one, for the message."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: got {value!r}; expected a mapping, such as {example}")


def typed(value: Any, hint: Any, where: str) -> Any:
    """The value converted to the type of the hint; raises `ConfigError` for any other type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, typing.TypeVar):
        return value
    if origin in (typing.Union, types.UnionType):
        return _typed_union(value, arguments, where)
    if origin is typing.Literal:
        if any(type(value) is type(one) and value == one for one in arguments):
            return value
        raise ConfigError(f"{where}: got {value!r}; {nearest(str(value), map(str, arguments))}")
    if hint is float and not isinstance(value, bool):
        try:
            number = float(value) if isinstance(value, int | float | str) else None
        except (ValueError, OverflowError):
            number = math.inf if isinstance(value, int) else None
        if number is not None and math.isfinite(number) and abs(number) > LARGEST_FLOAT:
            number = math.inf
        if number is not None:
            if math.isinf(number):
                raise ConfigError(
                    f"{where}: got {str(value)[:40]}; expected a finite number of at most {LARGEST_FLOAT:g}"
                )
            return number
    if hint is int and type(value) is int and abs(value) > LARGEST_WHOLE:
        raise ConfigError(f"{where}: got {str(value)[:40]}; expected a whole number of at most {LARGEST_WHOLE}")
    if origin in (tuple, list, Sequence, Iterable) and isinstance(value, list | tuple):
        inner = arguments[0] if arguments else Any
        items = [typed(item, inner, f"{where}[{index}]") for index, item in enumerate(value)]
        return items if origin is list else tuple(items)
    expected = origin or hint
    if isinstance(expected, type) and isinstance(value, expected) and not (expected is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{where}: got {value!r} ({type(value).__name__}); expected {_name(hint)}")


def _typed_union(value: Any, arguments: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    for argument in arguments:
        if argument is type(None):
            continue
        try:
            return typed(value, argument, where)
        except ConfigError:
            continue
    raise ConfigError(f"{where}: got {value!r}; expected {' or '.join(_name(argument) for argument in arguments)}")


def _name(hint: Any) -> str:
    if hint is type(None):
        return "null"
    plain = {
        "str": "text",
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "dict": "a mapping, {key: value}",
        "list": "a list",
    }
    return plain.get(getattr(hint, "__name__", ""), str(hint))
