"""Guards of a run, each with a threshold, a patience and an action, from the recipe's `guards:` section."""

from __future__ import annotations

from tersely.rl.errors import RunStopped

__all__ = ["RunStopped"]
