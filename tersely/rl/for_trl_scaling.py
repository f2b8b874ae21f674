"""Checks TRL's `scale_rewards`: division by the group's spread cancels the strength of a length term.

In an all-correct group only lengths differ; divided by their spread, a beta of 0.01 and one of 10 give the same advantages.
The shipped presets have the advantage for each term.
"""

from __future__ import annotations

import sys
from typing import Any

from tersely.core.errors import ConfigError

SCALE_OF = {"group_zscore": "group", "group_mean": "none", "rloo": "none", "batch_whitened": "batch"}
"""Advantage -> closest value of TRL's scale_rewards."""


def calling_trainer() -> Any:
    """The calling GRPOTrainer, found on the call stack; None if there is none."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        found = frame.f_locals.get("self")
        if hasattr(found, "scale_rewards") and hasattr(found, "reward_funcs"):
            return found
        frame = frame.f_back
    return None


def require_scale(reward: Any, scale: str) -> None:
    """Raise `ConfigError` if a term needs another `scale_rewards` than the trainer's.

    For a shipped term its preset decides. For an external one `violates_outcome_order` does: it means that the term is large in
    units of the outcome, a size that division by the group's spread removes.
    """
    for name, term in zip(reward.names, reward.terms, strict=True):
        if not type(term).__module__.startswith("tersely."):
            reason = term.violates_outcome_order
            if reason and scale == "group":
                raise ConfigError(
                    f"scale_rewards: got 'group'; reward {name} declares violates_outcome_order ({reason}): rewards are "
                    "divided by the spread of their group, so the strength of the term has no effect when all answers are "
                    "correct. Set GRPOConfig(scale_rewards='none')"
                )
            continue
        wanted = wanted_scale(name, term) if term.includes_outcome else None
        if wanted is None or scale == wanted:
            continue
        if scale == "group":
            why = (
                "rewards are divided by the spread of their group, so the strength of a length term has no effect when all "
                "answers are correct"
            )
        else:
            why = "the size of this term is chosen for rewards divided by the spread of their group"
        raise ConfigError(
            f"reward {name} needs GRPOConfig(scale_rewards={wanted!r}), the trainer has {scale!r}: {why}. "
            f"Set scale_rewards={wanted!r}"
        )


def wanted_scale(name: str, term: Any) -> str | None:
    """scale_rewards of the preset with this component, else of the preset of its name; None if any value works."""
    from tersely.configs.load import list_methods, load_method
    from tersely.core.build import build

    scales: set[str | None] = set()
    expected: str | None = None
    for method in list_methods():
        preset = load_method(method)
        scale = SCALE_OF.get(_part(preset.get("advantage")).get("name", ""))
        terms = preset.get("reward")
        for spec in map(_part, terms if isinstance(terms, list) else [terms]):
            if spec.get("name") != name:
                continue
            if build("reward", {key: value for key, value in spec.items() if key != "weight"}) == term:
                scales.add(scale)
            expected = scale if method == name else expected
    found = scales or {expected}
    if found == {expected} == {"group"}:  # in units of the outcome, so it also works without the division
        return None
    return found.pop() if len(found) == 1 else None


def _part(spec: Any) -> dict[str, Any]:
    return dict(spec) if isinstance(spec, dict) else {"name": spec} if spec else {}
