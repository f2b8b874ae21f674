"""Builds the verifier of a recipe's `verifier:` section, with a judge if it has one."""

from __future__ import annotations

from dataclasses import fields

from tersely.configs.verifier import JudgeSpec, VerifierSpec
from tersely.rewards.verify.judge.client import Judge
from tersely.rewards.verify.judge.judged_verifier import JudgedVerifier
from tersely.rewards.verify.verifier import Verifier


def make_verifier(spec: VerifierSpec) -> Verifier | JudgedVerifier:
    """The verifier; it starts no worker yet."""
    rule = Verifier(
        workers=spec.workers,
        timeout=spec.timeout,
        memory_mb=spec.memory_mb,
        cache=spec.cache,
        contract=spec.contract,
        policy=spec.policy,
        recycle=spec.recycle,
    )
    if spec.judge is None:
        rule.ended = spec.ended
        return rule
    judge = Judge(**{field.name: getattr(spec.judge, field.name) for field in fields(JudgeSpec)})
    judged = JudgedVerifier(rule, judge, require_boxed=spec.judge.require_boxed, extra_keys=spec.judge.extra_keys)
    judged.ended = spec.ended
    return judged
