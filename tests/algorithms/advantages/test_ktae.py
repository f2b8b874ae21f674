"""KTAE against a plain count of every token, with exact fractions for the Fisher test."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from tersely import build
from tersely.core.types import Rollouts


def fisher(a, b, right, wrong):
    total = a + b

    def chance(k):
        return Fraction(math.comb(right, k) * math.comb(wrong, total - k), math.comb(right + wrong, total))

    possible = range(max(0, total - wrong), min(total, right) + 1)
    return float(sum(chance(k) for k in possible if chance(k) <= chance(a) * (1 + Fraction(1, 10**7))))


def bits(x, y):
    return -sum(v / (x + y) * math.log2(v / (x + y)) for v in (x, y) if v)


def frequency(token, rows, total, average, k1, b):
    share = sum(row.count(token) for row in rows) / total if total else 0.0
    return share * (k1 + 1) / (share + k1 * (1 - b + b * total / average)) if share else 0.0


def key_value(token, right, wrong, use_frequency=True, gain_weight=1.0, top=1.0, k1=2.0, b=0.5):
    nr, nw = len(right), len(wrong)
    n, x, y = nr + nw, sum(token in row for row in right), sum(token in row for row in wrong)
    p = fisher(x, y, nr, nw)
    strength = 0.0 if p > 1 - 1e-6 else math.exp(-2 * p)
    gain = bits(nr, nw) - (x + y) / n * bits(x, y) - (n - x - y) / n * bits(nr - x, nw - y)
    direction = math.asin(math.sqrt(x / nr)) - math.asin(math.sqrt(y / nw))
    if use_frequency:
        totals = sum(map(len, right)), sum(map(len, wrong))
        up = frequency(token, right, totals[0], sum(totals) / 2, k1, b)
        down = frequency(token, wrong, totals[1], sum(totals) / 2, k1, b)
        direction += up / (down + 1e-5) - down / (up + 1e-5)
    push = (strength + gain_weight * gain) / (1 + gain_weight) * direction
    return 2 * top * (0.5 * (1 + math.tanh(push / 2)) - 0.5)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "settings", [{}, {"use_frequency": False, "gain_weight": 2.0}, {"top": 0.5, "k1": 1.2, "b": 0.0}]
)
def test_equals_a_count_token_by_token(make_rollouts, seed, settings):
    size = (2, 4, 8)[seed % 3]
    batch = make_rollouts(group_size=size, seed=seed)
    rewards = batch.correct + 0.01 * batch.length
    advantage = build("advantage", {"name": "ktae", **settings})(rewards, batch)
    z = build("advantage", {"name": "group_zscore", "epsilon": 1e-6})(rewards, batch)
    for i, length in enumerate(batch.length.tolist()):
        group = range(i // size * size, i // size * size + size)
        rows = {k: batch.token_ids[k, : int(batch.length[k])].tolist() for k in group}
        right = [rows[k] for k in group if batch.correct[k] == 1]
        wrong = [rows[k] for k in group if batch.correct[k] == 0]
        for t in range(advantage.shape[1]):
            expected = float(z[i]) if t < length else 0.0
            if t < length and right and wrong and not batch.correct[i].isnan():
                expected += key_value(int(batch.token_ids[i, t]), right, wrong, **settings)
            assert float(advantage[i, t]) == pytest.approx(expected, abs=1e-5)


def test_decided_rows_without_a_token_give_no_table():
    batch = Rollouts(
        group_size=3,
        prompt_id=["q"] * 3,
        correct=torch.tensor([1.0, 0.0, math.nan]),
        length=torch.tensor([0, 0, 2]),
        truncated=torch.zeros(3, dtype=torch.bool),
        max_length=2,
        token_ids=torch.tensor([[-1, -1], [-1, -1], [5, 6]]),
    )
    assert build("advantage", "ktae")(torch.tensor([1.0, 0.0, math.nan]), batch).tolist() == [[0.0, 0.0]] * 3


def test_a_group_of_one_verdict_has_the_zscore_alone(make_rollouts):
    batch = make_rollouts(group_size=4, correct=torch.ones(12))
    assert not build("advantage", "ktae")(batch.correct, batch).any()
    rewards = -batch.length.float()
    z = build("advantage", {"name": "group_zscore", "epsilon": 1e-6})(rewards, batch)
    present = torch.arange(12) < batch.length.unsqueeze(1)
    assert torch.allclose(build("advantage", "ktae")(rewards, batch), z.unsqueeze(1) * present, atol=1e-6)
