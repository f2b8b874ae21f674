"""The ARES reward against its definition, rollout by rollout."""

from __future__ import annotations

import math

import pytest
import torch

from tersely import build

WIDTH, SIZE = 10, 4


def linear(values, q):
    return torch.quantile(torch.tensor(values, dtype=torch.float64), q).item()


def counts(entropy, ids, window=4, threshold=None, trigger_ids=None):
    means = [[sum(row[t + 1 : t + 1 + window]) / window for t in range(len(row) - window)] for row in entropy]
    if threshold is None and any(means):
        threshold = linear([linear(row, 0.95) for row in means if row], 0.5)
    return [
        sum(m >= threshold and (trigger_ids is None or tokens[t] in trigger_ids) for t, m in enumerate(row))
        for row, tokens in zip(means, ids, strict=True)
    ]


def released(count, right, bucket, target):
    margin = max(1.0, (0.15, 0.25, 0.35)[bucket] * max(target, 1))
    cap, k = 0.5 * (1, 1, 1.2)[bucket], (2, 3, 4)[bucket]
    delta = count - target

    def hub(x):
        x = max(x, 0.0)
        return x * x / (2 * k) if x <= k else x - k / 2

    def sat(x):
        return 1 / (1 + math.exp(-x / (2, 2.5, 3)[bucket]))

    if not right:
        return (0.6, 0.8, 1)[bucket] * cap * sat(max(delta - margin, 0.0))
    if bucket < 2:
        return -min(cap, cap * hub((delta, abs(delta))[bucket] - margin) / (margin + k))
    if delta >= -margin:
        return cap * sat(delta + margin)
    return -min(cap, 0.5 * cap * hub(-delta - margin) / (margin + k))


def paper(counts_of_bucket, count, right, bucket, target):
    mean = sum(counts_of_bucket) / len(counts_of_bucket)
    spread = sum((c - mean) ** 2 for c in counts_of_bucket) / len(counts_of_bucket)
    rate = max(0.0, (mean - target) / (spread + 1e-8))
    delta = count - target
    return 0.0 if right else -rate * (max(delta, 0), abs(delta), max(-delta, 0))[bucket]


def buckets(correct):
    out = []
    for start in range(0, len(correct), SIZE):
        known = [c for c in correct[start : start + SIZE] if not math.isnan(c)]
        rate = sum(known) / len(known) if known else math.nan
        out += [0 if rate >= 2 / 3 - 1e-9 else 1 if rate >= 1 / 3 - 1e-9 else 2] * SIZE
    return out


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "settings",
    [{}, {"window": 1, "threshold": 0.5}, {"window": 2, "trigger_ids": [0, 1]}]
    + [{"targets": [1, 2, 0.5]}, {"form": "paper", "targets": [1, 0, 2], "window": 2, "threshold": 0.4}],
)
def test_equals_its_definition(make_rollouts, seed, settings):
    g = torch.Generator().manual_seed(seed)
    rows = 5 * SIZE
    correct = (torch.rand(rows, generator=g) < torch.rand(5, generator=g).repeat_interleave(SIZE)).float()
    correct[torch.rand(rows, generator=g) < 0.1] = math.nan
    length = torch.randint(0, WIDTH + 1, (rows,), generator=g)
    past = torch.arange(WIDTH) >= length.unsqueeze(1)
    entropy = torch.rand(rows, WIDTH, generator=g).masked_fill(past, math.nan)
    ids = torch.randint(0, 3, (rows, WIDTH), generator=g).masked_fill(past, -1)
    batch = make_rollouts(length, correct, SIZE, entropy=entropy, token_ids=ids)
    found = build("reward", {"name": "ares_entropy", **settings})(batch).tolist()

    lists = [row[:n].tolist() for row, n in zip(entropy.double(), length, strict=True)]
    how = {k: v for k, v in settings.items() if k in ("window", "threshold", "trigger_ids")}
    count, bucket = counts(lists, ids.tolist(), **how), buckets(correct.tolist())
    for i, verdict in enumerate(correct.tolist()):
        if math.isnan(verdict):
            assert math.isnan(found[i])
            continue
        same = [n for n, b, c in zip(count, bucket, correct.tolist(), strict=True) if b == bucket[i] and c == c]
        target = settings["targets"][bucket[i]] if "targets" in settings else round(sum(same) / len(same))
        if settings.get("form") == "paper":
            expected = paper(same, count[i], verdict == 1, bucket[i], target)
        else:
            expected = released(count[i], verdict == 1, bucket[i], target)
        assert found[i] == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_the_papers_form_without_targets_is_always_0(make_rollouts):
    batch = make_rollouts([9] * 4, [1.0, 0.0, 0.0, 1.0], entropy=torch.rand(4, 10))
    assert not build("reward", {"name": "ares_entropy", "form": "paper"})(batch).any()


def test_zero_entropy_counts_every_window(make_rollouts):
    batch = make_rollouts([6, 5, 4, 1], [1.0, 0.0, 0.0, 1.0], entropy=torch.zeros(4, 10))
    assert build("reward", "ares_entropy").counts(batch).tolist() == [2, 1, 0, 0]
