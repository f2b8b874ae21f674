"""The second grader: independent, silent where it has no opinion, and its disagreements kept."""

from __future__ import annotations

import json

import pytest

from tersely.rewards import Verdict
from tersely.rewards.verify.audit import Audit, plain_grader


@pytest.mark.parametrize(
    ("gold", "answer", "opinion"),
    [
        ("18", "18.0", True),
        ("\\frac{1}{2}", "0.5", True),
        ("1,234", "1234", True),
        ("18", "19", False),
        ("x+1", "x + 1", True),
        ("x+1", "1+x", None),
        ("50\\%", "0.5", None),
        ("0.333", "1/3", None),
    ],
)
def test_the_plain_grader(gold, answer, opinion):
    assert plain_grader(gold, answer) is opinion


def test_disagreements_are_dumped_and_counted(tmp_path):
    path = tmp_path / "deep" / "audit.jsonl"
    audit = Audit(share=1.0, path=path)
    verdicts = [
        Verdict("correct", "18", "exact"),
        Verdict("correct", "19", "engine"),
        Verdict("undecided", "1", "timeout"),
    ]
    found = audit.look(["18", "18", "1"], [*verdicts])
    assert [record["answer"] for record in found] == ["19"]
    assert json.loads(path.read_text())["second"] == "incorrect"
    counts = audit.counts()
    assert (counts["audit/agree"], counts["audit/disagree"], counts["audit/skipped"]) == (1, 1, 1)
    assert counts["audit/disagreement"] == 0.5


def test_the_share_is_sampled_and_repeats():
    def sampled() -> list[str]:
        audit = Audit(share=0.25, grader=lambda gold, answer: False)
        found = audit.look([str(k) for k in range(400)], [Verdict("correct", str(k), "exact") for k in range(400)])
        return [record["gold"] for record in found]

    assert sampled() == sampled()
    assert 60 < len(sampled()) < 140


def test_a_grader_that_fails_has_no_opinion():
    audit = Audit(share=1.0, grader=lambda gold, answer: 1 / 0)
    assert audit.look(["1"], [Verdict("correct", "1", "exact")]) == []
    assert audit.counts()["audit/failed"] == 1
