import numpy as np

from tersely.eval.report.difficulty import reference
from tersely.eval.run_arrays import load_runs


def test_sixteen_samples_give_a_rate_a_problem(tmp_path, write_run):
    base = load_runs(write_run(tmp_path, "base", samples=16))[0]
    d = reference(base, "sums")
    b = base.benchmarks["sums"]
    assert d.by == "problem" and "16 samples" in d.text
    np.testing.assert_allclose(d.rates(b), np.nanmean(b.correct, axis=1))


def test_fewer_give_the_rate_of_the_level(tmp_path, write_run):
    base = load_runs(write_run(tmp_path, "base", samples=4))[0]
    d, b = reference(base, "sums"), base.benchmarks["sums"]
    assert d.by == "level" and len(set(d.rates(b))) <= 5
    rows = np.array(b.levels) == "2"
    np.testing.assert_allclose(d.rates(b)[rows], b.correct[rows].mean())


def test_unknown_without_levels_or_base(tmp_path, write_run):
    base = load_runs(write_run(tmp_path, "base", samples=4))[0]
    base.benchmarks["sums"].levels = [None] * 40
    assert (
        reference(base, "sums").by is None
        and reference(None, "sums").by is None
        and reference(base, "other").by is None
    )
    assert np.isnan(reference(base, "sums").rates(base.benchmarks["sums"])).all()
