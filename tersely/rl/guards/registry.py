"""Registry of the guards, and the recipe's `guards:` section.

guards:
  length_collapse: {threshold: 0.2, patience: 5, action: roll_back}
  repetition: false                # off; all other guards are on, with their defaults
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tersely.core.errors import ConfigError, check_fields, nearest
from tersely.rl.guards.accuracy import AccuracyLoss, HeldOutLoss
from tersely.rl.guards.base import Counting, Guard, Share
from tersely.rl.guards.relative import EntropyCollapse, EntropyExplosion, LengthCollapse, LengthExplosion, Unending
from tersely.rl.guards.reward_hacking import RewardHacking


@dataclass
class ZeroSignal(Share):
    """Groups that are all correct or all incorrect by the raw verdict, where only length terms have a signal."""

    name = "zero_signal"
    statistics = ("groups/mixed", "groups/all_right", "groups/all_wrong", "efficiency/truncated")
    fix = (
        "Use other problems or a larger group_size; filter: mixed_groups with max_resample_rounds replaces such groups"
    )

    threshold: float = 0.9
    """Share of groups."""
    patience: int = 10

    def bad(self, *values: float) -> str | None:
        mixed, right, wrong, cut = values
        if 1.0 - mixed < self.threshold:
            return None
        cause = "the problems are too easy" if right >= wrong else "the problems are too hard"
        if wrong > right and cut > 0.5:
            cause = f"{cut:.0%} of the completions are truncated by max_completion_length"
        return f"{1.0 - mixed:.0%} of the groups are all correct ({right:.0%}) or all incorrect ({wrong:.0%}): {cause}"


@dataclass
class TooMany(Share):
    """Base class for a share that must not exceed its threshold."""

    of: ClassVar[str]
    """Subject and verb of the message."""
    cause: ClassVar[str] = ""

    def bad(self, *values: float) -> str | None:
        if values[0] <= self.threshold:
            return None
        return f"{values[0]:.0%} of the {self.of}, more than {self.threshold:.0%}{self.cause}"


@dataclass
class Undecided(TooMany):
    """Undecided verdicts."""

    name, statistics, actions = "undecided", ("verify/undecided",), ("warn", "stop")
    of, cause = "verdicts are undecided", ": the verifier times out, runs out of memory or crashes"
    fix = "Raise verifier {timeout, memory_mb}, or look at the completions of this step"

    threshold: float = 0.2
    """Share of verdicts."""
    action: str = "stop"


@dataclass
class Truncation(TooMany):
    """Completions truncated at the cap, independent of the share at the beginning."""

    name, statistics, of = "truncation", ("efficiency/truncated",), "completions are truncated at the cap"
    fix = "Raise max_completion_length, use easier problems, or look at the completions"

    threshold: float = 0.5
    """Share of completions."""
    patience: int = 10


@dataclass
class Repetition(TooMany):
    """Completions that end in a loop (see `tersely.rl.rollouts.repetition`)."""

    name, statistics, of = "repetition", ("efficiency/repetitive",), "completions end in a loop"
    fix = "Look at the completions; lower learning_rate, or penalise them with reward: soft_overlong"

    threshold: float = 0.2
    """Share of completions."""
    patience: int = 3


@dataclass
class Mismatch(Counting):
    """Log-prob mismatch of engine and trainer, measured in `tersely.rl.guards.mismatch`."""

    name, actions = "mismatch", ("warn", "stop")

    threshold: float = 0.05
    """Mean absolute difference, nats per token; nan exceeds it too."""
    action: str = "stop"


@dataclass
class NotFinite(Guard):
    """A loss that is nan or infinite; checked after every backward pass, before the optimiser steps."""

    name, actions = "not_finite", ("stop", "roll_back")

    action: str = "stop"


GUARDS: dict[str, type[Guard]] = {
    cls.name: cls
    for cls in (
        LengthCollapse,
        LengthExplosion,
        EntropyCollapse,
        EntropyExplosion,
        RewardHacking,
        AccuracyLoss,
        HeldOutLoss,
        ZeroSignal,
        Undecided,
        Truncation,
        Unending,
        Repetition,
        Mismatch,
        NotFinite,
    )
}
ALWAYS_ON = ("mismatch", "not_finite")
"""Guards that cannot be turned off, because the run's numbers would be meaningless."""


def guards_of(section: Any) -> dict[str, Guard]:
    """All active guards by name. Raises `ConfigError` for an invalid section."""
    if not isinstance(section, Mapping):
        raise ConfigError(
            f"guards: got {section!r}; expected a mapping of guards, such as {{repetition: {{action: stop}}}}"
        )
    for name, values in section.items():
        if name not in GUARDS:
            raise ConfigError(f"unknown guard {name!r}; {nearest(str(name), GUARDS)}")
        if values is False and name in ALWAYS_ON:
            raise ConfigError(f"guards.{name}: got false; this guard cannot be turned off. Set its threshold or action")
        if values is not False and not isinstance(values, Mapping):
            raise ConfigError(
                f"guards.{name}: got {values!r}; expected false, or a mapping of threshold, patience, action"
            )
    on = {name: section.get(name, {}) for name in GUARDS}
    return {
        name: GUARDS[name](**check_fields(GUARDS[name], values, where=f"guards.{name}"))
        for name, values in on.items()
        if values is not False
    }
