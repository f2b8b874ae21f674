"""LAPO: bands, both stages of memory, forms, errors."""

from __future__ import annotations

import math

import pytest

from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.memory import PromptMemory

DISCOVER = build("reward", "lapo_discovery")
KEEP = build("reward", "lapo_internalization")


def target(data):
    return data.memory.get("q0", "target")


def test_one_right_row_earns_the_bonus_on_paper_and_none_as_released(make_rollouts):
    data = make_rollouts([100, 200, 300], [0, 1, 0])
    assert DISCOVER(data).tolist() == pytest.approx([0, 1.7, 0])
    released = build("reward", {"name": "lapo_discovery", "form": "released"})
    assert released(data).tolist() == [0, 1, 0]
    assert released(make_rollouts([200, 200, 300], [1, 1, 0])).tolist() == [1, 1, 0]


def test_outside_the_band_the_bonus_falls_off(make_rollouts):
    got = DISCOVER(make_rollouts([1000, 1010, 1020, 1030, 1160], [1] * 5))
    low, high = 1012.0, 1028.0
    assert got[0].item() == pytest.approx(1 + 0.7 * (1 - (low - 1000) / 100))
    assert got[3].item() == pytest.approx(1 + 0.7 * (1 - (1030 - high) / 100))
    assert got[4].item() == 1.0


def test_discovery_overwrites_and_internalization_ratchets_down(make_rollouts):
    memory = PromptMemory()
    for lengths, median in (([100, 200], 150), ([400, 500], 450)):
        DISCOVER.update(make_rollouts(lengths, [1, 1], memory=memory))
        assert memory.get("q0", "target") == median
    for lengths, lowest in (([500, 600], 450), ([300, 100], 200), ([900, 900], 200)):
        KEEP.update(make_rollouts(lengths, [1, 1], memory=memory))
        assert memory.get("q0", "target") == lowest


def test_the_median_of_an_even_count_and_undecided_rows_stay_out(make_rollouts):
    data = make_rollouts([10, 20, 40, 80, 5, 9000], [1, 1, 1, 1, 0, math.nan])
    DISCOVER.update(data)
    assert target(data) == 30


def test_no_right_row_leaves_memory_unless_told_to_forget(make_rollouts):
    memory = PromptMemory({"q0": {"target": 700, "other": 1}})
    forget = build("reward", {"name": "lapo_discovery", "forget_unsolved": True})
    for term, verdicts, kept in ((DISCOVER, [0, 0], 700), (KEEP, [0, 0], 700), (forget, [math.nan] * 2, 700)):
        term.update(make_rollouts([10, 20], verdicts, memory=memory))
        assert memory.get("q0", "target") == kept
    forget.update(make_rollouts([10, 20], [0, math.nan], memory=memory))
    assert memory.records["q0"] == {"other": 1}


def test_the_budget_is_what_the_prompt_said(make_rollouts):
    memory = PromptMemory({"q0": {"target": 100}})
    data = make_rollouts([2000, 2000], [1, 1], budget=[2000, math.nan], memory=memory)
    assert KEEP(data).tolist() == pytest.approx([1.8, 1.0])


def test_released_internalization_centres_on_the_median_where_the_prompt_was_unsolved(make_rollouts):
    released = build("reward", {"name": "lapo_internalization", "form": "released"})
    data = make_rollouts([100, 300, 200], [1, 1, 0], budget=[4096] * 3)
    assert released(data).tolist() == pytest.approx([1 + 0.8 * math.exp(-(100**2) / (2 * 120**2))] * 2 + [0])
    assert KEEP(data).tolist() == [1, 1, 0]


def test_missing_fields_are_errors_that_name_them(make_rollouts):
    with pytest.raises(ValueError, match="rollouts.budget.*lapo_internalization"):
        KEEP(make_rollouts([1], [1]))
    for term in (DISCOVER, KEEP):
        with pytest.raises(ValueError, match="rollouts.memory"):
            term.update(make_rollouts([1], [1], memory=None))
        term.update(make_rollouts([1], [0], memory=None))


@pytest.mark.parametrize(
    "bad", [{"falloff": 0}, {"lower_percentile": 80}, {"upper_percentile": 101}, {"form": "printed"}, {"alpha": -1}]
)
def test_discovery_checks_ranges(bad):
    with pytest.raises(ConfigError, match="lapo_discovery"):
        build("reward", {"name": "lapo_discovery", **bad})


@pytest.mark.parametrize("bad", [{"sigma": 0}, {"unsolved_target": 0}, {"form": "x"}])
def test_internalization_checks_ranges(bad):
    with pytest.raises(ConfigError, match="lapo_internalization"):
        build("reward", {"name": "lapo_internalization", **bad})


def test_a_prompt_met_twice_in_a_batch_is_visited_twice(make_rollouts):
    rows = {"length": [300, 300, 500, 500], "correct": [1, 1, 1, 1], "group_size": 2, "prompt_id": ["q"] * 4}
    for term, target in ((KEEP, 300), (DISCOVER, 500)):
        data = make_rollouts(**rows)
        term.update(data)
        assert data.memory.get("q", "target") == target
    forget = build("reward", {"name": "lapo_discovery", "forget_unsolved": True})
    for correct, target in (([1, 1, 0, 0], None), ([0, 0, 1, 1], 500)):
        data = make_rollouts(**{**rows, "correct": correct})
        forget.update(data)
        assert data.memory.get("q", "target") == target
