"""Options where graders differ. docs/verifier.md gives the reason for each default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tersely.core.errors import ConfigError, check_fields, require_choice, require_range


@dataclass(frozen=True)
class Policy:
    """What counts as the same answer. Every field is one looseness that benchmarks treat differently."""

    percent: str = "either"
    """either: 50% is 50 and 1/2; ratio: 50% is 1/2 only; sign: 50% is 50% only."""
    units: str = "optional"
    """optional: a unit may be missing on one side, two different known units differ; drop: units mean nothing;
    required: both sides carry the same unit or none."""
    bases: str = "optional"
    """optional: the answer may leave the gold's base out, two different bases differ; drop; required."""
    list_order: str = "any"
    """any: "1, 5" is "5, 1" (a tuple in brackets always keeps its order); kept."""
    interval_as_set: bool = False
    """True: (1,2) is {1,2}, as math-verify has it."""
    rounded: int = 4
    """Significant digits from which an answer that rounds the exact gold correctly is right (a gold that is itself a
    decimal needs one less: its author chose the precision); 0 refuses all."""
    decimal_comma: bool = True
    """True: 1,22 is 1.22 when the other side spells it so."""
    unevaluated: bool = False
    """True: an answer may be an unevaluated integral, sum, product or limit where the gold is none."""
    angles: str = "convert"
    """convert: 30 degrees, with the sign, is pi/6; kept: degrees are degrees."""
    case: bool = False
    """True: words are compared with their case."""

    def __post_init__(self) -> None:
        require_choice("policy.percent", self.percent, ("either", "ratio", "sign"))
        require_choice("policy.units", self.units, ("optional", "drop", "required"))
        require_choice("policy.bases", self.bases, ("optional", "drop", "required"))
        require_choice("policy.list_order", self.list_order, ("any", "kept"))
        require_choice("policy.angles", self.angles, ("convert", "kept"))
        require_range("policy.rounded", self.rounded, at_least=0, at_most=15)

    @classmethod
    def of(cls, value: Policy | Mapping[str, Any] | None) -> Policy:
        """A policy from a policy, a mapping of fields (YAML) or None."""
        if value is None:
            return cls()
        if isinstance(value, Policy):
            return value
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"verifier.policy is {value!r}; it must be a mapping of {', '.join(f.name for f in fields(cls))}"
            )
        return cls(**check_fields(cls, value, "verifier.policy"))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
