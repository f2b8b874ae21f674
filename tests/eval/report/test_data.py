import json

import numpy as np
import pytest
from scipy.stats import binomtest

from tersely.eval import metrics
from tersely.eval.records import RecordWriter
from tersely.eval.report.budget import budget_grid
from tersely.eval.report.compare import compare_all
from tersely.eval.report.data import clean, report_data
from tersely.eval.run_arrays import load_runs


@pytest.fixture
def data(runs):
    base, short = (load_runs(folder)[0] for folder in runs)
    return report_data([base, short], base), base, short


def test_schema_and_numbers_of_a_run(data):
    data, _, short = data
    entry = data["runs"][1]["benchmarks"]["sums"]
    b = short.benchmarks["sums"]
    assert entry["accuracy"] == pytest.approx(np.mean(b.correct)) and entry["tokens_mean"] == pytest.approx(
        np.mean(b.tokens)
    )
    assert entry["accuracy_ci"][0] < entry["accuracy"] < entry["accuracy_ci"][1] and entry["truncated"] == 0
    assert list(entry["by_level"]) == ["2", "3", "4", "5", "6"]
    level = np.array(b.levels) == "3"
    assert entry["by_level"]["3"] == {
        "accuracy": pytest.approx(b.correct[level].mean()),
        "problems": 8,
        "tokens_mean": pytest.approx(b.tokens[level].mean()),
    }
    assert entry["adaptation_ratio"] > 1.5 and data["difficulty"]["sums"].startswith("mean solve rate of base")
    easy = np.isin(b.levels, ["2", "3"])  # the base solves these two levels best, and the median problem is of level 4
    area, accuracy = metrics.auc_oaa(b.correct[easy], b.thinking_tokens[easy]), np.mean(b.correct[~easy])
    assert entry["f1_otb"] == pytest.approx(2 * area * accuracy / (area + accuracy))
    curve = entry["budget_curve"]
    assert all(lo <= a <= hi for lo, a, hi in zip(curve["low"], curve["accuracy"], curve["high"], strict=False))
    assert sum(entry["first_correct"]["histogram"]) == pytest.approx(1)
    json.dumps(data, allow_nan=False)


def test_comparison_equals_the_paired_metrics(data):
    data, base, short = data
    (c,) = data["comparisons"]
    a, b = short.benchmarks["sums"], base.benchmarks["sums"]
    assert c["tokens_change"] == pytest.approx(metrics.compression_ratio(a.tokens, b.tokens) - 1)
    assert c["accuracy_change"] == pytest.approx(np.mean(a.correct) - np.mean(b.correct))
    assert c["tokens_change_ci"][0] < -0.45 and c["tokens_change_ci"][1] > -0.55 and c["tokens_conclusion"] == "fewer"
    assert c["aes"]["score"] == pytest.approx(
        metrics.accuracy_efficiency_score(np.mean(a.correct), np.mean(a.tokens), np.mean(b.correct), np.mean(b.tokens))
    )
    assert c["problems"] == 40 and c["dominance_probability"] <= 1 and c["accuracy_p"] == c["accuracy_p_holm"]
    gaps = np.mean(a.correct, axis=1) - np.mean(b.correct, axis=1)
    assert c["accuracy_change_se"] == pytest.approx(np.std(gaps, ddof=1) / np.sqrt(40))
    shorter = int((np.mean(a.tokens, axis=1) < np.mean(b.tokens, axis=1)).sum())
    assert c["tokens_sign_p"] == pytest.approx(binomtest(shorter, 40).pvalue) and c["accuracy_mcnemar_p"] is None


def test_mcnemar_for_one_sample_per_problem(write_run, tmp_path):
    runs = [load_runs(write_run(tmp_path / name, name, samples=1, seed=i))[0] for i, name in enumerate("ab")]
    a, b = (run.benchmarks["sums"].correct[:, 0] for run in runs)
    gained, lost = int((a > b).sum()), int((a < b).sum())
    (c,) = compare_all(runs[:1], runs[1])
    assert gained and lost and c["accuracy_mcnemar_p"] == pytest.approx(binomtest(gained, gained + lost).pvalue)


def test_pairs_only_what_both_have(tmp_path, record, write_run):
    base = load_runs(write_run(tmp_path / "a", "a", problems=20))[0]
    with RecordWriter(tmp_path / "b" / "records.jsonl") as writer:
        for q in reversed(range(10, 30)):
            writer.write(record("b", problem_id=f"p{q}", tokens=5))
        writer.write(record("b", benchmark="alone"))
    run = load_runs(tmp_path / "b")[0]
    (c,) = report_data([base, run], base)["comparisons"]
    b = base.benchmarks["sums"]
    assert (c["problems"], c["problems_run"], c["problems_base"]) == (10, 20, 20)
    assert c["tokens_change"] == pytest.approx(5 / b.tokens[b.rows([f"p{q}" for q in range(10, 20)])].mean() - 1)


def test_one_sample_all_wrong_undecided_and_empty(tmp_path, record):
    with RecordWriter(tmp_path / "a" / "records.jsonl") as writer:
        writer.write(record("a", verdict="undecided", tokens=0))
        writer.write(record("a", problem_id="p1", verdict="no_answer", tokens=3))
    base = load_runs(tmp_path / "a")[0]
    other = load_runs(tmp_path / "a")[0]
    data = report_data([base, other], base)
    entry = data["runs"][0]["benchmarks"]["sums"]
    assert entry["accuracy"] == 0 and entry["undecided"] == 0.5 and entry["accuracy_bounds"] == [0, 0.5]
    assert data["comparisons"][0]["tokens_change"] == 0 and data["comparisons"][0]["accuracy_change"] == 0
    json.dumps(data, allow_nan=False)


def test_what_ended_the_samples(tmp_path, record):
    with RecordWriter(tmp_path / "records.jsonl") as writer:
        for i, (finish, verdict) in enumerate(
            [("stopped_early", "correct"), ("stopped_early", "incorrect"), ("stop", "undecided")]
        ):
            writer.write(record(sample=i, finish=finish, verdict=verdict, tokens=10 * (i + 1)))
    entry = report_data(load_runs(tmp_path), None)["runs"][0]["benchmarks"]["sums"]
    assert entry["by_finish"] == {
        "stop": {"samples": 1, "accuracy": None, "tokens_mean": 30},
        "stopped_early": {"samples": 2, "accuracy": 0.5, "tokens_mean": 15},
    }


def test_grid_follows_the_lengths(runs):
    b = load_runs(runs[0])[0].benchmarks["sums"]
    assert budget_grid([b])[0] == 8 and budget_grid([b])[-1] >= np.nanmax(b.tokens)
    b.tokens = b.tokens * 200
    assert budget_grid([b])[:4] == [512, 1024, 2048, 4096]


def test_clean_is_plain_json():
    assert clean({1: np.float64("nan"), "a": (np.inf, np.int64(3), np.array([1.5]))}) == {
        "1": None,
        "a": [None, 3, [1.5]],
    }
