"""Copies a loss with other parameters; the original stays unchanged."""

from __future__ import annotations

import dataclasses
from typing import Any


def replace_in_chain(policy: Any, classes: tuple[str, ...], **parameters: float) -> Any:
    """The policy with `parameters` in every component of the chain whose class has one of these names."""
    changes: dict[str, Any] = {}
    base = getattr(policy, "base", None)
    if base is not None:
        changes["base"] = replace_in_chain(base, classes, **parameters)
    if type(policy).__name__ in classes:
        changes |= parameters
    return dataclasses.replace(policy, **changes) if changes else policy
