"""Planned or not, on one rank or two: the same training."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.e2e

CHANGES = {
    "reward": "correctness",
    "filter": "mixed_groups",
    "max_completion_length": 96,
    "prompts_per_step": 6,
    "group_size": 4,
    "micro_batch": 3,
}


def test_one_rank_two_ranks_planned_and_not_agree(launcher):
    """Rows without signal, groups that straddle ranks, and ranks with unequal numbers of micro-batches."""
    for name, options in (("planned", {}), ("two", {"processes": 2}), ("plain", {"micro_batching": False})):
        done = launcher.run(name, **options, **CHANGES)
        assert done.returncode == 0, done.stderr[-3000:]
    plain = launcher.completions("plain")
    assert 0.2 < plain.trained.mean() < 1.0
    for name in ("planned", "two"):
        np.testing.assert_allclose(launcher.losses(name), launcher.losses("plain"), atol=1e-5)
        assert launcher.completions(name).text.tolist() == plain.text.tolist()
