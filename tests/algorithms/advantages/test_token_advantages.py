"""The advantages of the token-level methods against plain loops over rollouts and tokens."""

from __future__ import annotations

import math
import random

import pytest
import torch

from tersely import build
from tersely.core.memory import PromptMemory

WIDTH = 12


def finite(values):
    return [v for v in values if not math.isnan(v)]


def zscore(rewards, eps):
    known = finite(rewards)
    if len(known) < 2 or max(known) - min(known) < 1e-8:
        return [0.0] * len(rewards)
    mean = sum(known) / len(known)
    std = math.sqrt(sum((v - mean) ** 2 for v in known) / (len(known) - 1))
    return [0.0 if math.isnan(v) else (v - mean) / (std + eps) for v in rewards]


def token_level_group_average(group, normalize_std=True, eps=1e-6, fallback_threshold=5.0):
    rows = [i for i, r in enumerate(group.reward) if not math.isnan(r) and group.length[i]]
    values = [group.reward[i] for i in rows]
    if len(values) < 2 or max(values) - min(values) < 1e-8:
        return [0.0] * len(group.reward)
    tokens = sum(group.length[i] for i in rows)
    mean = sum(group.length[i] * group.reward[i] for i in rows) / tokens
    std = math.sqrt(sum(group.length[i] * (group.reward[i] - mean) ** 2 for i in rows) / tokens)
    gap = {i: (group.reward[i] - mean) / (std + eps if normalize_std else 1.0) for i in rows}
    if fallback_threshold is not None and any(abs(v) >= fallback_threshold for v in gap.values()):
        gap = {i: zscore(group.reward, eps)[i] for i in rows}
    return [gap.get(i, 0.0) for i in range(len(group.reward))]


def entropy_shaped(group, alpha=0.4, kappa=2.0, eps=1e-4):
    z = zscore(group.reward, eps)
    return [
        [z[i] + min(alpha * h, abs(z[i]) / kappa) if not math.isnan(group.reward[i]) else 0.0 for h in row]
        for i, row in enumerate(group.entropy)
    ]


def share(right, entropy, others, settings):
    """One row's base plus its part of the entropies of its side: of their inverse where it is wrong."""
    size = (lambda h: h) if right else (lambda h: 1 / h)
    part = size(entropy) / sum(map(size, others))
    return (1 if right else -1) * (settings["base_weight"] + settings["entropy_weight"] * len(others) * part)


WEIGHTS = {"base_weight": 1.0, "entropy_weight": 0.1, "entropy_min": 0.2, "entropy_max": 0.28}


def clipped(group, settings):
    low, high = settings["entropy_min"], settings["entropy_max"]
    return [[min(max(h, low), high) for h in row] for row in group.entropy]


def gtpo(group, form="joint", **changes):
    settings = {**WEIGHTS, **changes}
    h = clipped(group, settings)
    known = [i for i in range(len(h)) if not math.isnan(group.reward[i] + group.correct[i])]
    raw = {}
    for i in known:
        for t in range(len(h[i])):
            alive = [h[k][t] for k in known if group.correct[k] == group.correct[i] and t < len(h[k])]
            raw[i, t] = share(group.correct[i] == 1, h[i][t], alive, settings)
    sets = [[k for k in raw if group.correct[k[0]] == verdict] for verdict in (1, 0)]
    if form == "joint":
        sets = [sum(sets, [])] if all(sets) else []
    out = [[0.0] * len(row) for row in h]
    for places in sets:
        values = [raw[k] for k in places]
        if values and max(values) - min(values) >= 1e-8:
            mean = sum(values) / len(values)
            std = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
            for i, t in places:
                out[i][t] = (raw[i, t] - mean) / (std + 1e-6)
    return out


def grpo_s(group, **changes):
    settings = {**WEIGHTS, **changes}
    means = [sum(row) / len(row) for row in clipped(group, settings)]
    known = [i for i in range(len(means)) if not math.isnan(group.reward[i] + group.correct[i])]
    if len({group.correct[i] for i in known}) < 2:
        return [0.0] * len(means)
    score = [math.nan] * len(means)
    for i in known:
        side = [means[k] for k in known if group.correct[k] == group.correct[i]]
        score[i] = share(group.correct[i] == 1, means[i], side, settings)
    return zscore(score, 1e-6)


def quantile_baseline(group, quantile=0.4, method="right_continuous", normalize_std=True):
    known = sorted(finite(group.reward))
    if len(known) < 2 or known[-1] - known[0] < 1e-8:
        return [0.0] * len(group.reward)
    baseline = known[min(math.floor(quantile * len(known) + 1e-9), len(known) - 1)]
    if method == "linear":
        baseline = torch.quantile(torch.tensor(known, dtype=torch.float64), quantile).item()
    mean = sum(known) / len(known)
    std = math.sqrt(sum((v - mean) ** 2 for v in known) / (len(known) - 1))
    return [0.0 if math.isnan(r) else (r - baseline) / (std + 1e-4 if normalize_std else 1.0) for r in group.reward]


class Group:
    def __init__(self, batch, rewards, rows):
        self.reward, self.correct = rewards[rows].double().tolist(), batch.correct[rows].tolist()
        self.length = batch.length[rows].tolist()
        self.entropy = [
            row[:n].tolist() for row, n in zip(batch.entropy[rows].double(), batch.length[rows], strict=True)
        ]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("plain", "settings"),
    [
        (token_level_group_average, {}),
        (token_level_group_average, {"normalize_std": False}),
        (token_level_group_average, {"fallback_threshold": 1.5}),
        (entropy_shaped, {}),
        (entropy_shaped, {"alpha": 2.0, "kappa": 1.0}),
        (gtpo, {}),
        (gtpo, {"form": "separate", "entropy_weight": 0.5, "entropy_min": 0.05, "entropy_max": 1.0}),
        (grpo_s, {}),
        (grpo_s, {"base_weight": 0.5, "entropy_max": 0.5}),
        (quantile_baseline, {}),
        (quantile_baseline, {"quantile": 0.6, "method": "linear", "normalize_std": False}),
    ],
)
def test_equals_plain_loops(make_rollouts, plain, settings, seed):
    size = (2, 4, 8)[seed % 3]
    batch = make_rollouts(group_size=size, seed=seed)
    rewards = batch.correct + (0.05 * batch.length if seed % 2 else 0)
    found = build("advantage", {"name": plain.__name__, **settings})(rewards, batch)
    for start in range(0, len(rewards), size):
        rows = slice(start, start + size)
        for i, expected in enumerate(plain(Group(batch, rewards, rows), **settings)):
            row = [expected] if found.dim() == 1 else expected + [0.0] * (WIDTH - len(expected))
            assert found[start + i].reshape(-1).tolist() == pytest.approx(row, abs=1e-5)


def test_the_token_level_group_average_sums_to_zero_over_tokens(make_rollouts):
    batch = make_rollouts(group_size=8, undecided=0.0)
    rewards = batch.correct + torch.linspace(0, 1, 24)
    spec = {"name": "token_level_group_average", "fallback_threshold": None}
    per_token = build("advantage", spec)(rewards, batch).double() * batch.length
    assert per_token.abs().sum() > 1
    assert per_token.view(3, 8).sum(1).tolist() == pytest.approx([0.0] * 3, abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_dcpo_smooth_over_the_visits_of_a_prompt(make_rollouts, seed):
    draw, memory, seen = random.Random(seed), PromptMemory(), [[], [], []]
    visits = [0, 0, 0]
    for _ in range(4):
        rewards = torch.tensor([draw.choice([0.0, 1.0, 0.3, math.nan]) for _ in range(12)])
        if draw.random() < 0.3:
            rewards[:4] = draw.choice([1.0, math.nan])
        found = build("advantage", "dcpo_smooth")(rewards, make_rollouts(memory=memory))
        for p in range(3):
            group = rewards[4 * p : 4 * p + 4].double().tolist()
            if not finite(group):
                assert not found[4 * p : 4 * p + 4].any()
                continue
            visits[p] += 1
            seen[p] += finite(group)
            n, i = len(seen[p]), visits[p]
            mean = sum(seen[p]) / n
            std = math.sqrt(sum((v - mean) ** 2 for v in seen[p]) / (n - 1)) if n > 1 else 0.0
            for k, (r, new) in enumerate(zip(group, zscore(group, 1e-4), strict=True)):
                total = (r - mean) / (std + 1e-4) if std >= 1e-8 else 0.0
                by_new, by_total = (i - 1) / i * new + total / i, (i - 1) / i * total + new / i
                expected = 0.0 if math.isnan(r) else min(by_total, by_new, key=abs)
                assert float(found[4 * p + k]) == pytest.approx(expected, abs=1e-5)
    assert memory.get("q1", "visits") == visits[1]
