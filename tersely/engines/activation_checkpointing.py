"""Sets activation checkpointing under the name that the installed transformers uses.

transformers renames `gradient_checkpointing` to `activation_checkpointing` and removes the old name in version 6. A recipe
can use either name with any version.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tersely.core.errors import ConfigError

NEW_NAMES = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}


def by_installed_names(values: Mapping[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """`values` with each setting under the name in `fields`, the fields of the installed config class."""
    found = dict(values)
    for old, new in NEW_NAMES.items():
        name, other = (new, old) if new in fields else (old, new)
        if other not in found:
            continue
        if name in found and found[name] != found[other]:
            raise ConfigError(
                f"{new}: got {found[new]!r}, {old}: got {found[old]!r}; expected only one, because they are the same setting"
            )
        found[name] = found.pop(other)
    return found


def setting(args: Any, name: str) -> Any:
    """The value of a setting, by its old name, in a config with either name."""
    new = getattr(args, NEW_NAMES[name], None)
    return new if new is not None else getattr(args, name, None)


def enable(model: Any, args: Any) -> None:
    """Enable it in `model` with the settings of `args`."""
    turn_on = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    turn_on(setting(args, "gradient_checkpointing_kwargs"))
