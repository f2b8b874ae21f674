"""Pairs of components and settings that cannot work raise; pairs that work against each other warn."""

from __future__ import annotations

import pytest

from tersely.algorithms.objective import Objective
from tersely.algorithms.pair_checks import check_pairs
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError

DOT = {"trim": "dot", "filter": "mixed_groups"}
SIRI = {"prompting": "siri"}


def found(slots, max_length=16384, **run):
    values = {"group_size": 16, "max_resample_rounds": 2 if "trim" in slots else 0, **run}
    return [
        one.subject
        for one in check_pairs(
            Recipe.of({"model_name_or_path": "m", **values}), Objective.from_specs(slots), max_length
        )
    ]


@pytest.mark.parametrize(
    ("slots", "run", "keys"),
    [
        (DOT, {}, []),
        ({"trim": "dot"}, {}, ["trim", "max_resample_rounds"]),
        (DOT, {"max_resample_rounds": 0}, ["trim"]),
        (DOT, {"max_resample_rounds": 0, "max_oversampling": 5}, []),
        ({}, {}, []),
        ({}, {"max_oversampling": 2, "max_resample_rounds": 1}, ["max_oversampling", "max_resample_rounds"]),
        ({"filter": "any_right"}, {"max_oversampling": 2}, []),
        (SIRI, {}, []),
        ({**SIRI, "reward": ["correctness", "soft_overlong"]}, {}, ["prompting siri"]),
        ({**SIRI, "reward": {"name": "alp", "normalizer": "max_length"}}, {}, ["prompting siri"]),
        ({**SIRI, "reward": ["correctness", "short_rl"]}, {}, ["prompting siri"]),
        ({"reward": "truncation"}, {"mask_truncated": True}, ["mask_truncated"]),
        ({"reward": "truncation"}, {}, []),
        ({"reward": "grpo_lead"}, {}, []),
        ({"reward": "grpo_lead"}, {"max_length": 4000}, ["reward grpo_lead"]),
        ({"reward": "l1_exact", "advantage": "maxrl"}, {}, []),
        ({"reward": "adlp", "advantage": "maxrl"}, {}, ["advantage maxrl"]),
    ],
)
def test_warnings(slots, run, keys):
    assert found(slots, **run) == keys


def test_what_cannot_work_is_refused():
    for group_size in (2, 8, 10):
        with pytest.raises(ConfigError, match="dot.std_multiplier"):
            found(DOT, group_size=group_size)
    assert found(DOT, group_size=11) == []
    with pytest.raises(ConfigError, match="siri.longest"):
        found(SIRI, max_length=8192)
