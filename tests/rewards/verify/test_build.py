"""A recipe's `verifier:` as a verifier, with and without a judge."""

from __future__ import annotations

import pytest

from tersely.rewards import Verifier
from tersely.rewards.verify.build import make_verifier
from tersely.rewards.verify.judge.judged_verifier import JudgedVerifier

JUDGE = {"url": "http://127.0.0.1:9/v1", "model": "tiny", "format": "compass"}


def test_without_a_judge_it_is_the_rule():
    made = make_verifier({"contract": "boxed", "workers": 1, "policy": {"percent": "ratio"}})
    assert type(made) is Verifier and made.contract == "boxed" and made.policy.percent == "ratio"


def test_with_a_judge_the_rule_comes_first():
    made = make_verifier({"workers": 1, "judge": {**JUDGE, "timeout": "2", "require_boxed": True}})
    assert type(made) is JudgedVerifier and made.require_boxed
    assert made.judge.model == "tiny" and made.judge.timeout == 2.0 and made.verifier.workers == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"contarct": "boxed"}, "verifier has no key 'contarct'; did you mean 'contract'"),
        ({"timeout": -1}, "verifier.timeout"),
        ({"judge": {"url": "http://a/v1"}}, "verifier.judge.*model"),
        ({"judge": {**JUDGE, "retires": 2}}, "did you mean 'retries'"),
        ({"judge": {**JUDGE, "format": "compas"}}, "judge.format"),
    ],
)
def test_what_it_cannot_be_is_said(spec, message):
    with pytest.raises(ValueError, match=message):
        make_verifier(spec)
