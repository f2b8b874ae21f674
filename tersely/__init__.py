"""Tersely trains language models to reason in fewer tokens, and measures that they do.

The types and `build` are exported here and imported on first use, so that `import tersely` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "Rollouts": "tersely.rl.types",
    "RolloutPlan": "tersely.rl.types",
    "TokenBatch": "tersely.rl.types",
    "PromptMemory": "tersely.rl.memory",
    "build": "tersely.components",
}

if TYPE_CHECKING:
    from tersely.components import build as build
    from tersely.rl.memory import PromptMemory as PromptMemory
    from tersely.rl.types import RolloutPlan as RolloutPlan
    from tersely.rl.types import Rollouts as Rollouts
    from tersely.rl.types import TokenBatch as TokenBatch

__all__ = ["PromptMemory", "RolloutPlan", "Rollouts", "TokenBatch", "__version__", "build"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tersely' has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value
