"""Registry of the guards, by their keys in a recipe's `guards:` section (`tersely.configs.guards`)."""

from __future__ import annotations

from typing import Any, ClassVar

from tersely.configs.guards import Guards, ZeroSignalSpec
from tersely.rl.guards.accuracy import AccuracyLoss, HeldOutLoss
from tersely.rl.guards.base import Counting, Guard
from tersely.rl.guards.relative import EntropyCollapse, EntropyExplosion, LengthCollapse, LengthExplosion, Unending
from tersely.rl.guards.reward_hacking import RewardHacking


class ZeroSignal(Counting):
    """Groups that are all correct or all incorrect by the raw verdict, where only length terms have a signal."""

    spec: ZeroSignalSpec
    statistics = ("groups/mixed", "groups/all_correct", "groups/all_incorrect", "efficiency/truncated")
    fix = (
        "Use other problems or a larger group_size; filter: mixed_groups with max_resample_rounds replaces such groups"
    )

    def bad(self, *values: float) -> str | None:
        mixed, right, wrong, cut = values
        if 1.0 - mixed < self.spec.threshold:
            return None
        cause = "the problems are too easy" if right >= wrong else "the problems are too hard"
        if wrong > right and cut > 0.5:
            cause = f"{cut:.0%} of the completions are truncated by max_completion_length"
        return f"{1.0 - mixed:.0%} of the groups are all correct ({right:.0%}) or all incorrect ({wrong:.0%}): {cause}"


class TooMany(Counting):
    """Base class for a share that must not exceed its threshold."""

    of: ClassVar[str]
    """Subject and verb of the message."""
    cause: ClassVar[str] = ""

    def bad(self, *values: float) -> str | None:
        if values[0] <= self.spec.threshold:
            return None
        return f"{values[0]:.0%} of the {self.of}, more than {self.spec.threshold:.0%}{self.cause}"


class Undecided(TooMany):
    """Undecided verdicts."""

    statistics = ("verify/undecided",)
    of, cause = "verdicts are undecided", ": the verifier times out, runs out of memory or crashes"
    fix = "Raise verifier {timeout, memory_mb}, or look at the completions of this step"


class Truncation(TooMany):
    """Completions truncated at the cap, independent of the share at the beginning."""

    statistics, of = ("efficiency/truncated",), "completions are truncated at the cap"
    fix = "Raise max_completion_length, use easier problems, or look at the completions"


class Repetition(TooMany):
    """Completions that end in a loop (see `tersely.rl.rollouts.repetition`)."""

    statistics, of = ("efficiency/repetitive",), "completions end in a loop"
    fix = "Look at the completions; lower learning_rate, or penalise them with reward: soft_overlong"


class Mismatch(Counting):
    """Log-prob mismatch of engine and trainer, measured in `tersely.rl.guards.mismatch`."""


class NotFinite(Guard):
    """A loss that is nan or infinite; checked after every backward pass, before the optimizer steps."""


GUARDS: dict[str, type[Any]] = {
    "length_collapse": LengthCollapse,
    "length_explosion": LengthExplosion,
    "entropy_collapse": EntropyCollapse,
    "entropy_explosion": EntropyExplosion,
    "reward_hacking": RewardHacking,
    "accuracy_loss": AccuracyLoss,
    "held_out_loss": HeldOutLoss,
    "zero_signal": ZeroSignal,
    "undecided": Undecided,
    "truncation": Truncation,
    "unending": Unending,
    "repetition": Repetition,
    "mismatch": Mismatch,
    "not_finite": NotFinite,
}


def guards_of(specs: Guards) -> dict[str, Guard]:
    """All active guards by name."""
    active = {name: getattr(specs, name) for name in GUARDS}
    return {name: GUARDS[name](spec) for name, spec in active.items() if spec is not None}
