"""Every guard on sequences as runs record them: quiet on healthy ones, heard on the ones that went wrong."""

from __future__ import annotations

import math
import re

import pytest

from tersely.configs.guards import Guards
from tersely.core.errors import ConfigError
from tersely.rl.guards.registry import GUARDS, guards_of

HEALTHY = [95.4, 94.1, 96.8, 93.0, 90.2, 85.5, 80.1, 77.4, 70.3, 66.8, 60.2, 57.7, 52.4, 48.9, 45.0, 43.1]
"""Mean tokens of a run of the embedded model under ALP: shorter by half and more, and as accurate."""
COLLAPSED = [95.4, 88.0, 70.5, 41.0, 18.3, 6.1, 2.4, 1.0, 1.0, 1.0]
"""A length term of too high a weight without a gate: down to one token."""
ENTROPY = [0.41, 0.40, 0.38, 0.39, 0.36, 0.33, 0.30, 0.24, 0.20, 0.17, 0.15, 0.14]


def heard(name: str, rows, **parameters) -> list[tuple[int, str]]:
    """(step, what was said) over a sequence of observations."""
    guard = guards_of(Guards.of({name: parameters}))[name]
    rows = [row if isinstance(row, tuple) else (row,) for row in rows]
    return [(step, said) for step, row in enumerate(rows, 1) if (said := guard.seen(step, *row))]


def test_a_run_that_gets_shorter_is_no_collapse():
    assert not heard("length_collapse", HEALTHY)
    assert not heard("length_explosion", [(tokens, tokens / 256) for tokens in HEALTHY])


def test_a_collapse_to_one_token_is_heard_once_after_its_patience():
    ((step, said),) = heard("length_collapse", COLLAPSED)
    assert step == 8  # 6.1 is at most a tenth of the mean of the first five, and so are the two behind it
    assert re.search(r"length_collapse.*\b1\b.*\b0.1\b.*\b62.64\b.*\b3\b", said)
    assert "any_right" in said
    ((step, said),) = heard("length_collapse", COLLAPSED, threshold=0.04, patience=1)
    assert step == 7 and "times in a row" not in said


def test_an_explosion_of_length_and_of_entropy():
    growing = [100.0, 104.0, 98.0, 101.0, 99.0, 180.0, 390.0, 700.0, 1800.0, 3900.0, 4096.0]
    assert [step for step, _ in heard("length_explosion", [(tokens, tokens / 16384) for tokens in growing])] == [10]
    assert [step for step, _ in heard("entropy_explosion", [0.4] * 5 + [0.9, 2.2, 4.0, 6.1])] == [9]
    assert not heard("entropy_explosion", ENTROPY)


@pytest.mark.parametrize("cap", [128, 256, 4096])
def test_a_length_that_grows_to_the_cap_is_an_explosion_whatever_the_cap(cap):
    """A cap below `threshold` times the beginning forbids the multiple."""
    growing = [0.37 * cap] * 6 + [0.4 * cap, 0.6 * cap, 0.9 * cap, 0.97 * cap, cap, cap]
    ((step, said),) = heard("length_explosion", [(tokens, tokens / cap) for tokens in growing])
    assert step == 11 and re.search(rf"\b{cap}\b", said)
    close = [0.9 * cap] * 6 + [cap] * 9
    assert not heard("length_explosion", [(tokens, tokens / cap) for tokens in close]), "it began at the cap"


@pytest.mark.parametrize(
    ("name", "shares", "at"),
    [
        ("never truncated before", [0.0] * 250 + [0.3, 0.7, 0.98, 1.0, 1.0, 1.0], 254),
        ("inside the warmup of a long run", [0.0] * 5 + [0.9] * 9, 8),
        (
            "first learns to end, then forgets it",
            [0.96] * 5 + [0.5, 0.3, 0.1, 0.02, 0.0, 0.0, 0.0, 0.0] + [0.8] * 5,
            16,
        ),
        ("half of them from the beginning", [0.45] * 30 + [0.95] * 6, 33),
        ("a slow onset", [0.01] * 20 + [i / 20 for i in range(21)], 34),
    ],
)
def test_completions_that_stop_ending_stop_the_run(name, shares, at):
    guard = guards_of(Guards.of({}))["unending"]
    assert guard.spec.action == "stop"
    ((step, said),) = heard("unending", shares)
    assert step == at, name
    assert "truncated" in said


@pytest.mark.parametrize(
    "shares",
    [
        [1.0] * 40,
        [0.95, 1.0] * 20,
        [0.45, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05] + [0.02] * 20,
        [0.0, 0.6, 0.0, 0.7, 0.8, 0.0] * 6,
        [0.45, 0.6, 0.5, 0.55, 0.4] * 8,
    ],
)
def test_runs_whose_completions_never_ended_or_end_as_before_are_not_stopped(shares):
    assert not heard("unending", shares)


def test_truncation_alone_is_said():
    assert [s for s, _ in heard("truncation", [0.6] * 12)] == [10] and not heard("truncation", [0.5] * 30)


def test_accuracy_alone_is_watched_on_rollouts_and_on_the_held_out_set():
    falling = [0.80] * 20 + [0.80 - 0.02 * i for i in range(20)]
    ((step, said),) = heard("accuracy_loss", falling)
    assert 26 < step < 38 and "80.0%" in said
    assert not heard("accuracy_loss", [0.8 + 0.1 * math.sin(i) for i in range(60)])
    assert [s for s, _ in heard("held_out_loss", [0.8, 0.82, 0.75, 0.69, 0.60, 0.85, 0.5])] == [4, 7]


def test_an_entropy_that_goes_to_zero():
    assert not heard("entropy_collapse", ENTROPY)
    assert [s for s, _ in heard("entropy_collapse", [*ENTROPY, 0.019, 0.015, 0.01, 0.004, 0.001, 0.0])] == [17]
    assert heard("entropy_collapse", [0.0] * 12)[0][0] == 10


def test_reward_up_tokens_gone_accuracy_down():
    steps = range(40)
    hacked = [(0.70 + 0.005 * i, 95.0 * 0.93**i, 0.715 - 0.015 * i) for i in steps]
    ((step, said),) = heard("reward_hacking", hacked)
    assert 16 < step < 30 and "0.71" in said and "accuracy_floor" in said
    assert not heard("reward_hacking", [(r, t, 0.72 + 0.001 * i) for i, (r, t, _) in enumerate(hacked)]), (
        "shorter, and right"
    )
    assert not heard("reward_hacking", [(0.7 - 0.01 * i, t, a) for i, (_, t, a) in enumerate(hacked)]), (
        "reward falls too"
    )
    assert not heard("reward_hacking", [(r, 90.0, a) for r, _, a in hacked]), "tokens stay"


@pytest.mark.parametrize(
    ("right", "wrong", "cut", "cause"),
    [
        (0.95, 0.0, 0.0, "too easy"),
        (0.0, 0.96, 0.1, "too hard"),
        (0.05, 0.9, 0.8, "80% of the completions are truncated by max_completion_length"),
    ],
)
def test_groups_without_a_signal_and_their_cause(right, wrong, cut, cause):
    rows = [(1 - right - wrong, right, wrong, cut)] * 10
    ((step, said),) = heard("zero_signal", rows)
    assert step == 10 and cause in said
    assert not heard("zero_signal", [*rows[:9], (0.5, 0.25, 0.25, 0.0), *rows[:9]])


def test_undecided_verdicts_stop_at_once():
    guard = guards_of(Guards.of({}))["undecided"]
    assert guard.spec.action == "stop" and guard.seen(7, 0.2) is None
    assert re.search("undecided.*31%.*20%", guard.seen(8, 0.31))
    assert "undecided" not in guards_of(Guards.of({"undecided": False}))


def test_loops_are_heard():
    assert [s for s, _ in heard("repetition", [0.0, 0.1, 0.25, 0.3, 0.1, 0.3, 0.4, 0.5])] == [8]


def test_a_nan_is_no_observation():
    assert [s for s, _ in heard("repetition", [0.3, math.nan, 0.3, math.nan, 0.3])] == [5]


@pytest.mark.parametrize("name", [n for n, cls in GUARDS.items() if hasattr(cls, "seen") and cls.statistics])
def test_a_guard_goes_on_where_it_was(name):
    draws = [[abs(math.sin(3 * i + j)) for j in range(len(GUARDS[name].statistics))] for i in range(40)]
    whole, first, second = (guards_of(Guards.of({name: {"patience": 2}}))[name] for _ in range(3))
    for step, row in enumerate(draws[:17]):
        whole.seen(step, *row)
        first.seen(step, *row)
    import json

    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert [whole.seen(s, *row) for s, row in enumerate(draws[17:])] == [
        second.seen(s, *row) for s, row in enumerate(draws[17:])
    ]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"length_colapse": {}}, "guard 'length_colapse'.*'length_collapse'"),
        (
            {"repetition": {"thresholds": 0.1}},
            "guards.repetition.*parameter 'thresholds'.*'threshold'",
        ),
        ({"repetition": {"action": "rollback"}}, "action.* 'rollback'.*'roll_back'"),
        ({"repetition": {"threshold": 1.5}}, "guards.repetition.threshold.* 1.5.*at most 1"),
        ({"length_collapse": {"threshold": 1.5}}, "length_collapse.threshold.* 1.5.*below 1"),
        ({"length_explosion": {"threshold": 0.5}}, "length_explosion.threshold.* 0.5.*above 1"),
        ({"zero_signal": {"patience": 0}}, "guards.zero_signal.patience.* 0.*at least 1"),
        ({"reward_hacking": {"tokens": 2}}, "guards.reward_hacking.tokens.* 2.*below 1"),
        (
            {"mismatch": {"action": "roll_back"}},
            "action.* 'roll_back'.*warn or stop",
        ),
        ({"undecided": {"action": "roll_back"}}, "undecided.action.* warn or stop"),
        ({"not_finite": {"action": "warn"}}, "not_finite.action.* stop or roll_back"),
        ({"not_finite": {"threshold": 2}}, "guards.not_finite.* parameter 'threshold'; valid: action"),
        ({"not_finite": False}, "not_finite"),
        ({"repetition": "warn"}, "guards.repetition.* 'warn'.*false, or a mapping"),
        ([], r"guards.* \[\].*a mapping"),
    ],
)
def test_what_cannot_be_meant_says_what_can(section, message):
    with pytest.raises(ConfigError, match=message):
        Guards.of(section)
