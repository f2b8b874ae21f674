from __future__ import annotations

import json
import math

import pytest
import torch

from tersely.configs.guards import Guards, MismatchSpec
from tersely.engines.base import StaleEngineError
from tersely.rl.guards.callback import GuardFeed
from tersely.rl.guards.mismatch import check_mismatch, gap, over_ranks
from tersely.rl.guards.registry import Mismatch

CURRENT = {"engine": "vllm", "dtype": "bfloat16", "version": 7, "stale_head": False, "truncated_sampling": False}
NONE = {"mean": 0.0, "max": 0.0, "ratio": 1.0, "tokens": 0.0}


def test_gap_counts_known_tokens_only():
    sampler = torch.tensor([[-1.0, math.nan, -2.0], [-1.0, -1.0, 5.0]])
    trainer = torch.tensor([[-1.2, -3.0, -2.0], [-1.0, -0.6, 9.0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    measured = gap(sampler, trainer, mask)
    assert measured["mean"] == pytest.approx((0.2 + 0 + 0 + 0.4) / 4)
    assert measured["max"] == pytest.approx(0.4)
    assert measured["ratio"] == pytest.approx((math.exp(-0.2) + 1 + 1 + math.exp(0.4)) / 4)
    assert measured["tokens"] == 4
    assert gap(sampler, trainer, mask * 0) == NONE


def test_ranks_decide_by_the_gap_of_the_whole_batch():
    sampler, trainer = -torch.rand(6, 9), -torch.rand(6, 9)
    mask = torch.rand(6, 9) > 0.3
    parts = [gap(sampler[rows], trainer[rows], mask[rows]) for rows in (slice(0, 1), slice(1, 6))]
    assert over_ranks(parts) == pytest.approx(gap(sampler, trainer, mask))
    assert over_ranks([NONE, parts[0]]) == pytest.approx(parts[0])
    assert over_ranks([NONE, NONE]) == NONE


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_gap_that_is_no_number_stops_the_run(broken):
    trainer, mask = torch.zeros(1, 2), torch.ones(1, 2)
    trainer[0, 1] = broken
    measured = gap(torch.zeros(1, 2), trainer, mask)
    with pytest.raises(StaleEngineError):
        check_mismatch(Mismatch(MismatchSpec(threshold=1e9)), over_ranks([NONE, measured]), 7, CURRENT)


def test_small_gaps_pass_and_patience_waits():
    guard = Mismatch(MismatchSpec(threshold=0.05, patience=2))
    check_mismatch(guard, {"mean": 0.04, "max": 1.0}, 7, CURRENT)
    check_mismatch(guard, {"mean": 0.06, "max": 1.0}, 7, CURRENT)
    check_mismatch(guard, {"mean": 0.04, "max": 1.0}, 7, CURRENT)
    check_mismatch(guard, {"mean": 0.06, "max": 1.0}, 7, CURRENT)
    with pytest.raises(StaleEngineError, match="step 7.*0.0600.*mismatch.threshold 0.05"):
        check_mismatch(guard, {"mean": 0.06, "max": 1.0}, 7, CURRENT)


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ({"version": None}, "never"),
        ({"version": 5}, "step 5"),
        ({"stale_head": True}, "embeddings are tied"),
        ({"truncated_sampling": True}, "top_p or top_k"),
        ({}, r"dtype \(bfloat16\)"),
    ],
)
def test_the_message_names_the_cause(facts, cause):
    with pytest.raises(StaleEngineError, match=cause):
        check_mismatch(Mismatch(MismatchSpec()), {"mean": 0.5, "max": 1.0}, 7, {**CURRENT, **facts})


def test_a_warning_is_said_once_and_the_run_goes_on(capsys):
    guard = Mismatch(MismatchSpec(patience=2, action="warn"))
    for _ in range(4):
        check_mismatch(guard, {"mean": 0.06, "max": 1.0}, 7, CURRENT)
    assert capsys.readouterr().out.count("warning: step 7") == 1


def test_the_count_goes_on_over_a_resume():
    before, after = (GuardFeed(Guards(mismatch=MismatchSpec(patience=2)), 64, lambda *_: None) for _ in range(2))
    check_mismatch(before.mismatch, {"mean": 0.06, "max": 1.0}, 7, CURRENT)
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    with pytest.raises(StaleEngineError):
        check_mismatch(after.mismatch, {"mean": 0.06, "max": 1.0}, 7, CURRENT)
