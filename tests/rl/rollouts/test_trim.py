"""Rows that the trim slot cuts: verified again, masked behind the cut, scored as cut, logged as sampled."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from support.tiny import watched

from tersely.core.protocols import Reward
from tersely.engines.base import Generation
from tersely.rl.rollouts.trim import beginning


class ByLength:
    """Calls a text correct unless it is a cut one: the verifier sees what each row keeps."""

    def __init__(self):
        self.seen: list[list[str]] = []

    def verify(self, golds, texts):
        self.seen.append(list(texts))
        first = len(self.seen) == 1
        digest = [hashlib.sha256(text.encode()).digest()[0] for text in texts]
        return [SimpleNamespace(status="x", correct=float(first or d % 2), answer=None) for d in digest]


@dataclass(frozen=True)
class Sees(Reward):
    includes_outcome: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("token_ids", "entropy", "old_logp", "step", "thinking_end", "reflections")
    SEEN: ClassVar[dict] = {}

    def __call__(self, rollouts):
        self.SEEN["rollouts"] = rollouts
        return rollouts.correct.clone()


def one_batch(trainer):
    trainer.model.train()
    trainer.state.max_steps, trainer.current_gradient_accumulation_steps = 2, trainer.args.gradient_accumulation_steps
    inputs, trainer.seen = trainer.prompts.at(0), watched(trainer)
    return trainer.make_batch(inputs)


@pytest.fixture
def half(monkeypatch):
    """Every second row keeps half of its tokens."""
    from tersely.algorithms.trims.dot import DOT

    def call(self, rollouts):
        rows = torch.arange(len(rollouts.length)) % 2 == 1
        return torch.where(rows, rollouts.length // 2, rollouts.length)

    monkeypatch.setattr(DOT, "__call__", call)


def test_a_cut_row_is_scored_as_cut_and_logged_as_sampled(make_trainer, half):
    verifier = ByLength()
    trainer = make_trainer(reward=f"{__name__}:Sees", trim="dot", verifier=verifier, updates_per_batch=2)
    batch = one_batch(trainer)
    rollouts, rows = Sees.SEEN["rollouts"], trainer.logged_rows
    assert len(verifier.seen) == 2 and len(verifier.seen[0]) == 16 and len(verifier.seen[1]) == 8
    cut = torch.arange(16) % 2 == 1
    assert torch.equal(rollouts.cut, cut) and (rollouts.correct[~cut] == 1).all()
    assert not rollouts.truncated[cut].any()
    for i, row in enumerate(rows):
        kept = int(rollouts.length[i])
        assert row["cut_at"] == (kept if cut[i] else None) and row["correct_sampled"] == 1
        assert row["text"] == verifier.seen[0][i] and row["correct"] == rollouts.correct[i]
        assert batch["completion_mask"][i].sum() == kept == (batch["train_mask"][i] != 0).sum()
        assert (batch["completion_ids"][i, kept:] == trainer.processing_class.pad_token_id).all()
        assert (rollouts.token_ids[i, kept:] == -1).all() and (rollouts.step[i, kept:] == -1).all()
        assert not rollouts.entropy[i, kept:].any() and not rollouts.old_logp[i, kept:].any()
        assert int(rollouts.thinking_end[i]) <= kept
    assert rollouts.thinking_length[cut].le(rollouts.length[cut]).all()
    assert batch["num_items_in_batch"] == batch["train_mask"].sum()
    recorded = trainer._metrics["train"]
    assert recorded["trim/rows"][-1] == 0.5 and recorded["efficiency/tokens_mean"][-1] > rollouts.length.double().mean()
    broken = (rollouts.correct[cut] == 0).double().mean().item()
    assert recorded["trim/broken"][-1] == pytest.approx(broken) and recorded["verify/accuracy"][-1] == 1
    assert recorded["trim/tokens"][-1] > 0


def test_without_a_cut_nothing_changes(make_trainer):
    """Groups of 12 equal lengths: DOT finds no outlier, and the batch is that of a run without it."""
    plain, trimmed = (make_trainer(trim=trim, group_size=16, prompts_per_step=1) for trim in ("none", "dot"))
    one, other = one_batch(plain), one_batch(trimmed)
    for name in ("completion_ids", "completion_mask", "train_mask", "advantages"):
        assert torch.equal(one[name], other[name]), name
    assert "cut_at" not in plain.logged_rows[0] and {row["cut_at"] for row in trimmed.logged_rows} == {None}


def test_a_run_with_a_trim_trains(make_trainer, half):
    trainer = make_trainer(trim="dot", filter="mixed_groups", max_resample_rounds=1, verifier=None, max_steps=2)
    trainer.train()
    assert all(math.isfinite(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)


def test_the_beginning_of_a_generation_keeps_forced_tokens_before_the_cut():
    forced = (False, True, True, False, False)
    generation = Generation((1, 7, 8, 2, 3), (-1.0, math.nan, math.nan, -2.0, -3.0), "length", forced)
    cut = beginning(generation, 2)
    assert (cut.token_ids, cut.forced, cut.finish) == ((1, 7, 8, 2), forced[:4], "stop") and len(cut.logprobs) == 4
    assert beginning(generation, 1).token_ids == (1,) and beginning(generation, 0).token_ids == ()
    assert beginning(Generation((1, 2), None, "eos"), 1) == Generation((1,), None, "stop")
