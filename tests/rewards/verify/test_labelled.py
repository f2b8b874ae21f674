"""Labelled answers of other projects, where the data is there: the targets of the verifier."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tersely.rewards import Verifier


def rows(shared_data, name):
    return [json.loads(line) for line in (shared_data / "verifier" / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_equivalent_answers_are_found_and_others_refused(shared_data):
    pairs = [row for row in rows(shared_data, "pairs") if "TinyV" in row["source"]]
    with Verifier(workers=2, timeout=20) as verifier:
        found = verifier.verify([row["gold"] for row in pairs], [f"\\boxed{{{row['prediction']}}}" for row in pairs])
    cells = Counter((row["label"], verdict.status) for row, verdict in zip(pairs, found, strict=True))
    assert cells[True, "correct"] >= 40
    assert cells[False, "correct"] <= 1


def test_master_keys_pay_nowhere(shared_data):
    pairs = [row for row in rows(shared_data, "pairs") if row["source"].startswith("master-keys")]
    for contract in ("boxed", "answer", "lenient"):
        with Verifier(contract=contract) as verifier:
            found = verifier.verify([row["gold"] for row in pairs], [row["prediction"] for row in pairs])
        assert sum(verdict.status == "correct" for verdict in found) == 0


def test_whole_responses_agree_with_their_labels(shared_data):
    responses = rows(shared_data, "responses")
    with Verifier(workers=2, timeout=20) as verifier:
        found = verifier.verify([row["gold"] for row in responses], [row["response"] for row in responses])
    for source in {row["source"] for row in responses}:
        same = [
            row["label"] == (verdict.status == "correct")
            for row, verdict in zip(responses, found, strict=True)
            if row["source"] == source
        ]
        assert sum(same) / len(same) >= 0.998, source
