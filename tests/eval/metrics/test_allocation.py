"""Uniform caps and the best allocation: known curves, order, and what the numbers cannot do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.properties import examples

from tersely.eval.metrics.allocation import accuracy_at, needs, oracle_allocation, uniform_cap

# an easy problem that needs 10 tokens of 20, a hard one that needs 100 of 200, and one that is never solved
LENGTHS = [[10, 30], [100, 300], [50, 70]]
CORRECT = [[1, 1], [1, 0], [0, np.nan]]


def test_known_needs():
    assert needs(LENGTHS, CORRECT).tolist() == [10, 100, np.inf]


def test_known_uniform_curve():
    cost, accuracy = uniform_cap(LENGTHS, CORRECT)
    found = dict(zip(cost.round(6).tolist(), accuracy.round(6).tolist(), strict=True))
    # caps 0, 10, 20, 60, 100, 200
    assert found == {
        0.0: 0.0,
        10.0: round(1 / 3, 6),
        20.0: round(1 / 3, 6),
        round(140 / 3, 6): round(1 / 3, 6),
        60.0: 0.5,
        round(280 / 3, 6): 0.5,
    }


def test_known_allocation():
    cost, accuracy = oracle_allocation(LENGTHS, CORRECT)
    assert cost == pytest.approx([0, 10 / 3, 110 / 3]) and accuracy == pytest.approx([0, 1 / 3, 0.5])
    assert accuracy_at((cost, accuracy), 30) == pytest.approx(1 / 3) and accuracy_at((cost, accuracy), 37) == 0.5


samples = st.integers(1, 8).flatmap(
    lambda n: st.lists(
        st.tuples(
            st.lists(st.integers(1, 400), min_size=n, max_size=n), st.lists(st.booleans(), min_size=n, max_size=n)
        ),
        min_size=1,
        max_size=12,
    )
)


@examples(100)
@given(samples, st.floats(0, 400))
def test_the_best_allocation_is_never_below_a_cap_by_more_than_a_problem(rows, cost):
    lengths, correct = ([row[part] for row in rows] for part in (0, 1))
    uniform, oracle = uniform_cap(lengths, correct), oracle_allocation(lengths, correct)
    for curve in (uniform, oracle):
        assert (np.diff(curve[0]) >= -1e-9).all() and (np.diff(curve[1]) >= -1e-9).all()
    assert oracle[1][-1] == pytest.approx(np.mean(correct))
    assert accuracy_at(oracle, cost) >= accuracy_at(uniform, cost) - 1 / len(rows) - 1e-9


@pytest.mark.parametrize("lengths", [[[0, 3]], [[np.nan, 3]], [[1, 2, 3]]])
def test_lengths_that_are_no_lengths(lengths):
    with pytest.raises(ValueError, match="lengths"):
        needs(lengths, [[1, 0]])
