"""Reward terms: what a rollout is worth, and the verifier that says whether it is right.

`REWARDS` is the literal dict of `registry.py`, name -> class. It is looked up on first use, so that the verifier's
worker processes, which live in this package, start without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "REWARDS": "tersely.rewards.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tersely.rewards' has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value
