"""All slots of the objective except the reward; `registry.py` is imported on first use."""

from __future__ import annotations

from typing import Any

__all__ = ["ADVANTAGES", "CONTROLLERS", "FILTERS", "PROMPTING", "LOSSES", "SAMPLINGS", "SFT_LOSSES", "TRIMS"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tersely.algorithms' has no attribute {name!r}")
    from tersely.algorithms import registry

    return getattr(registry, name)
