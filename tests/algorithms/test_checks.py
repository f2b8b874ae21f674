"""Combinations that make no sense are said; those that do pass in silence."""

from __future__ import annotations

import pytest
import torch

from tersely.algorithms.checks import (
    averages_credit,
    equals_clip_at_ratio_one,
    ignored_warmup,
    is_token_level,
    warnings_of,
)
from tersely.algorithms.objective import Objective
from tersely.core.errors import ConfigError


def warned(ratio_is_one=False, sampler_logprobs=False, top_p=1.0, group_size=8, **specs) -> list[str]:
    """The subjects of the warnings."""
    objective = Objective.from_specs(specs)
    how = {"ratio_is_one": ratio_is_one, "sampler_logprobs": sampler_logprobs, "top_p": top_p, "group_size": group_size}
    return [finding.subject for finding in warnings_of(objective, **how)]


@pytest.mark.parametrize(
    "loss_fn",
    ["gspo", "gmpo", {"name": "clip", "importance": "sequence"}]
    + [{"name": name, "base": "gmpo"} for name in ("kl_penalty", "high_entropy_mask")],
)
def test_token_credit_with_one_ratio_a_sequence(loss_fn):
    assert warned(advantage="ktae", loss=loss_fn) == ["loss"]
    assert warned(advantage="group_zscore", loss=loss_fn) == []


@pytest.mark.parametrize("loss_fn", ["clip", "sapo", "cispo", "hapo", "dcpo", {"name": "gspo", "form": "token"}])
def test_token_credit_with_token_ratios_is_fine(loss_fn):
    assert warned(advantage="ktae", loss=loss_fn) == []


@pytest.mark.parametrize(("loss_fn", "same"), [("sapo", True), ("cispo", True), ("hapo", False), ("tea_rl", False)])
def test_a_schedule_where_every_ratio_is_one(loss_fn, same):
    (found,) = warnings_of(Objective.from_specs({"loss": loss_fn}), ratio_is_one=True)
    assert found.subject == "updates_per_batch" and ("clip" in found.text) == same


class Unbounded:
    """Importance-weighted policy gradient: nothing that a ratio of 1 could disable."""

    def __init__(self, weighted):
        self.weighted = weighted

    def __call__(self, batch):
        ratio = (batch.logp - batch.old_logp).exp() if self.weighted else batch.logp
        return -(ratio * batch.advantage), {}


@pytest.mark.parametrize("weighted", [True, False])
def test_a_loss_without_bounds_loses_nothing_at_ratio_one(weighted):
    objective = Objective.from_specs({})
    object.__setattr__(objective, "loss", Unbounded(weighted))
    assert not warnings_of(objective, ratio_is_one=True)


@pytest.mark.parametrize(
    ("name", "steps", "warns"),
    [
        *[(name, 5, True) for name in ("constant", "reduce_lr_on_plateau", "greedy")],
        *[(name, 5, False) for name in ("constant_with_warmup", "linear", "cosine", "inverse_sqrt", "nosuch")],
        ("constant", 0, False),
        ("constant", 0.1, True),
    ],
)
def test_a_schedule_without_warmup_that_is_given_one(name, steps, warns):
    found = ignored_warmup({"lr_scheduler_type": name, "warmup_steps": steps})
    assert bool(found) == warns and all("constant_with_warmup" in one.fix for one in found)


def test_sampler_correction_needs_an_engine_with_log_probs():
    with pytest.raises(ConfigError, match="sampler_correction"):
        warned(loss={"name": "kl_penalty", "base": "sampler_correction"})
    assert warned(loss="sampler_correction", sampler_logprobs=True) == []


def test_an_adaptive_temperature_and_what_spoils_it():
    sequence = {"name": "sampler_correction", "mode": "sequence_mask"}
    assert warned(sampling="hapo_temperature", loss=sequence, sampler_logprobs=True) == ["loss"]
    assert warned(sampling="hapo_temperature", top_p=0.9) == ["top_p"]
    assert warned(top_p=0.9) == []


def test_a_filter_that_keeps_nothing():
    narrow = {"name": "accuracy_range", "low": 0.9, "high": 0.95}
    assert warned(filter=narrow) == ["filter"]
    assert warned(filter=narrow, group_size=16) == [], "15 of 16 lies in between"


def test_a_filter_that_keeps_only_groups_without_signal():
    only_correct = {"name": "accuracy_range", "low": 1.0, "high": 1.0}
    assert warned(filter=only_correct) == ["filter"]
    assert warned(filter=only_correct, reward=["correctness", {"name": "alp"}]) == []
    assert warned(filter=only_correct, advantage="group_mean", reward="kimi") == []
    assert warned(filter="any_right") == []


@pytest.mark.parametrize(
    ("controller", "idle", "moved"),
    [("entropy_clip", "sapo", {"name": "kl_penalty", "base": "clip"}), ("ares_kl", "clip", "window_kl")],
)
def test_a_controller_without_anything_to_move(controller, idle, moved):
    assert warned(controllers=[controller], loss=idle) == ["controllers"]
    assert warned(controllers=[controller], loss=moved) == []
    assert warned(controllers=["entropy_target"], loss=idle) == []


def test_wrappers_that_act_twice_or_on_too_little():
    assert warned(loss={"name": "kl_penalty", "base": {"name": "kl_penalty"}}) == ["loss"]
    assert warned(loss={"name": "high_entropy_mask", "base": "kl_penalty"}) == ["loss"]
    assert warned(loss={"name": "kl_penalty", "base": "high_entropy_mask"}) == []


def test_a_users_own_policy_is_judged_by_what_it_does():
    def sequence_ratio(batch):
        ratio = (batch.logp - batch.old_logp).mean(1, keepdim=True).exp()
        return -ratio * batch.advantage.mean(1, keepdim=True) * torch.ones_like(batch.logp), {}

    assert averages_credit(sequence_ratio) and equals_clip_at_ratio_one(sequence_ratio)
    assert not is_token_level(lambda rewards, rollouts: rewards)


def test_two_components_that_both_divide_by_a_spread():
    assert warned(reward="arora_zanette", advantage="group_zscore") == ["reward"]
    assert warned(reward=["correctness", "kimi"], advantage="group_zscore") == ["reward"]
    for advantage in ("rloo", "group_mean", "batch_whitened"):
        assert warned(reward="arora_zanette", advantage=advantage) == []
    assert warned(reward=["correctness", {"name": "kimi", "warmup": 0.5}], advantage="group_zscore") == ["reward"]
    for reward in ("gr3", "correctness", "rlpr", {"name": "alp", "normalizer": "group_max"}):
        assert warned(reward=reward, advantage="group_zscore") == []
