"""The `guards:` section of a recipe: threshold, patience and action of each guard.

guards:
  length_collapse: {threshold: 0.2, patience: 5, action: roll_back}
  repetition: false                # off; all other guards are on, with their defaults

`tersely.rl.guards` has the guards themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tersely.core.errors import ConfigError, check_fields, nearest, require_choice, require_mapping, require_range

ACTIONS = ("warn", "stop", "roll_back")
WHY_NOT = {
    "warn": "the run cannot continue usefully after it",
    "roll_back": "older weights would not fix it",
}
ALWAYS_ON = ("mismatch", "not_finite")
"""Guards that cannot be turned off, because the run's numbers would be meaningless."""


@dataclass(frozen=True)
class GuardSpec:
    """`name`: key in the section; `actions`: the valid actions."""

    name: ClassVar[str]
    actions: ClassVar[tuple[str, ...]] = ACTIONS

    action: str = "warn"
    """What happens when the guard fires: warn, stop or roll_back."""

    def __post_init__(self) -> None:
        require_choice(f"guards.{self.name}.action", self.action, ACTIONS)
        if self.action not in self.actions:
            valid = " or ".join(self.actions)
            raise ConfigError(
                f"guards.{self.name}.action: got {self.action!r}; expected {valid}: {WHY_NOT.get(self.action, '')}"
            )


@dataclass(frozen=True)
class CountingSpec(GuardSpec):
    """A guard that counts consecutive bad observations. `largest`: of the threshold."""

    largest: ClassVar[float] = float("inf")

    threshold: float = 1.0
    patience: int = 1
    """Number of consecutive bad observations before the guard fires."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(f"guards.{self.name}.threshold", self.threshold, above=0, at_most=self.largest)
        require_range(f"guards.{self.name}.patience", self.patience, at_least=1)


@dataclass(frozen=True)
class ShareSpec(CountingSpec):
    """The threshold is a share, from 0 to 1."""

    largest = 1.0


@dataclass(frozen=True)
class RelativeSpec(CountingSpec):
    """The threshold is a multiple of the mean over the first `warmup` observations of a stage."""

    falls: ClassVar[bool]

    warmup: int = 5
    """Observations that make the reference."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(f"guards.{self.name}.warmup", self.warmup, at_least=1)
        bound = {"below": 1.0} if self.falls else {"above": 1.0}
        require_range(f"guards.{self.name}.threshold", self.threshold, **bound)


@dataclass(frozen=True)
class LengthCollapseSpec(RelativeSpec):
    name, falls = "length_collapse", True

    threshold: float = 0.1
    """Share of the reference's mean tokens."""
    patience: int = 3


@dataclass(frozen=True)
class LengthExplosionSpec(RelativeSpec):
    name, falls = "length_explosion", False

    threshold: float = 4.0
    """Multiple of the reference's mean tokens."""
    patience: int = 3
    to_cap: float = 0.75
    """Share of the distance from the reference's mean to the cap that counts as an explosion."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(f"guards.{self.name}.to_cap", self.to_cap, above=0, at_most=1)


@dataclass(frozen=True)
class EntropyCollapseSpec(RelativeSpec):
    name, falls = "entropy_collapse", True

    threshold: float = 0.05
    """Share of the reference's mean entropy."""
    patience: int = 5


@dataclass(frozen=True)
class EntropyExplosionSpec(RelativeSpec):
    name, falls = "entropy_explosion", False

    threshold: float = 5.0
    """Multiple of the reference's mean entropy."""
    patience: int = 3


@dataclass(frozen=True)
class RewardHackingSpec(ShareSpec):
    name = "reward_hacking"

    threshold: float = 0.05
    """Absolute fall of accuracy."""
    patience: int = 3
    tokens: float = 0.5
    """Share of the beginning's tokens below which the guard counts them as fallen."""
    window: int = 8
    """Observations in the means that are compared."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(f"guards.{self.name}.tokens", self.tokens, above=0, below=1)
        require_range(f"guards.{self.name}.window", self.window, at_least=1)


@dataclass(frozen=True)
class LossSpec(ShareSpec):
    """A guard against a loss of accuracy."""

    threshold: float = 0.1
    """Absolute fall of accuracy."""
    window: int = 1
    """Observations in the means that are compared."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(f"guards.{self.name}.window", self.window, at_least=1)


@dataclass(frozen=True)
class AccuracyLossSpec(LossSpec):
    name = "accuracy_loss"

    threshold: float = 0.15
    """Absolute fall of accuracy; wider than on the held-out set, because batches have different problems."""
    patience: int = 3
    window: int = 8


@dataclass(frozen=True)
class HeldOutLossSpec(LossSpec):
    name = "held_out_loss"


@dataclass(frozen=True)
class ZeroSignalSpec(ShareSpec):
    name = "zero_signal"

    threshold: float = 0.9
    """Share of groups."""
    patience: int = 10


@dataclass(frozen=True)
class UndecidedSpec(ShareSpec):
    name, actions = "undecided", ("warn", "stop")

    threshold: float = 0.2
    """Share of verdicts."""
    action: str = "stop"


@dataclass(frozen=True)
class TruncationSpec(ShareSpec):
    name = "truncation"

    threshold: float = 0.5
    """Share of completions."""
    patience: int = 10


@dataclass(frozen=True)
class UnendingSpec(ShareSpec):
    name = "unending"

    threshold: float = 0.5
    """Minimum share of ended completions, relative to the best so far."""
    patience: int = 3
    action: str = "stop"
    warmup: int = 5
    """Observations that make the reference."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(f"guards.{self.name}.warmup", self.warmup, at_least=1)


@dataclass(frozen=True)
class RepetitionSpec(ShareSpec):
    name = "repetition"

    threshold: float = 0.2
    """Share of completions."""
    patience: int = 3


@dataclass(frozen=True)
class MismatchSpec(CountingSpec):
    name, actions = "mismatch", ("warn", "stop")

    threshold: float = 0.05
    """Mean absolute difference, nats per token; nan exceeds it too."""
    action: str = "stop"


@dataclass(frozen=True)
class NotFiniteSpec(GuardSpec):
    name, actions = "not_finite", ("stop", "roll_back")

    action: str = "stop"


@dataclass(frozen=True)
class Guards:
    """The guards of a run; None for one that is off."""

    length_collapse: LengthCollapseSpec | None = field(default_factory=LengthCollapseSpec)
    """Answers with almost no tokens: only the length term is rewarded."""
    length_explosion: LengthExplosionSpec | None = field(default_factory=LengthExplosionSpec)
    """Answers that grow up to the cap."""
    entropy_collapse: EntropyCollapseSpec | None = field(default_factory=EntropyCollapseSpec)
    """A policy that always samples the same tokens."""
    entropy_explosion: EntropyExplosionSpec | None = field(default_factory=EntropyExplosionSpec)
    """A policy that becomes random."""
    reward_hacking: RewardHackingSpec | None = field(default_factory=RewardHackingSpec)
    """Reward rises while tokens and accuracy fall."""
    accuracy_loss: AccuracyLossSpec | None = field(default_factory=AccuracyLossSpec)
    """Accuracy on the rollouts of the training problems falls."""
    held_out_loss: HeldOutLossSpec | None = field(default_factory=HeldOutLossSpec)
    """Accuracy on the held-out set falls below the first evaluation."""
    zero_signal: ZeroSignalSpec | None = field(default_factory=ZeroSignalSpec)
    """Groups that are all correct or all incorrect."""
    undecided: UndecidedSpec | None = field(default_factory=UndecidedSpec)
    """Undecided verdicts."""
    truncation: TruncationSpec | None = field(default_factory=TruncationSpec)
    """Completions truncated at the cap."""
    unending: UnendingSpec | None = field(default_factory=UnendingSpec)
    """Completions that no longer end, unlike earlier in the run."""
    repetition: RepetitionSpec | None = field(default_factory=RepetitionSpec)
    """Completions that end in a loop."""
    mismatch: MismatchSpec = field(default_factory=MismatchSpec)
    """Log-prob mismatch of engine and trainer."""
    not_finite: NotFiniteSpec = field(default_factory=NotFiniteSpec)
    """A loss that is nan or infinite."""

    @classmethod
    def of(cls, section: Any) -> Guards:
        """Parse and check the section."""
        if isinstance(section, Guards):
            return section
        require_mapping("guards", section, "{repetition: {action: stop}}")
        specs: dict[str, Any] = {one.name: one.default_factory for one in dataclasses.fields(cls)}
        for name, values in section.items():
            if name not in specs:
                raise ConfigError(f"unknown guard {name!r}; {nearest(str(name), specs)}")
            if values is False and name in ALWAYS_ON:
                raise ConfigError(
                    f"guards.{name}: got false; this guard cannot be turned off. Set its threshold or action"
                )
            if values is not False and not isinstance(values, Mapping):
                raise ConfigError(
                    f"guards.{name}: got {values!r}; expected false, or a mapping of threshold, patience, action"
                )
        parsed: dict[str, Any] = {
            name: None if values is False else specs[name](**check_fields(specs[name], values, f"guards.{name}"))
            for name, values in section.items()
        }
        return cls(**parsed)
