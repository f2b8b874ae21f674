"""Checks TRL's `scale_rewards`: division by the group's spread cancels the strength of a length term.

Where all answers of a group are correct, only lengths differ; divided by their spread, a beta of 0.01 and one of 10 are the
same. Shipped presets say which advantage a term goes with.
"""

from __future__ import annotations

import sys
from typing import Any

from tersely.core.errors import ConfigError

SCALE_OF = {"group_zscore": "group", "group_mean": "none", "rloo": "none", "batch_whitened": "batch"}
"""Advantage -> TRL's scale_rewards that is closest to it."""


def calling_trainer() -> Any:
    """The GRPOTrainer that this call comes from, also through functions between; None where there is none."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        found = frame.f_locals.get("self")
        if hasattr(found, "scale_rewards") and hasattr(found, "reward_funcs"):
            return found
        frame = frame.f_back
    return None


def require_scale(reward: Any, scale: str) -> None:
    """`ConfigError` where a term goes with another `scale_rewards` than the trainer's.

    Of a term from this package its preset decides. Of one's own, `violates_outcome_order` does: it says that the term is
    large in units of the outcome, a size that division by the group's spread takes away.
    """
    for name, term in zip(reward.names, reward.terms, strict=True):
        if not type(term).__module__.startswith("tersely."):
            reason = term.violates_outcome_order
            if reason and scale == "group":
                raise ConfigError(
                    f"scale_rewards: got 'group', and reward {name} declares violates_outcome_order ({reason}): rewards are "
                    "divided by the spread of their group, so the strength of the term has no effect where all answers are "
                    "correct. Set GRPOConfig(scale_rewards='none')"
                )
            continue
        wanted = wanted_scale(name, term) if term.includes_outcome else None
        if wanted is None or scale == wanted:
            continue
        if scale == "group":
            why = (
                "rewards are divided by the spread of their group, so the strength of a length term has no effect where all "
                "answers are correct"
            )
        else:
            why = "this term's size is made for rewards divided by the spread of their group"
        raise ConfigError(
            f"reward {name} goes with GRPOConfig(scale_rewards={wanted!r}), and the trainer has {scale!r}: {why}. "
            f"Set scale_rewards={wanted!r}"
        )


def wanted_scale(name: str, term: Any) -> str | None:
    """Of the shipped preset that holds this very component, else of the preset of its name; None where either will do."""
    from tersely.configs.load import list_methods, load_method
    from tersely.core.build import build

    scales: set[str | None] = set()
    own: str | None = None
    for method in list_methods():
        preset = load_method(method)
        scale = SCALE_OF.get(_part(preset.get("advantage")).get("name", ""))
        terms = preset.get("reward")
        for spec in map(_part, terms if isinstance(terms, list) else [terms]):
            if spec.get("name") != name:
                continue
            if build("reward", {key: value for key, value in spec.items() if key != "weight"}) == term:
                scales.add(scale)
            own = scale if method == name else own
    found = scales or {own}
    if found == {own} == {"group"}:  # in units of the outcome: it works without the division as well
        return None
    return found.pop() if len(found) == 1 else None


def _part(spec: Any) -> dict[str, Any]:
    return dict(spec) if isinstance(spec, dict) else {"name": spec} if spec else {}
