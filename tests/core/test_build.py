from __future__ import annotations

import sys
import types
from dataclasses import dataclass

import pytest
import torch

from tersely.core.build import SLOTS, build, component_class, registry
from tersely.core.errors import ConfigError


@pytest.mark.parametrize("slot", SLOTS)
def test_every_registry_is_a_literal_dict_of_classes(slot):
    known = registry(slot)
    assert known and all(isinstance(cls, type) for cls in known.values())


def test_a_name_alone_has_the_papers_defaults():
    assert build("advantage", "group_zscore") == build("advantage", {"name": "group_zscore"})


def test_a_list_of_terms_is_a_weighted_sum(rollouts_of):
    reward = build("reward", [{"name": "correctness"}, {"name": "format", "weight": 0.5}])
    assert reward.names == ("correctness", "format") and reward.weights == (1.0, 0.5)
    rollouts = rollouts_of(correct=[1.0, 0.0], well_formed=torch.tensor([True, False]))
    columns = reward.unweighted(rollouts)
    torch.testing.assert_close(reward(rollouts), columns[:, 0] + 0.5 * columns[:, 1])


def test_a_single_weighted_term_is_a_sum_too():
    assert build("reward", {"name": "correctness", "weight": 2.0}).weights == (2.0,)


def test_a_policy_wraps_another():
    loss_fn = build("loss", {"name": "kl_penalty", "beta": 0.1, "base": {"name": "clip", "clip_high": 0.3}})
    assert loss_fn.base.clip_high == 0.3


@pytest.mark.parametrize(
    ("slot", "spec", "message"),
    [
        ("rewards", "alp", "slot 'rewards'.*'reward'"),
        ("reward", "alpp", "reward 'alpp'.*'alp'"),
        ("reward", {"name": "alp", "betta": 1}, "parameter 'betta'.*'beta'"),
        ("reward", {"name": "alp", "beta": "much"}, r"alp: beta.*'much' \(str\).*number"),
        ("reward", {"name": "alp", "beta": -1}, r"beta.* -1.*at least 0"),
        ("reward", {"beta": 1}, "'beta': 1.*`name`"),
        ("reward", [], "empty list"),
        ("reward", [{"name": "correctness", "weight": "x"}], "weight.*'x'.*number"),
        ("loss", ["clip"], "loss.*list"),
        ("loss", 3, "loss.* 3.*mapping"),
        ("loss", {"name": "kl_penalty", "base": None}, "loss.* None.*mapping"),
        ("loss", {"name": "kl_penalty", "base": ["clip"]}, "loss.*list"),
        ("loss", {"name": "kl_penalty", "base": "ktae"}, "loss 'ktae'"),
        ("filter", {"name": "keep_all", "x": 1}, "keep_all.*'x'"),
        ("prompting", "nowhere.module:Plan", "prompting.*'nowhere.module:Plan'"),
        ("prompting", "math:pi", "prompting.*'math:pi'"),
    ],
)
def test_what_cannot_be_meant_is_named(slot, spec, message):
    with pytest.raises(ConfigError, match=message):
        build(slot, spec)


def test_a_component_outside_the_package_by_import_path(monkeypatch, rollouts_of):
    module = types.ModuleType("lab_rewards")

    @dataclass(frozen=True)
    class Short:
        scale: float = 0.5

        def __call__(self, rollouts):
            return rollouts.correct - self.scale * rollouts.length / rollouts.max_length

    Short.__module__, module.Short = "lab_rewards", Short
    monkeypatch.setitem(sys.modules, "lab_rewards", module)
    assert component_class("reward", "lab_rewards:Short") is component_class("reward", "lab_rewards.Short") is Short
    reward = build("reward", {"name": "lab_rewards:Short", "scale": "1e-1"})
    assert reward(rollouts_of(correct=[1.0, 0.0], length=[10, 20], max_length=100)).tolist() == pytest.approx(
        [0.99, -0.02]
    )


def test_build_stays_a_function_once_everything_is_imported():
    """A submodule of the same name would take its place as soon as somebody imports it."""
    import tersely
    import tersely.algorithms.objective  # noqa: F401

    assert tersely.build is build
