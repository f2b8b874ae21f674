"""Every field of `Rollouts` is the same on one rank and on two, in the reward of each rank."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from tersely.core.types import Rollouts

pytestmark = pytest.mark.e2e

REWARD = "tests.support.components:Writes"
"""ETR's reward, which writes its rollouts."""
STRADDLES = {
    "advantage": "sas",
    "prompts_per_step": 3,
    "group_size": 4,
    "micro_batch": 6,
    "max_steps": 2,
}
"""Groups of 4 straddle the ranks' 6 rows."""
RECIPES = {
    "budget": {"reward": f"{REWARD}References", "thinking_budget": {"tokens": 20, "answer_tokens": 16}},
    "exits": {
        "reward": REWARD,
        "prompting": {"name": "s_grpo", "exits": 3, "answer_tokens": 12, "text": "\n</think>\n\n"},
        "trim": {"name": "dot", "success_threshold": 0.25, "std_multiplier": 0.5, "margin": 1},
    },
}


def test_one_rank_and_two_agree_on_every_field(launcher, monkeypatch):
    seen: set[str] = set()
    for kind, recipe in RECIPES.items():
        folders = {}
        for ranks in (1, 2):
            name = f"{kind}_{ranks}"
            monkeypatch.setenv("TERSELY_TEST_ROLLOUTS", str(launcher.folder / f"{name}_rollouts"))
            done = launcher.run(name, processes=ranks, **STRADDLES, **recipe)
            assert done.returncode == 0 and launcher.ranks(name) == ranks, done.stderr[-3000:]
            folders[ranks] = launcher.folder / f"{name}_rollouts"
        for step in range(2):
            one = torch.load(folders[1] / "0" / f"{step}.pt", weights_only=False)
            assert one["step"].max() > 1, "or the steps show nothing"
            for rank in range(2):
                require_equal(one, torch.load(folders[2] / str(rank) / f"{step}.pt", weights_only=False))
            seen |= {field for field, value in one.items() if value is not None}
        np.testing.assert_allclose(launcher.losses(f"{kind}_1"), launcher.losses(f"{kind}_2"), atol=2e-4)
        assert max(map(abs, launcher.losses(f"{kind}_1"))) > 0
    assert seen == {field.name for field in dataclasses.fields(Rollouts)}


def require_equal(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == other[name].dtype, name
            message = partial("{}: {}".format, name)
            torch.testing.assert_close(other[name], value, atol=1e-4, rtol=1e-4, equal_nan=True, msg=message)
        else:
            assert value == other[name], name
