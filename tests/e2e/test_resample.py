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


@pytest.fixture(scope="module")
def one(shared_launcher):
    done = shared_launcher.run("one", **CHANGES)
    assert done.returncode == 0, done.stderr[-3000:]
    assert shared_launcher.completions("one").trained.mean() > 0.5
    return shared_launcher


def require_equal(launcher, name: str) -> None:
    one, other = launcher.completions("one"), launcher.completions(name)
    assert one.prompt_id.tolist() == other.prompt_id.tolist()
    assert one.text.tolist() == other.text.tolist()
    np.testing.assert_allclose(launcher.losses("one"), launcher.losses(name), atol=2e-4)


def test_a_resumed_run_is_equal(one):
    """It stops at step 2 and goes on."""
    for options in ({"max_steps": 2}, {"resume": True}):
        done = one.run("again", **options, **CHANGES)
        assert done.returncode == 0, done.stderr[-3000:]
    require_equal(one, "again")


@pytest.mark.exhaustive  # test_trim.py resamples on two ranks, too
def test_two_ranks_are_equal(one):
    """Groups of 4 straddle the ranks' 6 rows."""
    done = one.run("two", processes=2, **CHANGES)
    assert done.returncode == 0, done.stderr[-3000:]
    require_equal(one, "two")
