import numpy as np
import pytest

from tersely.eval.records import RecordWriter
from tersely.eval.report.pool import overthinking, shortest_known, volumes
from tersely.eval.run_arrays import load_runs


def write(folder, *records):
    with RecordWriter(folder / "records.jsonl") as writer:
        for r in records:
            writer.write(r)
    return load_runs(folder)[0]


def test_waste_against_the_shortest_of_all_runs(tmp_path, record):
    a = write(
        tmp_path / "a", record(tokens=30), record(sample=1, tokens=50), record(problem_id="q", verdict="incorrect")
    )
    b = write(tmp_path / "b", record(tokens=10), record(problem_id="q", verdict="incorrect", tokens=2))
    shortest = shortest_known([a, b], "sums")
    assert shortest == {"p0": 10.0} and shortest_known([a], "none") == {}
    found = overthinking(a, "sums", shortest)
    assert found["overthinking_score"] == 30.0 and found["overthinking_envelope"] == 10.0
    assert np.isnan(found["token_calibration"]["slope"])


def entry(name, tokens, accuracy):
    return {
        "name": name,
        "benchmarks": {"x": {"tokens_mean": tokens, "accuracy": accuracy, "budget_curve": {"budgets": [64, 128]}}},
    }


def test_volume_of_all_and_of_what_costs_nothing():
    entries = [entry("base", 64.0, 0.8), entry("base + none", 32.0, 0.5), entry("alp", 32.0, 0.9)]
    found = volumes(entries, ["base", "base + none"], "x")
    assert found == {"reference": [128, 0.5], "all": pytest.approx(2 * 0.4), "free": pytest.approx(0.3)}
    alone = volumes(entries[:1], [], "x")
    assert alone == {"reference": [128, 0.0], "all": pytest.approx(0.8), "free": None}
