"""Traces as columns, and their groups: by hand on few records, and hostile ones."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tersely.eval.analysis.table import LISTED, tables_of
from tersely.eval.analysis.text_facts import text_facts
from tersely.eval.metrics.segments import segments


def summary(records):
    (table,) = tables_of(records, "run").values()
    return table.summary()


def groups(found, by):
    return {row["name"]: row for row in found["groups"] if row["by"] == by}


def test_segments_are_between_empty_lines_or_lines():
    assert [text for _, text in segments("a\nb\n\n \n\nc</think>\n\nd")] == ["a\nb", "c"]
    assert segments("a\nb\n</think>7") == [(0, "a"), (2, "b")]
    assert segments("no line break") == [(0, "no line break")]
    assert segments("") == segments("\n\n\n") == []
    text = "first\n\nsecond\n\nthird"
    assert all(text[start:].startswith(piece) for start, piece in segments(text))


def test_the_facts_of_a_text():
    assert text_facts("Two.\n\nWait, again.\n\nAnother way: 2.</think>2") == (3, 2, 2, False)
    assert text_facts("a b " * 14).loop and not text_facts("a b " * 13).loop


def test_means_are_over_traces_then_problems(record):
    kept = {"text": "7\n8", "first_correct": 10}
    found = summary(
        [
            record(problem_id="a", sample=0, tokens=40, **kept),
            record(problem_id="a", sample=1, tokens=20, **kept),
            record(problem_id="a", sample=2, tokens=500, verdict="incorrect", **kept),
            record(problem_id="b", sample=0, tokens=10, **kept),
            record(problem_id="c", sample=0, verdict="no_answer", truncated=True, text="", first_correct=None),
        ]
    )
    (whole,) = groups(found, "all").values()
    assert (found["traces"], found["problems"], found["estimated"]) == (5, 3, 0)
    assert whole["redundant"]["mean"] == pytest.approx(((30 + 10) / 2 + 0) / 2) and whole["redundant"]["traces"] == 3
    assert whole["redundant_share"]["mean"] == pytest.approx(((0.75 + 0.5) / 2 + 0) / 2)
    assert whole["first_correct"]["mean"] == 10 and whole["segments"]["mean"] == pytest.approx((2 + 2 + 0) / 3)
    assert whole["no_answer"]["mean"] == whole["truncated"]["mean"] == pytest.approx(1 / 3)
    assert whole["redundant"]["low"] <= whole["redundant"]["mean"] <= whole["redundant"]["high"]


def test_a_recorded_position_counts_and_another_is_estimated(record):
    text = "7 = 7" + "." * 95
    recorded, estimated = (record(sample=i, text=text, tokens=100) for i in (0, 1))
    found = summary([{**recorded, "first_correct": 42}, estimated])
    (whole,) = groups(found, "all").values()
    assert found["estimated"] == 1 and whole["first_correct"]["mean"] == (42 + 5) / 2


def test_groups_by_level_pass_rate_and_family(record):
    rows = [
        record(
            problem_id=f"p{q}", sample=j, level=level, family=family, verdict="correct" if j < right else "incorrect"
        )
        for q, (level, family, right) in enumerate((("10", "x", 4), ("2", "y", 2), (None, None, 0)))
        for j in range(4)
    ]
    found = summary(rows)
    assert list(groups(found, "level")) == ["2", "10"]
    assert list(groups(found, "pass rate")) == ["1", "(0.25,0.5]", "0"]
    assert list(groups(found, "family")) == ["sums", "x", "y"], "a row without a family is of its benchmark"
    assert not groups(found, "step") and groups(summary(rows[:3]), "pass rate") == {}
    assert groups(summary([{**row, "benchmark": "b" + row["problem_id"]} for row in rows]), "level").keys() == {
        "bp0 10",
        "bp1 2",
    }


def test_the_later_record_of_a_sample_counts_and_strategies_are_apart(record):
    twice = [record(tokens=10), record(tokens=20), record(tokens=99, strategy={"name": "concise"})]
    tables = tables_of(twice, "run")
    assert list(tables) == ["base", "base + concise"]
    assert [t.summary()["groups"][0]["tokens"]["mean"] for t in tables.values()] == [20, 99]


HOSTILE = {
    "one line": "7" * 2_000_000,
    "empty lines": "\n" * 1_000_000,
    "equals": "= " * 500_000,
    "spaces": "= " + " " * 1_000_000,
    "surrogates": "\ud800 wait \udfff" * 1000,
    "markers": "wait" * 200_000,
    "boxes": "\\boxed{" * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_costs_little(record, name):
    began = time.process_time()
    found = summary(
        [record(text=HOSTILE[name], answer="8" * 50_000, gold="8" * 50_000, level="\ud800", family="\udfff")]
    )
    assert time.process_time() - began < 5 and found["traces"] == 1


def test_values_of_any_kind_become_labels_and_are_limited(record):
    rows = [record(problem_id=f"p{i}", level=f"level {i}", family={"a": i}, step="none", tokens=0) for i in range(50)]
    found = summary(rows)
    assert len(groups(found, "level")) == len(groups(found, "family")) == LISTED
    assert np.isnan(found["groups"][0]["markers"]["mean"]) and found["groups"][0]["redundant_share"]["mean"] == 0
