"""The factor of predictive oversampling, by hand."""

from __future__ import annotations

import pytest

from tersely.algorithms.oversampling import WINDOW, oversampling_factor


@pytest.mark.parametrize(
    ("shares", "most", "factor"),
    [
        ([], 5, 1.5),  # nothing is known
        ([], 1.25, 1.25),
        ([0.5], 5, 2.0),
        ([0.4, 0.6], 5, 2.2),  # mean 0.5, population std 0.1
        ([1.0, 1.0], 5, 1.2),
        ([0.1], 5, 5.0),
        ([0.0, 0.0], 5, 5.0),
        ([0.9], 1.0, 1.0),  # off
        ([0.0] * 7 + [0.5] * WINDOW, 5, 2.0),  # only the last batches count
    ],
)
def test_factor(shares, most, factor):
    assert oversampling_factor(shares, most) == pytest.approx(factor)
