"""A recipe's `verifier:` as a verifier, with and without a judge."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from tersely.configs.verifier import JUDGE_FORMATS, Policy, VerifierSpec
from tersely.rewards import Verifier
from tersely.rewards.verify.build import make_verifier
from tersely.rewards.verify.judge.judged_verifier import JudgedVerifier
from tersely.rewards.verify.judge.prompts import FORMATS

JUDGE = {"url": "http://127.0.0.1:9/v1", "model": "tiny", "format": "compass"}


def built(section: dict):
    return make_verifier(VerifierSpec.of(section))


def test_without_a_judge_it_is_the_rule():
    made = built({"contract": "boxed", "workers": 1, "policy": {"percent": "ratio"}})
    assert type(made) is Verifier and made.contract == "boxed" and made.policy.percent == "ratio"


def test_with_a_judge_the_rule_comes_first():
    made = built({"workers": 1, "judge": {**JUDGE, "timeout": "2", "require_boxed": True}})
    assert type(made) is JudgedVerifier and made.require_boxed
    assert made.judge.model == "tiny" and made.judge.timeout == 2.0 and made.verifier.workers == 1


def test_the_section_and_the_verifier_have_the_same_keys_and_defaults():
    spec = VerifierSpec()
    theirs = {name: one.default for name, one in inspect.signature(Verifier).parameters.items()}
    ours = {one.name: getattr(spec, one.name) for one in fields(spec) if one.name not in ("judge", "ended")}
    assert ours == {**theirs, "policy": Policy.of(theirs["policy"])}
    assert set(JUDGE_FORMATS) == FORMATS.keys()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"contarct": "boxed"}, "verifier.*'contarct'.*'contract'"),
        ({"timeout": -1}, "verifier.timeout"),
        ({"judge": {"url": "http://a/v1"}}, "verifier.judge.*model"),
        ({"judge": {**JUDGE, "retires": 2}}, "'retries'"),
        ({"judge": {**JUDGE, "format": "compas"}}, "judge.format"),
    ],
)
def test_what_it_cannot_be_is_said(spec, message):
    with pytest.raises(ValueError, match=message):
        VerifierSpec.of(spec)
