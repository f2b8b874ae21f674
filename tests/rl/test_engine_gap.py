from __future__ import annotations

import math

import pytest
import torch

from tersely.rl.engine_gap import GapGuard, StaleEngineError, gap

CURRENT = {"engine": "vllm", "device": "cpu", "version": 7, "tied": False, "truncated_sampling": False}


def test_gap_counts_known_tokens_only():
    sampler = torch.tensor([[-1.0, math.nan, -2.0], [-1.0, -1.0, 5.0]])
    trainer = torch.tensor([[-1.2, -3.0, -2.0], [-1.0, -0.6, 9.0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    measured = gap(sampler, trainer, mask)
    assert measured["mean"] == pytest.approx((0.2 + 0 + 0 + 0.4) / 4)
    assert measured["max"] == pytest.approx(0.4)
    assert gap(sampler, trainer, mask * 0) == {"mean": 0.0, "max": 0.0, "ratio": 1.0}


def test_small_gaps_pass_and_patience_waits():
    guard = GapGuard(limit=0.05, patience=2)
    guard.check({"mean": 0.04, "max": 1.0}, 7, CURRENT)
    guard.check({"mean": 0.06, "max": 1.0}, 7, CURRENT)
    guard.check({"mean": 0.04, "max": 1.0}, 7, CURRENT)
    guard.check({"mean": 0.06, "max": 1.0}, 7, CURRENT)
    with pytest.raises(StaleEngineError, match="step 7.*0.0600 nats a token.*gap_limit 0.05"):
        guard.check({"mean": 0.06, "max": 1.0}, 7, CURRENT)


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ({"version": None}, "no weights were ever synchronised"),
        ({"version": 5}, "holds the weights of step 5"),
        ({"tied": True}, "embeddings are tied"),
        ({"truncated_sampling": True}, "top_p or top_k"),
        ({}, "dtype"),
    ],
)
def test_the_message_names_the_cause(facts, cause):
    with pytest.raises(StaleEngineError, match=cause):
        GapGuard().check({"mean": 0.5, "max": 1.0}, 7, {**CURRENT, **facts})
