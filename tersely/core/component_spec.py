"""`ComponentSpec`: name and parameters of a component in a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tersely.core.errors import ConfigError, require_mapping


@dataclass(frozen=True)
class ComponentSpec:
    """`alp`, or `{name: alp, beta: 0.3}`."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, slot: str, value: Any) -> ComponentSpec:
        """Spec from a name or a mapping with `name`. Raises `ConfigError` for anything else."""
        if isinstance(value, ComponentSpec):
            return value
        if isinstance(value, str):
            return cls(value)
        require_mapping(slot, value, "{name: NAME, parameter: value}, or a name")
        if "name" not in value:
            raise ConfigError(f"{slot}: got {dict(value)!r} without `name`; expected a mapping, such as {{name: NAME}}")
        return cls(str(value["name"]), {str(key): inner for key, inner in value.items() if key != "name"})
