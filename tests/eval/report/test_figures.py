import pytest

from tersely.eval.report.data import report_data
from tersely.eval.report.figures import benchmark_figures
from tersely.eval.report.svg import available, svg
from tersely.eval.run_arrays import load_runs


@pytest.fixture
def entries(runs):
    loaded = [load_runs(folder)[0] for folder in runs]
    data = report_data(loaded, loaded[0])
    return [(i, run["name"], run["benchmarks"]["sums"]) for i, run in enumerate(data["runs"])]


def test_every_figure_has_words_and_data(entries):
    figures = benchmark_figures("b", entries)
    assert [f.title for f in figures] == [
        "Accuracy against tokens",
        "Accuracy at a budget",
        "Tokens by difficulty",
        "Tokens by verdict",
        "First correct answer",
        "Redundant tokens",
    ]
    for f in figures:
        assert "base" in f.alt and "short" in f.alt and all(len(row) == len(f.head) for row in f.rows) and f.rows
    assert len({f.key for f in figures}) == 6


def test_the_data_behind_the_figures(entries):
    front, budget, level, verdict, first, redundant = benchmark_figures("b", entries)
    short = entries[1][2]
    assert front.rows[1][:2] == ["short", f"{short['tokens_mean']:.1f}"] and front.rows[1][-1] == "yes"
    assert budget.rows[-1][2] == f"{100 * short['accuracy']:.1f} %"
    assert [row[1] for row in level.rows[:5]] == ["2", "3", "4", "5", "6"]
    assert {row[1] for row in verdict.rows} == {"correct", "incorrect"}
    assert "Estimated from characters" in first.alt
    assert [row[1] for row in redundant.rows[:5]] == ["2", "3", "4", "5", "6"] and redundant.rows[0][-1] > 0


def test_without_levels_the_reference_orders(entries):
    for _, _, e in entries:
        e["by_level"] = {}
    assert benchmark_figures("b", entries)[2].head[1].startswith("solve rate of the reference")


@pytest.mark.skipif(not available(), reason="matplotlib is not installed (extra: plots)")
def test_every_figure_can_be_drawn_also_from_nothing(entries):
    for f in benchmark_figures("b", entries):
        assert svg(f).startswith("<svg")
    hollow = {
        "accuracy": None,
        "tokens_mean": None,
        "tokens_ci": [None, None],
        "accuracy_ci": [None, None],
        "by_level": {},
        "by_difficulty": [],
        "adaptation_ratio": None,
        "budget_auc": None,
        "budget_curve": {"budgets": [8, 16], "accuracy": [None, None], "low": [None, None], "high": [None, None]},
        "tokens_by_verdict": {
            v: dict.fromkeys(("p25", "median", "p75", "p95", "mean")) | {"samples": 0}
            for v in ("correct", "incorrect", "no_answer", "undecided")
        },
        "redundancy": {"by_level": {}, "by_difficulty": {}},
        "first_correct": {"samples": 0, "histogram": [0] * 10, "estimated_samples": 0},
    }
    for f in benchmark_figures("b", [(0, "none", hollow)]):
        assert svg(f).startswith("<svg")
