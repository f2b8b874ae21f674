"""The reference curves of a report: from the base's samples to the figure."""

import numpy as np
import pytest

from tersely.eval.metrics.allocation import oracle_allocation, uniform_cap
from tersely.eval.report.allocation import POINTS, reference_curves
from tersely.eval.report.data import report_data
from tersely.eval.report.figures_allocation import ideal_budgets
from tersely.eval.report.svg import available, svg
from tersely.eval.run_arrays import ARRAYS, load_runs


@pytest.fixture
def loaded(runs):
    return [load_runs(folder)[0] for folder in runs]


def test_the_curves_are_those_of_the_base(loaded):
    found = reference_curves(loaded[0], "sums")
    records = loaded[0].benchmarks["sums"]
    assert found["of"] == "base" and found["samples"] == records.tokens.shape[1]
    for name, curve in (("uniform_cap", uniform_cap), ("oracle_allocation", oracle_allocation)):
        tokens, accuracy = curve(records.tokens, records.correct_ended)
        assert set(found[name]["tokens"]) <= set(tokens) and len(found[name]["tokens"]) <= POINTS
        assert found[name]["accuracy"][-1] == accuracy[-1]
        assert np.all(np.diff(found[name]["tokens"]) >= 0)
    assert reference_curves(None, "sums") is None and reference_curves(loaded[0], "other") is None


def test_the_figure_shows_both_curves_and_the_runs(loaded):
    data = report_data(loaded, loaded[0])
    entries = [(i, run["name"], run["benchmarks"]["sums"]) for i, run in enumerate(data["runs"])]
    figure = ideal_budgets("i", data["allocation"]["sums"], entries)
    assert [name for _, name in figure.legend] == ["base", "short"]
    assert len({row[0] for row in figure.rows}) == 2 and "base" in figure.alt
    assert ideal_budgets("i", None, entries) is None
    if available():
        assert svg(figure).startswith("<svg")


def test_one_sample_per_problem_has_no_curve(loaded):
    records = loaded[0].benchmarks["sums"]
    for name in ARRAYS:
        setattr(records, name, getattr(records, name)[:, :1])
    assert reference_curves(loaded[0], "sums") is None
