"""Which groups train: the raw verdicts alone decide."""

from __future__ import annotations

import math

import pytest
import torch

from tersely import build

NAN = math.nan
GROUPS = [[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, NAN, 0, NAN], [NAN, NAN, 1, NAN], [NAN] * 4]


@pytest.mark.parametrize(
    ("spec", "kept"),
    [
        ("mixed_groups", [0, 0, 1, 1, 1, 0, 0]),
        ("any_right", [1, 0, 1, 1, 1, 1, 0]),
        ("keep_all", [1] * 7),
        ("accuracy_range", [0, 0, 1, 1, 1, 0, 0]),
        ({"name": "accuracy_range", "low": 0.25, "high": 0.5}, [0, 0, 1, 0, 1, 0, 0]),
        ({"name": "accuracy_range", "low": 0.0, "high": 1.0}, [1, 1, 1, 1, 1, 1, 0]),
    ],
)
def test_the_share_of_right_verdicts_decides(make_rollouts, spec, kept):
    batch = make_rollouts(prompts=7, correct=torch.tensor(GROUPS).flatten())
    assert build("filter", spec)(batch).tolist() == [bool(k) for k in kept]
