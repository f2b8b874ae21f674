"""The `verifier:` section of a recipe: the rule's options, its judge, and its processes. docs/verifier.md gives the reasons.

verifier: {contract: answer, timeout: 5, judge: {url: http://host:8000/v1, model: ..., format: compass}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tersely.core.errors import check_fields, require_choice, require_mapping, require_range

CONTRACTS = ("boxed", "answer", "lenient")
JUDGE_FORMATS = ("word", "compass", "xverify", "general", "tinyv")


@dataclass(frozen=True)
class Policy:
    """What counts as the same answer. Each field is a rule that differs between benchmarks."""

    percent: str = "either"
    """either: 50% is 50 and 1/2; ratio: 50% is 1/2 only; sign: 50% is 50% only."""
    units: str = "optional"
    """optional: a unit may be missing on one side, two different known units differ; drop: units are ignored;
    required: both sides carry the same unit or none."""
    bases: str = "optional"
    """optional: the answer may omit the base of the reference answer, two different bases differ; drop; required."""
    list_order: str = "any"
    """any: "1, 5" equals "5, 1" (the order in a bracketed tuple always counts); kept: the order counts."""
    interval_as_set: bool = False
    """True: (1,2) is {1,2}, as math-verify has it."""
    rounded: int = 4
    """Minimum significant digits of an answer that correctly rounds an exact reference answer (one less for a decimal
    reference answer, whose author chose the precision); 0 rejects every rounded answer."""
    decimal_comma: bool = True
    """True: 1,22 equals 1.22 if the other side is written that way."""
    unevaluated: bool = False
    """True: an answer may be an unevaluated integral, sum, product or limit even if the reference answer is not."""
    angles: str = "convert"
    """convert: 30 degrees, with the sign, is pi/6; kept: degrees are degrees."""
    case: bool = False
    """True: the comparison of words is case-sensitive."""

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
        require_mapping("verifier.policy", value, "{angles: kept}")
        return cls(**check_fields(cls, value, "verifier.policy"))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class JudgeSpec:
    """A model that judges what the rule does not accept, at an OpenAI-compatible endpoint."""

    url: str
    """Address of the endpoint, ending in `/v1`."""
    model: str
    """Name of the model at the endpoint."""
    format: str = "word"
    """How the judge is asked and read: word, compass, xverify, general or tinyv."""
    concurrency: int = 8
    """Requests at the same time."""
    timeout: float = 30.0
    """Seconds of one request."""
    deadline: float = 300.0
    """Seconds of one batch; a question that is open then has no verdict."""
    retries: int = 3
    """Retries of a failed request."""
    backoff: float = 0.5
    """Seconds before the first retry; doubled for each further one."""
    cache: int = 65536
    """Number of verdicts that are remembered."""
    price_in: float = 0.0
    """Price of a million input tokens, for `judge/cost`."""
    price_out: float = 0.0
    """Price of a million output tokens, for `judge/cost`."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable with the endpoint's key, if it needs one."""

    def __post_init__(self) -> None:
        require_choice("judge.format", self.format, JUDGE_FORMATS)
        require_range("judge.concurrency", self.concurrency, at_least=1, at_most=1024)
        require_range("judge.timeout", self.timeout, above=0)
        require_range("judge.deadline", self.deadline, above=0)
        require_range("judge.retries", self.retries, at_least=0, at_most=20)
        require_range("judge.backoff", self.backoff, at_least=0)
        require_range("judge.cache", self.cache, at_least=0)
        require_range("judge.price_in", self.price_in, at_least=0)
        require_range("judge.price_out", self.price_out, at_least=0)


@dataclass(frozen=True)
class JudgeSection(JudgeSpec):
    """The `judge:` section of a recipe's `verifier:`: a judge, and the filter of its input."""

    require_boxed: bool = False
    """Ask the judge only about answers in `\\boxed{}`."""
    extra_keys: list[str] = field(default_factory=list)
    """Further texts that are never shown to the judge, because they fool it."""


@dataclass(frozen=True)
class VerifierSpec:
    """The `verifier:` section of a recipe."""

    workers: int | None = None
    """Processes for the answers that need math-verify. None: the usable cores, shared among the local ranks, at most 8."""
    timeout: float = 5.0
    """Maximum seconds per answer; then its worker is killed and the verdict is undecided."""
    memory_mb: int = 1024
    """Address space of one worker, MiB."""
    cache: int = 65536
    """Number of verdicts that are remembered, by (reference answer, answer)."""
    contract: str = "answer"
    """Where an answer must be: boxed, answer (boxed or announced) or lenient."""
    policy: Policy = field(default_factory=Policy)
    """What counts as the same answer."""
    recycle: int = 2000
    """Answers after which a worker is replaced."""
    judge: JudgeSection | None = None
    """A judge for what the rule does not accept; None for none."""
    ended: bool = True
    """An answer counts only if its completion ended by itself, so that a completion that runs to the cap after its answer
    earns nothing. False grades truncated completions as they are, as other trainers do."""

    def __post_init__(self) -> None:
        require_range("verifier.workers", self.workers, at_least=1, at_most=256)
        require_range("verifier.timeout", self.timeout, above=0, at_most=3600)
        require_range("verifier.memory_mb", self.memory_mb, at_least=256)
        require_range("verifier.cache", self.cache, at_least=0)
        require_range("verifier.recycle", self.recycle, at_least=1)
        require_choice("verifier.contract", self.contract, CONTRACTS)

    @classmethod
    def of(cls, section: Any) -> VerifierSpec:
        """Parse and check the section."""
        if isinstance(section, VerifierSpec):
            return section
        require_mapping("verifier", section, "{contract: boxed}")
        values = dict(section)
        values["policy"] = Policy.of(values.get("policy"))
        if (judge := values.get("judge")) is not None:
            require_mapping("verifier.judge", judge, "{url: http://localhost:8000/v1, model: NAME}")
            values["judge"] = JudgeSection(**check_fields(JudgeSection, judge, "verifier.judge"))
        return cls(**check_fields(cls, values, "verifier"))
