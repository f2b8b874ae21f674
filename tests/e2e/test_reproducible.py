"""The same recipe on one rank, on two, and with another micro-batch: the same samples, rewards, advantages, losses."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def one_rank(shared_launcher):
    done = shared_launcher.run("one")
    assert done.returncode == 0, done.stderr[-3000:]
    return shared_launcher


@pytest.fixture(scope="module")
def two_ranks(one_rank):
    done = one_rank.run("two_ranks", processes=2, micro_batch=2, prompts_per_step=4)
    assert done.returncode == 0, done.stderr[-3000:]
    return one_rank


def require_equal(launcher, name: str) -> None:
    """To the run on one rank that nothing disturbed."""
    expected, found = launcher.completions("one"), launcher.completions(name)
    assert len(expected) == 4 * 16 and (expected.advantage.abs() > 0).any()
    assert expected.prompt_id.tolist() == found.prompt_id.tolist()
    assert expected.text.tolist() == found.text.tolist()
    for column in ("reward", "advantage"):
        np.testing.assert_allclose(expected[column], found[column], atol=1e-5)
    np.testing.assert_allclose(launcher.losses("one"), launcher.losses(name), atol=1e-5)


def test_a_smaller_micro_batch_is_equal(one_rank):
    done = one_rank.run("small_micro_batch", micro_batch=4)
    assert done.returncode == 0, done.stderr[-3000:]
    require_equal(one_rank, "small_micro_batch")


def test_two_ranks_are_equal_to_one(two_ranks):
    assert two_ranks.ranks("one") == 1 and two_ranks.ranks("two_ranks") == 2
    require_equal(two_ranks, "two_ranks")


@pytest.mark.parametrize(("before", "ranks"), [("one", 2), pytest.param("two_ranks", 1, marks=pytest.mark.exhaustive)])
def test_resumed_on_another_number_of_ranks_is_equal_and_recorded(two_ranks, before, ranks):
    name = f"moved_to_{ranks}"
    folder = two_ranks.folder / name
    shutil.copytree(two_ranks.folder / before, folder)
    for later in ("checkpoint-4", "final"):
        shutil.rmtree(folder / later)
    done = two_ranks.run(name, resume=True, processes=ranks, micro_batch=8 // ranks)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resuming from checkpoint-2" in done.stdout and two_ranks.ranks(name) == ranks
    assert re.search(rf"ranks.*\b{3 - ranks}\b.*\b{ranks}\b", done.stdout)
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    (event,) = [line for line in lines if line.get("event") == "recipe_changed"]
    assert event["step"] == 2 and event["changes"]["ranks"] == {"from": 3 - ranks, "to": ranks, "free": True}
    require_equal(two_ranks, name)


def test_four_updates_of_a_batch_are_the_same_on_two_ranks(one_rank):
    """Each optimizer step gets the same rows, so the policies that sample the second batch agree."""
    settings = {"updates_per_batch": 4, "micro_batch": 2, "max_steps": 8, "save_steps": 4}
    for name, ranks in (("four_one", 1), ("four_two", 2)):
        done = one_rank.run(name, processes=ranks, **settings)
        assert done.returncode == 0 and one_rank.ranks(name) == ranks, done.stderr[-3000:]
    expected, found = one_rank.completions("four_one"), one_rank.completions("four_two")
    assert len(expected) == 2 * 16 and expected.text.tolist() == found.text.tolist()
    losses = one_rank.losses("four_one")
    assert len(losses) == 8 and max(map(abs, losses)) > 1e-3
    np.testing.assert_allclose(losses, one_rank.losses("four_two"), atol=1e-5)


@pytest.mark.exhaustive  # test_rollout_fields.py has such groups, and looks at more of them
def test_a_group_that_straddles_ranks(one_rank):
    """Three prompts of four rollouts on two ranks: six rows a rank, so the second prompt is cut in the middle."""
    whole = one_rank.run("straddle_one", prompts_per_step=3, micro_batch=6, max_steps=2)
    split = one_rank.run("straddle_two", prompts_per_step=3, micro_batch=6, max_steps=2, processes=2)
    assert whole.returncode == split.returncode == 0, split.stderr[-3000:]
    assert one_rank.ranks("straddle_one") == 1 and one_rank.ranks("straddle_two") == 2
    expected, found = one_rank.completions("straddle_one"), one_rank.completions("straddle_two")
    assert expected.text.tolist() == found.text.tolist()
    np.testing.assert_allclose(expected.advantage, found.advantage, atol=1e-6)
    assert expected.advantage.abs().max() > 0
    np.testing.assert_allclose(one_rank.losses("straddle_one"), one_rank.losses("straddle_two"), atol=1e-5)


@pytest.mark.exhaustive  # test_rollout_fields.py has such rows, and looks at more of them
@pytest.mark.parametrize(
    "changes",
    [
        {"thinking_budget": {"tokens": 12, "answer_tokens": 16}, "advantage": "grpo_s"},
        {
            "prompting": {"name": "s_grpo", "exits": 3, "answer_tokens": 12, "text": "\n</think>\n\n"},
            **{"reward": "s_grpo", "advantage": "group_mean", "aggregate": "sequence"},
        },
    ],
    ids=["thinking_budget", "s_grpo"],
)
def test_rows_in_phases_and_a_group_that_straddles_ranks(one_rank, changes, request):
    """Ranks make as many calls as the busiest one, and a trace that two ranks need is the same on both."""
    name, base = request.node.callspec.id, {"prompts_per_step": 3, "micro_batch": 6, "max_steps": 2, **changes}
    for ranks in (1, 2):
        done = one_rank.run(f"{name}_{ranks}", processes=ranks, **base)
        assert done.returncode == 0 and one_rank.ranks(f"{name}_{ranks}") == ranks, done.stderr[-3000:]
    expected, found = one_rank.completions(f"{name}_1"), one_rank.completions(f"{name}_2")
    assert expected.text.tolist() == found.text.tolist() and expected.forced_tokens.sum() > 0
    assert expected.forced_tokens.tolist() == found.forced_tokens.tolist()
    np.testing.assert_allclose(expected.advantage, found.advantage, atol=1e-5)
    assert expected.advantage.abs().max() > 0
    np.testing.assert_allclose(one_rank.losses(f"{name}_1"), one_rank.losses(f"{name}_2"), atol=1e-5)
