"""Resampled batches are the same on one rank and on two, and after a kill."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.e2e

CHANGES = {
    "reward": "correctness",
    "filter": "mixed_groups",
    "max_resample_rounds": 2,
    "max_completion_length": 96,
    "prompts_per_step": 3,
    "group_size": 4,
    "micro_batch": 6,
    "dataset": {"path": "testbed", "split": "train", "limit": 64},
}


def test_one_rank_two_ranks_and_a_resumed_run_agree(launcher):
    """Groups of 4 straddle the ranks' 6 rows; the third run stops at step 2 and goes on."""
    for name, options in (("one", {}), ("two", {"processes": 2}), ("again", {"max_steps": 2})):
        done = launcher.run(name, **options, **CHANGES)
        assert done.returncode == 0, done.stderr[-3000:]
    done = launcher.run("again", resume=True, **CHANGES)
    assert done.returncode == 0, done.stderr[-3000:]
    one = launcher.completions("one")
    assert one.trained.mean() > 0.5
    for name in ("two", "again"):
        other = launcher.completions(name)
        assert one.prompt_id.tolist() == other.prompt_id.tolist()
        assert one.text.tolist() == other.text.tolist()
        np.testing.assert_allclose(launcher.losses("one"), launcher.losses(name), atol=2e-4)
