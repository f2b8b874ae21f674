"""The group advantages of the length cards against plain Python, their sums, and their degenerate groups."""

from __future__ import annotations

import dataclasses
import math
import random
import statistics as st

import pytest
import torch

from tersely.algorithms import ADVANTAGES
from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.memory import PromptMemory
from tersely.core.types import Rollouts

NAMES = [
    "group_zscore",
    "group_mean",
    "rloo",
    "batch_whitened",
    "identity",
    "reference_baseline",
    "hbpo",
    "gfpo",
    "grpo_lead",
]


def make(group_size, prompts, seed=0, undecided=0.2) -> tuple[torch.Tensor, Rollouts]:
    rng = random.Random(seed)
    rows = group_size * prompts
    correct = [math.nan if rng.random() < undecided else float(rng.random() < 0.6) for _ in range(rows)]
    rewards = torch.tensor([c if math.isnan(c) else c + rng.choice([0, 0.1, rng.random()]) for c in correct])
    data = Rollouts(
        group_size=group_size,
        prompt_id=[f"q{i // group_size}" for i in range(rows)],
        correct=torch.tensor(correct),
        length=torch.tensor([rng.choice([500, rng.randint(1, 4096)]) for _ in range(rows)]),
        truncated=torch.zeros(rows, dtype=torch.bool),
        max_length=4096,
        budget=torch.tensor([rng.choice([512.0, 1024.0, math.nan]) for _ in range(rows)]),
        memory=PromptMemory({"q0": {"reference_accuracy": 0.3}}),
    )
    return rewards, data


def zscore(r, epsilon=1e-4):
    spread = st.stdev(r) if len(r) > 1 else 0.0
    return [(x - st.mean(r)) / (spread + epsilon) if spread else 0.0 for x in r]


def lead_weight(x):
    return 0.4 + 1.1 / (1 + math.exp(10 * (x - 0.75)))


def f2(b):
    return 4 * math.cos(math.pi * (4096 if math.isnan(b) else b) / 8192)


def group_reference(name, r, rows, record):
    """One group's decided rows: rewards r, rows (correct, length, budget)."""
    mean = st.mean(r)
    if name == "group_zscore":
        return zscore(r)
    if name == "group_mean":
        return [x - mean for x in r]
    if name == "rloo":
        return [(x - mean) * len(r) / (len(r) - 1) if len(r) > 1 else 0.0 for x in r]
    if name == "identity":
        return r
    if name == "reference_baseline":
        return [x - record.get("reference_accuracy", mean) for x in r]
    if name == "grpo_lead":
        p = st.mean([c for c, _, _ in rows])
        return [a * lead_weight(p if a > 0 else 1 - p) for a in zscore(r, 1e-6)]
    if name == "hbpo":
        same = [
            [j for j, q in enumerate(rows) if q[2] == b or (math.isnan(q[2]) and math.isnan(b))] for _, _, b in rows
        ]
        intra = [st.mean([r[j] for j in peers]) - f2(row[2]) for peers, row in zip(same, rows, strict=True)]
        return [a + b for a, b in zip(intra, zscore(r), strict=True)]
    kept = sorted(range(len(r)), key=lambda j: rows[j][1])[:3]
    scores = dict(zip(kept, zscore([r[j] for j in kept]), strict=True))
    return [scores.get(j, 0.0) for j in range(len(r))]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "batch_whitened"])
@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_equals_the_plain_python_formula(name, size):
    advantage = build("advantage", {"name": name, "keep": 3} if name == "gfpo" else name)
    for seed in range(3):
        rewards, data = make(size, 8, seed)
        expected = []
        for start in range(0, len(rewards), size):
            rows = range(start, start + size)
            known = [i for i in rows if data.decided[i]]
            facts = [(data.correct[i].item(), data.length[i].item(), data.budget[i].item()) for i in known]
            record = data.memory.records.get(data.prompt_id[start], {})
            values = group_reference(name, [rewards[i].item() for i in known], facts, record) if known else []
            placed = dict(zip(known, values, strict=True))
            expected += [placed.get(i, 0.0) for i in rows]
        got = advantage(rewards, data)
        assert got.dtype == torch.float32
        assert got.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("weighting", ["sequence", "token"])
def test_batch_whitened_equals_the_plain_python_formula(weighting):
    rewards, data = make(5, 6, 1)
    a, q = [], []
    for start in range(0, 30, 5):
        known = [i for i in range(start, start + 5) if data.decided[i]]
        for i in known:
            a.append(rewards[i].item() - st.mean([rewards[j].item() for j in known]))
            q.append(data.length[i].item() if weighting == "token" else 1)
    m = sum(w * x for w, x in zip(q, a, strict=True)) / sum(q)
    s = math.sqrt(sum(w * (x - m) ** 2 for w, x in zip(q, a, strict=True)) / (sum(q) - 1))
    got = build("advantage", {"name": "batch_whitened", "weighting": weighting})(rewards, data)
    assert got[data.decided].tolist() == pytest.approx([(x - m) / (s + 1e-4) for x in a], abs=1e-5)
    assert got[~data.decided].abs().sum() == 0


@pytest.mark.parametrize("name", ["group_zscore", "group_mean", "rloo", "gfpo"])
def test_centred_advantages_sum_to_zero_in_every_group(name):
    rewards, data = make(16, 8, 3)
    sums = build("advantage", name)(rewards, data).view(8, 16).sum(1)
    assert sums.abs().max() < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_undecided_rows_get_nothing_and_groups_of_none_or_one_are_finite(name):
    for size, undecided in ((4, 1.0), (1, 0.0), (4, 0.9)):
        rewards, data = make(size, 5, 2, undecided)
        got = build("advantage", name)(rewards, data)
        assert got.shape == rewards.shape and got.isfinite().all()
        assert got[rewards.isnan()].abs().sum() == 0
        if size == 1 and name in ("group_zscore", "group_mean", "rloo", "gfpo", "grpo_lead"):
            assert got.abs().sum() == 0


@pytest.mark.parametrize("name", ["group_zscore", "group_mean", "rloo", "gfpo", "grpo_lead", "batch_whitened"])
@pytest.mark.parametrize("value", [0.1, 1 / 3, -1.0, 1e-7])
def test_equal_rewards_are_exactly_no_signal(name, value):
    _, data = make(7, 3, 0, undecided=0.0)
    assert build("advantage", name)(torch.full((21,), value), data).abs().sum() == 0


def test_gfpo_breaks_ties_by_position_and_takes_all_of_a_small_group():
    _, data = make(6, 1, 0, undecided=0.0)
    data = dataclasses.replace(data, length=torch.tensor([5, 9, 5, 5, 9, 1]))
    rewards = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    got = build("advantage", {"name": "gfpo", "keep": 3})(rewards, data)
    assert (got != 0).tolist() == [True, False, True, False, False, True]
    assert (build("advantage", "gfpo")(rewards, data) != 0).all()
    efficient = build("advantage", {"name": "gfpo", "keep": 2, "metric": "token_efficiency"})
    got = efficient(torch.tensor([5.0, 9.0, 4.0, 5.0, 0.0, 0.5]), data)
    assert (got != 0).tolist() == [True, True, False, False, False, False]
    assert build("advantage", {"name": "gfpo", "keep": 1})(rewards, data).abs().sum() == 0


def test_reference_baseline_without_a_record():
    rewards, data = make(4, 2, 0, undecided=0.0)
    strict = build("advantage", {"name": "reference_baseline", "missing": "error"})
    with pytest.raises(ValueError, match=r"reference_accuracy.*q1"):
        strict(rewards, data)
    gone = torch.where(torch.arange(8) < 4, rewards, torch.nan)
    assert strict(gone, data)[:4].tolist() == pytest.approx((rewards[:4] - 0.3).tolist(), abs=1e-6)
    other = build("advantage", {"name": "reference_baseline", "field": "baseline"})(rewards, data)
    assert other.tolist() == pytest.approx(build("advantage", "group_mean")(rewards, data).tolist())


def test_hbpo_degenerate_groups():
    _, data = make(4, 1, 0, undecided=0.0)
    data = dataclasses.replace(data, budget=torch.tensor([512.0, 512.0, 2560.0, 2560.0]))
    advantage = build("advantage", "hbpo")
    wrong = advantage(torch.zeros(4), data)
    assert wrong.tolist() == pytest.approx([-3.9231, -3.9231, -2.2223, -2.2223], abs=1e-4)
    short = dataclasses.replace(data, correct=torch.ones(4), length=torch.tensor([100, 200, 300, 400]))
    within = build("reward", "hbpo")(short)
    intra = advantage(within, data) - build("advantage", "group_zscore")(within, data)
    assert intra.abs().max() == 0
    with pytest.raises(ValueError, match=r"rollouts\.budget.*hbpo"):
        advantage(within, dataclasses.replace(data, budget=None))


def test_hbpo_reward_and_advantage_must_speak_of_the_same_beta_and_cap():
    class Filled:
        reward = build("reward", [{"name": "hbpo", "beta": 3.0}])

    with pytest.raises(ConfigError, match=r"hbpo\.beta.*4.0.*3.0"):
        build("advantage", "hbpo").check_objective(Filled)
    build("advantage", {"name": "hbpo", "beta": 3.0}).check_objective(Filled)


def test_grpo_lead_weights_of_the_card():
    advantage = build("advantage", "grpo_lead")
    weights = advantage._weight(torch.tensor([0.0, 0.75, 1.0], dtype=torch.float64))
    assert weights.tolist() == pytest.approx([1.50, 0.95, 0.48], abs=5e-3)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "gfpo", "keep": 0},
        {"name": "gfpo", "metric": "speed"},
        {"name": "hbpo", "epsilon": -1},
        {"name": "hbpo", "form": "x"},
        {"name": "grpo_lead", "midpoint": 2},
        {"name": "reference_baseline", "missing": "zero"},
        {"name": "reference_baseline", "field": ""},
    ],
)
def test_ranges(spec):
    with pytest.raises(ConfigError, match=spec["name"]):
        build("advantage", spec)


def test_every_name_of_the_cards_is_there():
    assert set(NAMES) <= set(ADVANTAGES)
