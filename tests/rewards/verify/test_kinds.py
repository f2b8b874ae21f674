"""Labelled responses, with their prompts, by the kind of rule that each guards; see kinds.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tersely.rewards import Verifier

GROUPS = json.loads((Path(__file__).parent / "kinds.json").read_text(encoding="utf-8"))
KINDS = sorted({group["kind"].partition(":")[0] for group in GROUPS})


@pytest.fixture(scope="module")
def verifier():
    with Verifier(workers=1, timeout=20) as opened:
        yield opened


@pytest.mark.parametrize("kind", KINDS)
def test_correct_responses_are_paid_and_no_other(kind, verifier):
    rows = [
        (group["gold"], response, group.get("prompt", ""), label)
        for group in GROUPS
        if group["kind"].partition(":")[0] == kind
        for label in ("correct", "incorrect")
        for response in group[label]
    ]
    golds, responses, prompts, labels = (list(column) for column in zip(*rows, strict=True))
    verdicts = verifier.verify(golds, responses, prompts)
    allowed = {"correct": {"correct"}, "incorrect": {"incorrect", "no_answer"}}
    off = [
        (label, gold, response, verdict.status, verdict.path)
        for gold, response, label, verdict in zip(golds, responses, labels, verdicts, strict=True)
        if verdict.status not in allowed[label]
    ]
    assert not off, off
