"""Guards against collapse and explosion, compared with the beginning of the run.

The beginning is the mean over the first `warmup` observations of a stage, in which the guard does not fire.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any, ClassVar

from tersely.configs.guards import (
    EntropyCollapseSpec,
    EntropyExplosionSpec,
    LengthCollapseSpec,
    LengthExplosionSpec,
    RelativeSpec,
    UnendingSpec,
)
from tersely.rl.guards.base import Counting

TOKENS = "efficiency/tokens_mean"
CAP_SHARE = "efficiency/cap_share"
TRUNCATED = "efficiency/truncated"


class Relative(Counting):
    """Base class of guards that compare with the beginning of the run."""

    spec: RelativeSpec
    what: ClassVar[str]

    def __init__(self, spec: RelativeSpec):
        super().__init__(spec)
        self.first: list[float] = []

    def bad(self, *values: float) -> str | None:
        if len(self.first) < self.spec.warmup:
            self.first.append(values[0])
            return None
        limit = self.spec.threshold * fmean(self.first)
        if not (values[0] <= limit if self.spec.falls else values[0] > limit):
            return None
        side = "at most" if self.spec.falls else "more than"
        return (
            f"{self.what} {values[0]:.4g}, {side} {self.spec.threshold:g} of {fmean(self.first):.4g} at the beginning"
        )

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "first": list(self.first)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.first = [float(value) for value in state["first"]]


class LengthCollapse(Relative):
    """Answers with almost no tokens: only the length term is rewarded."""

    spec: LengthCollapseSpec
    statistics, what = (TOKENS,), "tokens per completion are"
    fix = "Lower the weight of the length term, or exclude unsolved prompts with filter: any_right"


class LengthExplosion(Relative):
    """Answers that grow up to the cap: to a multiple of the beginning, or most of the way from there to the cap.

    The second test is skipped if the lengths at the beginning are already close to the cap.
    """

    spec: LengthExplosionSpec
    statistics, what = (TOKENS, CAP_SHARE), "tokens per completion are"
    fix = "Look at the completions; lower learning_rate or max_completion_length, or add a length term"

    def bad(self, *values: float) -> str | None:
        tokens, cap_share = values
        ready = len(self.first) >= self.spec.warmup
        wrong = super().bad(tokens)
        if wrong is not None or not ready or cap_share <= 0:
            return wrong
        cap, first = tokens / cap_share, fmean(self.first)
        if first > CLOSE_TO_CAP * cap or tokens < first + self.spec.to_cap * (cap - first):
            return None
        return f"{self.what} {tokens:.4g}, {cap_share:.0%} of the cap of {cap:.0f}, after {first:.4g} at the beginning"


CLOSE_TO_CAP = 0.75
"""Share of the cap above which the mean length at the beginning makes the second test meaningless."""


class Unending(Counting):
    """Completions that no longer end: most are truncated at the cap, unlike earlier in the run.

    Compares the share of completions that end with the best `warmup` consecutive observations so far, which also detects a
    run that first learns to end and then forgets it. For a run whose completions never ended, see `truncation`.
    """

    spec: UnendingSpec
    statistics = (TRUNCATED,)
    fix = (
        "Look at the completions of this step: they run to max_completion_length, often in a loop. Lower learning_rate, "
        "use lr_scheduler_type: linear, or resume from an earlier checkpoint"
    )

    def __init__(self, spec: UnendingSpec):
        super().__init__(spec)
        self.last: list[float] = []
        self.best = 0.0
        """Largest mean share of ended completions over `warmup` consecutive observations."""

    def bad(self, *values: float) -> str | None:
        ended = 1.0 - values[0]
        best = self.best
        self.last = [*self.last, ended][-self.spec.warmup :]
        if len(self.last) == self.spec.warmup:
            self.best = max(best, fmean(self.last))
        if best < RARELY_ENDED or ended >= self.spec.threshold * best:
            return None
        return (
            f"{values[0]:.0%} of the completions are truncated at the cap, after {1.0 - best:.0%} earlier in this run"
        )

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "last": list(self.last), "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.last, self.best = [float(value) for value in state["last"]], float(state["best"])


RARELY_ENDED = 0.1
"""Share of ended completions below which it can halve by chance."""


class EntropyCollapse(Relative):
    """A policy that always samples the same tokens: groups of equal rollouts have no signal."""

    spec: EntropyCollapseSpec
    statistics, what = ("entropy",), "entropy is (nats per token)"
    fix = "Lower learning_rate, raise loss {clip_high}, or use a loss that keeps entropy"


class EntropyExplosion(Relative):
    """A policy that becomes random."""

    spec: EntropyExplosionSpec
    statistics, what = ("entropy",), "entropy is (nats per token)"
    fix = "Lower learning_rate, or the temperature or entropy bonus if there is one"
