"""SIRI's cap over the steps of a cycle."""

from __future__ import annotations

import math

import pytest

from tersely.algorithms.siri import siri_cap
from tersely.core.build import build
from tersely.core.errors import ConfigError

SIZES = (16384, 8192, 640)


@pytest.mark.parametrize(
    ("shape", "caps"),
    [
        ("cosine", {0: 16384, 80: 15184, 160: 12288, 320: 8192, 480: 12288, 640: 16384, 720: 15184}),
        ("stair_cosine", {0: 16384, 80: 16384, 160: 12288, 240: 8192, 320: 8192, 400: 8192, 480: 12288, 560: 16384}),
        ("stair", {0: 8192, 319: 8192, 320: 16384, 639: 16384, 640: 8192}),
    ],
)
def test_the_printed_caps(shape, caps):
    assert {t: siri_cap(t, *SIZES, shape) for t in caps} == caps


@pytest.mark.parametrize("shape", ["cosine", "stair_cosine"])
def test_the_way_down_mirrors_the_way_up(shape):
    for t in range(0, 641):
        assert (
            siri_cap(t, *SIZES, shape) == siri_cap(640 - t, *SIZES, shape) or shape == "stair_cosine" and t in (80, 560)
        )
        assert 8192 <= siri_cap(t, *SIZES, shape) <= 16384
    down = [siri_cap(t, *SIZES, shape) for t in range(321)]
    assert down == sorted(down, reverse=True)


def test_halves_round_up():
    assert siri_cap(1, 4, 1, 4, "cosine") == math.floor(2.5 + 0.5)


def test_plans_follow_the_step_and_nothing_else():
    siri = build("prompting", {"name": "siri", "longest": 100, "shortest": 20, "cycle": 4})
    assert siri.needs_step
    plans = siri.plans(["a", "b"], 3, None, 0, step=2)
    assert len(plans) == 6 and {(plan.max_new_tokens, plan.instruction, plan.prefill) for plan in plans} == {
        (20, None, None)
    }
    assert siri(["a"], 1)[0].max_new_tokens == 100 and siri.measured(2) == {"siri/cap": 20.0}


def test_a_prompting_without_the_hook_gets_no_step():
    assert len(build("prompting", "plain").plans(["a"], 2, None, 0, step=7)) == 2


def test_a_longest_cap_above_the_runs_is_refused():
    siri = build("prompting", "siri")
    siri.check_cap(16384)
    with pytest.raises(ConfigError, match="siri.longest"):
        siri.check_cap(16383)


@pytest.mark.parametrize(
    "spec", [{"longest": 8192}, {"shortest": 0}, {"cycle": 1}, {"shape": "saw"}, {"shortest": 20000}]
)
def test_ranges(spec):
    with pytest.raises(ConfigError, match="siri"):
        build("prompting", {"name": "siri", **spec})
