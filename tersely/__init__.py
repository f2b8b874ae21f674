"""Tersely trains language models to reason in fewer tokens, and measures that they do.

The Python API is exported here (docs/python-api.md). Each name is imported on first use, so that `import tersely` costs
nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "load_recipe": "tersely.configs.load:load_recipe",
    "Recipe": "tersely.configs.recipe:Recipe",
    "Stage": "tersely.configs.recipe:Stage",
    "ComponentSpec": "tersely.core.component_spec:ComponentSpec",
    "train": "tersely.rl.run:train",
    "evaluate": "tersely.eval.engines:evaluate",
    "compare": "tersely.eval.compare:compare",
    "report": "tersely.eval.report.write:write_report",
    "verify": "tersely.rewards:verify",
    "Verifier": "tersely.rewards:Verifier",
    "for_trl": "tersely.rl.for_trl:for_trl",
    "build": "tersely.core.build:build",
    "register": "tersely.core.build:register",
    "Rollouts": "tersely.core.types:Rollouts",
    "RolloutPlan": "tersely.core.types:RolloutPlan",
    "TokenBatch": "tersely.core.types:TokenBatch",
    "PromptMemory": "tersely.core.memory:PromptMemory",
    "ConfigError": "tersely.core.errors:ConfigError",
}

if TYPE_CHECKING:
    from tersely.configs.load import load_recipe as load_recipe
    from tersely.configs.recipe import Recipe as Recipe
    from tersely.configs.recipe import Stage as Stage
    from tersely.core.build import build as build
    from tersely.core.build import register as register
    from tersely.core.component_spec import ComponentSpec as ComponentSpec
    from tersely.core.errors import ConfigError as ConfigError
    from tersely.core.memory import PromptMemory as PromptMemory
    from tersely.core.types import RolloutPlan as RolloutPlan
    from tersely.core.types import Rollouts as Rollouts
    from tersely.core.types import TokenBatch as TokenBatch
    from tersely.eval.compare import compare as compare
    from tersely.eval.engines import evaluate as evaluate
    from tersely.eval.report.write import write_report as report
    from tersely.rewards.verify import Verifier as Verifier
    from tersely.rewards.verify import verify as verify
    from tersely.rl.for_trl import for_trl as for_trl
    from tersely.rl.run import train as train

__all__ = [
    "ComponentSpec",
    "ConfigError",
    "PromptMemory",
    "Recipe",
    "RolloutPlan",
    "Rollouts",
    "Stage",
    "TokenBatch",
    "Verifier",
    "__version__",
    "build",
    "compare",
    "evaluate",
    "for_trl",
    "load_recipe",
    "register",
    "report",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tersely' has no attribute {name!r}")
    module, _, attribute = _EXPORTS[name].partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
