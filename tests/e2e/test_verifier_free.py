"""The rewards without a verifier as whole runs: on one rank and on two, the same scores, filter and losses."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

BOXES = {
    "name": "rlpr",
    "opening": "\\boxed{",
    "closing": "}",
    "space": "",
    "instruction": "",
}  # as the testbed answers
RLPR = {
    "prompting": BOXES,
    "reward": "rlpr",
    "advantage": "group_zscore",
    "filter": {"name": "rlpr_std", "beta": 1.0, "records_from": 1, "acts_from": 2},
}
VERIFREE = {"prompting": BOXES, "reward": "verifree", "advantage": "rloo", "aggregate": "constant"}


@pytest.fixture(scope="module")
def two_runs(shared_launcher):
    done = [shared_launcher.run("one", **RLPR), shared_launcher.run("two", **RLPR, processes=2, micro_batch=4)]
    assert [run.returncode for run in done] == [0, 0], done[0].stderr[-3000:] + done[1].stderr[-3000:]
    return shared_launcher


def test_two_ranks_score_and_train_as_one_does(two_runs):
    assert two_runs.ranks("one") == 1 and two_runs.ranks("two") == 2
    one, two = two_runs.completions("one"), two_runs.completions("two")
    assert len(one) == 4 * 16 and one.text.tolist() == two.text.tolist()
    np.testing.assert_allclose(one.reward, two.reward, atol=1e-5)
    np.testing.assert_allclose(one.advantage, two.advantage, atol=1e-3)  # a division by a spread that may be small
    assert one.advantage.abs().max() > 0
    np.testing.assert_allclose(two_runs.losses("one"), two_runs.losses("two"), atol=1e-4)


def test_the_reward_is_continuous_and_the_filter_keeps_some_groups(two_runs):
    rows = two_runs.completions("one")
    assert rows.reward.between(0, 1).all() and rows.reward.nunique() > 20
    lines = map(json.loads, (two_runs.folder / "one" / "metrics.jsonl").read_text().splitlines())
    steps = [line for line in lines if "loss" in line]
    assert all(0 < step["reference/score"] < 1 and 0 < step["reference/base"] < 1 for step in steps)
    kept = [step["groups/kept"] for step in steps]
    assert kept[0] == 1.0 and 0 < min(kept) < 1


def test_the_running_spread_and_the_scores_without_reasoning_are_in_the_checkpoint(two_runs):
    from tersely.rl.checkpoints.manifest import component_state

    states = [component_state(two_runs.folder / name / "checkpoint-4") for name in ("one", "two")]
    filters = [state["objective"]["filter"] for state in states]
    assert filters[0]["step"] == filters[1]["step"] == 4
    assert filters[0]["ema"] == pytest.approx(filters[1]["ema"], abs=1e-6) and filters[0]["ema"] > 0
    assert all("reference_base" in record for record in states[0]["memory"].values())


def test_verifree_pays_the_likelihood(shared_launcher):
    done = shared_launcher.run("verifree", **VERIFREE, max_steps=2)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = shared_launcher.completions("verifree")
    assert rows.reward.between(0, 1).all()
    means = rows.groupby("correct").reward.mean()
    assert means[1.0] > 0.5 > means[0.0], "the reference is likelier after reasoning that leads to it"
    assert rows.advantage.abs().max() > 0


def test_references_that_no_rule_can_compare(shared_launcher):
    """A file of questions and sentences: nothing is correct by the verdict, and RLPR trains."""
    questions = {f"Why does ice float, in {n} words?": f"It is less dense than water, {n} times." for n in range(2, 10)}
    path = shared_launcher.folder / "free.jsonl"
    path.write_text("".join(json.dumps({"problem": q, "answer": a}) + "\n" for q, a in questions.items()))
    done = shared_launcher.run("free", **RLPR, dataset={"path": str(path)}, max_steps=2)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = shared_launcher.completions("free")
    assert not rows.correct.any() and rows.reward.nunique() > 4 and rows.advantage.abs().max() > 0
