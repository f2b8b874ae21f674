"""Reward terms, one method per file, and the verifier that checks answers (`verify`).

`REWARDS` is the dict of `registry.py`, name -> class. It is imported on first use, so that the verifier's worker
processes start without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "REWARDS": "tersely.rewards.registry",
    "Verdict": "tersely.rewards.verify",
    "Verifier": "tersely.rewards.verify",
    "verify": "tersely.rewards.verify",  # the package itself, which is callable
    "for_trl": "tersely.rl.for_trl",
    "with_prompting": "tersely.rl.for_trl",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tersely.rewards' has no attribute {name!r}")
    module = import_module(_EXPORTS[name])
    value = module if name == "verify" else getattr(module, name)
    globals()[name] = value
    return value
