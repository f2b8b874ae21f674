import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersely.eval.metrics import hypervolume, pareto_front

NAN = np.nan
points = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5).map(lambda a: a / 5)), max_size=9)


@given(points)
def test_front_equals_the_definition(p):
    def beaten(i):
        return any(q[0] <= p[i][0] and q[1] >= p[i][1] and q != p[i] for q in p)

    assert pareto_front(p).tolist() == [not beaten(i) for i in range(len(p))]


def test_front_edges():
    assert pareto_front([]).shape == (0,) and pareto_front([]).dtype == bool
    assert pareto_front([[1, 0.5], [1, 0.5], [2, 0.5], [0, NAN]]).tolist() == [True, True, False, False]
    for bad in ([1, 2], [[1, 2, 3]], [[-1, 0.5]]):
        with pytest.raises(ValueError, match="points"):
            pareto_front(bad)


@given(points)
def test_volume_equals_a_grid_count(p):
    cells = [(t, a / 5) for t in range(1, 10) for a in range(1, 6)]  # unit-by-fifth cells left of 10, above 0
    covered = sum(any(q[0] <= t and q[1] >= a - 1e-9 for q in p) for t, a in cells)
    assert hypervolume(p, (10, 0), log2=False) == pytest.approx(covered / 5)


def test_volume_in_doublings():
    assert hypervolume([[512, 0.5], [1024, 0.8], [4096, 1.0], [100, 0.1]], (4096, 0.2)) == pytest.approx(0.3 + 2 * 0.6)
    assert hypervolume([], (10, 0)) == 0.0 and hypervolume([[NAN, 1]], (10, 0)) == 0.0
    with pytest.raises(ValueError, match="points"):
        hypervolume([[0, 1]], (10, 0))
    with pytest.raises(ValueError, match="reference"):
        hypervolume([[1, 1]], (0, 0))
    assert hypervolume([[0, 1]], (10, 0), log2=False) == pytest.approx(10.0)
