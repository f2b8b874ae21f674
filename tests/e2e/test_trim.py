"""Rows that DOT cuts are the same on one rank and on two, also in oversampled and in resampled groups."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.e2e

CHANGES = {
    "trim": {"name": "dot", "success_threshold": 0.25, "std_multiplier": 0.5, "margin": 1},
    "reward": "pear",
    "filter": "mixed_groups",
    "max_resample_rounds": 1,
    "max_oversampling": 3,
    "max_completion_length": 96,
    "prompts_per_step": 3,
    "group_size": 4,
    "micro_batch": 6,
    "updates_per_batch": 1,
    "max_steps": 2,
    "dataset": {"path": "testbed", "split": "train", "limit": 64},
}


def test_one_rank_and_two_agree(launcher):
    """Groups of 4 straddle the ranks' 6 rows. PEAR needs gathered entropies and bounds of the thinking."""
    for name, processes in (("one", 1), ("two", 2)):
        done = launcher.run(name, processes=processes, **CHANGES)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = launcher.completions("one"), launcher.completions("two")
    assert one.cut_at.notna().any() and (one.length < one.text.str.len()).any()
    for column in ("prompt_id", "text", "length", "correct", "correct_sampled"):
        assert one[column].tolist() == two[column].tolist(), column
    np.testing.assert_allclose(one.reward, two.reward, atol=1e-4)
    for name in ("groups/oversampled", "groups/resampled", "groups/kept"):
        assert launcher.logged("one", name) == launcher.logged("two", name), name
    assert max(launcher.logged("one", "groups/oversampled")) > 0 and max(launcher.logged("one", "groups/resampled")) > 0
    np.testing.assert_allclose(launcher.losses("one"), launcher.losses("two"), atol=2e-4)
