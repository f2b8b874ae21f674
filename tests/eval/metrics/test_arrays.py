import numpy as np
import pytest

from tersely.eval.metrics import arrays


def test_reading():
    assert arrays.matrix([1, None, 0], "x").shape == (3, 1) and np.isnan(arrays.matrix([None], "x")[0, 0])
    assert arrays.vector([[1], [2]], "x").shape == (2,)
    np.testing.assert_array_equal(arrays.grid(5), [5])
    np.testing.assert_array_equal(arrays.grid([5, 5, np.inf]), [5, 5, np.inf])


@pytest.mark.parametrize("bad", [[[1, 2], [3]], "abc", [[[1]]], 3])
def test_every_complaint_names_the_argument(bad):
    with pytest.raises(ValueError, match="^shape_of_things"):
        arrays.matrix(bad, "shape_of_things")


def test_grids():
    for bad in ([2, 1], [0], [-1], [np.nan]):
        with pytest.raises(ValueError, match="^budgets"):
            arrays.grid(bad)
    for bad in ([1, 1], [1, np.inf]):
        with pytest.raises(ValueError, match="^budgets"):
            arrays.grid(bad, strict=True)


def test_means_know_what_is_missing():
    x = np.array([[1.0, np.nan], [np.nan, np.nan], [2.0, 4.0]])
    np.testing.assert_array_equal(arrays.row_means(x, ~np.isnan(x)), [1, np.nan, 3])
    assert arrays.macro(x, ~np.isnan(x)) == 2.0 and np.isnan(arrays.mean(np.array([])))
    np.testing.assert_array_equal(arrays.divide(np.array([1.0, 2.0]), np.array([0.0, 4.0]), -1.0), [-1, 0.5])
