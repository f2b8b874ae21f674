"""SelfBudgeter: the edges of the band, the announced budget, the limit on it."""

from __future__ import annotations

import math

import pytest

from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.memory import PromptMemory

TERM = build("reward", "selfbudgeter")


def test_the_edges_are_inside_at_the_end_of_the_schedule(make_rollouts):
    """At t = 1 the tolerance is alpha_end exactly: 900 and 1100 of 1000 are inside, a token further is not."""
    got = TERM(make_rollouts([900, 899, 1100, 1101], [1] * 4, budget=[1000] * 4, progress=1.0))
    assert got.tolist() == pytest.approx([1.0, 0.5, 0.5, 0.5], abs=1e-6)
    wrong = TERM(make_rollouts([1100, 1101, 900, 899], [0] * 4, budget=[1000] * 4, progress=1.0))
    assert wrong.tolist() == pytest.approx([0.0, -0.5, -0.5, -0.5], abs=1e-6)


def test_no_usable_budget_is_malformed(make_rollouts):
    data = make_rollouts([10] * 4, [1, 1, 1, 0], budget=[math.nan, 0, -5, 100], well_formed=[True, True, True, False])
    assert TERM(data).tolist() == [-1] * 4


def test_a_budget_above_the_prompts_own_limit_pays(make_rollouts):
    memory = PromptMemory({"q0": {"budget_max": 1000}})
    within = TERM(make_rollouts([900], [1], budget=[1000], memory=memory))
    above = TERM(make_rollouts([900], [1], budget=[1001], memory=memory))
    free = TERM(make_rollouts([900], [1], budget=[1001]))
    assert (within - above).item() == pytest.approx(0.4, abs=1e-3) and free.item() == pytest.approx(above.item() + 0.4)


def test_groups_do_not_matter(make_rollouts):
    length, correct, budget = [100, 900, 300, 40], [1, 0, 1, 0], [200, 400, 300, 50]
    one = TERM(make_rollouts(length, correct, budget=budget))
    four = TERM(make_rollouts(length, correct, 1, budget=budget))
    assert one.tolist() == four.tolist()


@pytest.mark.parametrize(
    "bad", [{"over_budget_penalty": -0.6}, {"wrong_max": 0.3}, {"alpha_end": 0}, {"correct_min": 2}, {"wrong_min": 1}]
)
def test_constants_that_break_the_order_are_errors(bad):
    with pytest.raises(ConfigError, match=f"selfbudgeter.*{next(iter(bad))}|selfbudgeter"):
        build("reward", {"name": "selfbudgeter", **bad})
