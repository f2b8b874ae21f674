import json

import numpy as np
import pytest

from tersely.eval import metrics
from tersely.eval.records import RecordWriter
from tersely.eval.report.budget import adherence, forced_curves, grid_of
from tersely.eval.report.data import report_data
from tersely.eval.report.write import load_all
from tersely.eval.run_arrays import load_runs


@pytest.fixture
def forced(tmp_path, write_run):
    """A base, its forced answers at three budgets, and a run that was asked for 20 tokens."""
    write_run(tmp_path / "base", "base")
    for budget, scale in ((0, 0.1), (16, 0.4), (32, 0.7)):
        strategy = {"name": "forced_answer", "budget": budget, "answer_prefix": "boxed"}
        write_run(tmp_path / "base", "base", scale=scale, gain=scale - 1, seed=budget, strategy=strategy)
    write_run(tmp_path / "asked", "asked", strategy={"name": "budget_prompt", "tokens": 20}, budget=20.0)
    return load_all([tmp_path / "base", tmp_path / "asked"])


def test_one_forced_curve(forced):
    data = report_data(forced, forced[0])
    (curve,) = data["forced"]["sums"]
    assert (curve["of"], curve["form"], curve["budgets"]) == ("base", "answer_prefix=boxed", [0, 16, 32])
    assert curve["auc"] == pytest.approx(metrics.budget_auc([16, 32], curve["accuracy"][1:]))
    thinking = [run.benchmarks["sums"].thinking_tokens.mean() for run in forced[2:4]]
    kept = [spent <= budget for spent, budget in zip(thinking, (16, 32), strict=True)]
    assert curve["s1_control"] == pytest.approx(np.mean(kept))
    assert curve["tokens_mean"] == sorted(curve["tokens_mean"])
    assert forced_curves(forced[:2], data["runs"][:2], "sums") == [], "one budget is no curve"
    assert data["free"] == ["base", *(run.name for run in forced[1:4])]


def test_adherence(forced):
    b = forced[4].benchmarks["sums"]
    found = adherence(b)
    off = (b.tokens - 20) / 20
    assert found["requested_mean"] == 20 and found["samples"] == b.tokens.size
    assert found["deviation"]["mean"] == pytest.approx(np.abs(off).mean())
    assert found["violation_rate"] == pytest.approx((b.tokens > 20).mean())
    assert adherence(forced[0].benchmarks["sums"]) is None


def test_the_grid_that_an_evaluation_was_told(forced, tmp_path):
    assert grid_of(forced, "sums")[0] == 8
    (tmp_path / "asked" / "run.json").write_text(json.dumps({"settings": {"sums": {"budgets": [10, 30]}}}))
    assert grid_of(load_runs(tmp_path / "asked"), "sums") == [10, 30]


def test_second_opinions_of_records(tmp_path, record):
    from tersely.eval.report.audit import audit_of

    with RecordWriter(tmp_path / "records.jsonl") as writer:
        for i, (verdict, second) in enumerate(
            [("correct", "correct"), ("correct", "incorrect"), ("incorrect", None), ("incorrect", "incorrect")]
        ):
            writer.write(record(sample=i, verdict=verdict, second=second))
    audit = audit_of(load_runs(tmp_path)[0])
    assert (audit["checked"], audit["agreed"], audit["left_out"]) == (3, 2, 0)
    assert audit["pairs"] == [("correct", "correct", 1), ("correct", "incorrect", 1), ("incorrect", "incorrect", 1)]
    assert audit["disagreements"][0]["verdict"] == "correct" and audit["disagreements"][0]["problem_id"] == "p0"
