import numpy as np
import pytest

from tersely.eval.metrics import pass_at_k_mean
from tersely.eval.records import RecordWriter
from tersely.eval.report.passes import passes
from tersely.eval.run_arrays import load_runs


def entry(tmp_path, record, rows, seeds=None):
    with RecordWriter(tmp_path / "records.jsonl") as writer:
        for q, verdicts in enumerate(rows):
            for j, verdict in enumerate(verdicts):
                writer.write(record(problem_id=f"p{q}", sample=j, verdict=verdict))
    b = load_runs(tmp_path)[0].benchmarks["sums"]
    b.seeds = seeds
    return passes(b)


def test_undecided_samples_are_incorrect_and_every_k_has_the_same_problems(tmp_path, record):
    rows = [["correct"] * 16, ["incorrect"] * 12 + ["undecided"] * 4, ["undecided"] * 16]
    found = entry(tmp_path, record, rows)
    assert found["pass_at_problems"] == 3
    assert [found["pass_at"][k] for k in ("1", "4", "16")] == pytest.approx([1 / 3] * 3)
    assert found["pass_at_bounds"]["16"] == pytest.approx([1 / 3, 1]) and found["majority_at"]["16"] == pytest.approx(
        1 / 3
    )
    assert found["majority_at_bounds"]["16"] == pytest.approx([1 / 3, 2 / 3]), (
        "undecided ones would vote if they were correct"
    )
    assert found["pass_at_bounds"]["1"] == pytest.approx([1 / 3, (1 + 0.25 + 1) / 3])
    values = [found["pass_at"][k] for k in ("1", "4", "16")]
    assert values == sorted(values), "pass@k cannot fall with k"


def test_k_beyond_the_samples_is_unknown_and_a_short_problem_is_left_out_of_every_k(tmp_path, record):
    rows = [["correct"] * 4, ["incorrect"] * 4, ["correct"]]
    found = entry(tmp_path, record, rows)
    assert found["pass_at_problems"] == 2 and found["pass_at"]["1"] == found["pass_at"]["4"] == 0.5
    assert np.isnan(found["pass_at"]["16"]) and np.isnan(found["majority_at"]["16"])
    assert found["mg_pass_at"]["4"] == 0.5 and np.isnan(found["mg_pass_at"]["16"])


def test_samples_of_two_seeds_are_no_samples_of_one(tmp_path, record):
    rows = [["correct"] * 4 + ["incorrect"] * 4]
    found = entry(tmp_path, record, rows, seeds=np.repeat([0, 1], 4))
    assert found["pass_at"]["4"] == 0.5 < pass_at_k_mean([[1] * 4 + [0] * 4], 4)
    assert np.isnan(found["pass_at"]["16"])
