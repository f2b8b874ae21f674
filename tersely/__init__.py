"""Tersely trains language models to reason in fewer tokens, and measures that they do.

The types and `build` are exported here and imported on first use, so that `import tersely` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "Rollouts": "tersely.core.types",
    "RolloutPlan": "tersely.core.types",
    "TokenBatch": "tersely.core.types",
    "PromptMemory": "tersely.core.memory",
    "build": "tersely.core.build",
}

if TYPE_CHECKING:
    from tersely.core.build import build as build
    from tersely.core.memory import PromptMemory as PromptMemory
    from tersely.core.types import RolloutPlan as RolloutPlan
    from tersely.core.types import Rollouts as Rollouts
    from tersely.core.types import TokenBatch as TokenBatch

__all__ = ["PromptMemory", "RolloutPlan", "Rollouts", "TokenBatch", "__version__", "build"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tersely' has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value
