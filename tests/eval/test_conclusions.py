"""False conclusions, counted on simulated evaluations that go through `compare`."""

import importlib.util
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[2] / "benchmarks" / "conclusions.py"


@pytest.fixture(scope="module")
def simulation():
    spec = importlib.util.spec_from_file_location("conclusions", PLACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("problems", [2, pytest.param(8, marks=pytest.mark.exhaustive), 30])
def test_false_conclusions_are_rare(simulation, problems):
    found = simulation.share(problems, 4, 0.05, 0.05, draws=200)
    assert found["fewer"] <= 0.05 and found["not_worse"] <= 0.05
    if problems == 2:
        assert found["fewer"] == 0, "two problems cannot give p < 0.05"
