"""`scorer:` of a dataset: which function grades its answers, and the score from which an answer is correct.

scorer: reasoning_gym
scorer: my_package.scorers:unit_tests
scorer: {name: my_package.scorers:unit_tests, threshold: 0.5, columns: [tests]}

A scorer is a function (answer text, row) -> bool, number or None. `row` is a dict. None and nan mean undecided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tersely.core.errors import ConfigError, check_fields, nearest, require_range

BUILT_IN = {
    "testbed": "tersely.testbed.families:score",
    "reasoning_gym": "tersely.rewards.verify.scorers.reasoning_gym:score",
}
VERIFIER = "verifier"
"""Name of the comparison with the reference answer, which is not a scorer."""
UNSOUND = frozenset({"game_of_life_halting", "coin_flip"})
"""Tasks of reasoning-gym whose scorer accepts incorrect answers (version 0.1.25: any text; 0 for a small probability). Their
answer is a word or a number, which the verifier compares, unless the dataset states `scorer: reasoning_gym`."""


@dataclass(frozen=True)
class ScorerSpec:
    """A scorer and how to use it."""

    name: str
    """`testbed`, `reasoning_gym`, or `package.module:function`."""
    threshold: float = 1.0
    """An answer is correct if its score is at least this."""
    columns: list[str] | None = None
    """The row's columns that the scorer gets in addition to problem, answer, level and source; all of them by default."""

    @classmethod
    def of(cls, value: str | Mapping[str, Any] | None, where: str) -> ScorerSpec | None:
        """Parse a spec; None for no scorer. Raises `ConfigError` for an unknown name; imports nothing."""
        if value is None or value == VERIFIER:
            return None
        if isinstance(value, Mapping):
            spec = cls(**check_fields(cls, value, f"{where}: scorer"))
        else:
            spec = cls(value)
        module, _, function = spec.name.partition(":")
        dotted = [*module.split("."), *function.split(".")]
        if spec.name not in BUILT_IN and not (function and all(part.isidentifier() for part in dotted)):
            known = (*BUILT_IN, VERIFIER)
            raise ConfigError(
                f"{where}: scorer: got {spec.name!r}; {nearest(spec.name, known)}, or package.module:function"
            )
        require_range(f"{where}: scorer: threshold", spec.threshold, above=0)
        return spec

    @classmethod
    def of_source(cls, value: str | Mapping[str, Any] | None, path: str | None, where: str) -> ScorerSpec | None:
        """As `of`; the testbed and the tasks of reasoning-gym have their own scorers by default."""
        kind, _, task = (path or "").partition(":")
        if value is None and (path == "testbed" or (kind == "reasoning_gym" and task not in UNSOUND)):
            value = kind
        return cls.of(value, where)
