import pytest

from tersely.eval.report.data import report_data
from tersely.eval.report.frontier import free_runs, held_against
from tersely.eval.report.markdown import markdown
from tersely.eval.run_arrays import load_runs


@pytest.fixture
def loaded(tmp_path, write_run):
    write_run(tmp_path / "base", "base")
    write_run(tmp_path / "base", "base", scale=0.4, seed=2, strategy="no_thinking")
    write_run(tmp_path / "long", "long", scale=0.9, gain=-0.3, seed=3)
    write_run(tmp_path / "good", "good", scale=0.2, gain=0.1, seed=4)
    return [run for name in ("base", "long", "good") for run in load_runs(tmp_path / name)]


def test_strategies_of_the_base_are_free(loaded):
    base = loaded[0]
    assert [run.name for run in free_runs(loaded, base)] == ["base + no_thinking"] and free_runs(loaded, None) == []
    loaded[2].strategy, loaded[2].card = "concise", {"model": "m"}
    base.card = {"model": "m"}
    assert len(free_runs(loaded, base)) == 2


def test_a_trained_run_under_the_frontier_is_told_so(loaded):
    free = free_runs(loaded, loaded[0])
    (against,) = held_against(loaded[2], free, "sums")
    assert against["dominates"] and against["probability"] == 1.0
    assert not held_against(loaded[3], free, "sums")[0]["dominates"]
    data = report_data(loaded, loaded[0])
    assert data["free"] == ["base", "base + no_thinking"]
    text = markdown(data)
    assert text.count("does better without training") == 1 and "no thinking does better" in text
