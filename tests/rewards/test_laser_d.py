"""LASER-D and -DE: bands, refresh by coverage, state."""

from __future__ import annotations

import json
import math

import pytest

from tersely.core.build import build
from tersely.core.errors import ConfigError


def term(name="laser_d", **parameters):
    defaults = {"min_target": 100, "max_target": 1000, "step": 100, "refresh_every": 2}
    return build("reward", {"name": name, **defaults, **parameters})


EASY = ([150, 250, 350, 450, 550, 650, 999, 999], [1] * 6 + [0] * 2)


def test_coverage_of_each_band_with_eight_to_a_group(make_rollouts):
    """Easy: a fifth of the right lengths; medium: half; hard: all."""
    learner = term(refresh_every=1)
    learner.update(make_rollouts(*EASY))
    assert learner.targets == {"easy": 300, "medium": 1000, "hard": 1000}
    learner.update(make_rollouts([150, 250, 350, 450, 9, 9, 9, 9], [1] * 4 + [0] * 4))
    assert learner.targets["medium"] == 300
    learner.update(make_rollouts([150, 450, 9, 9, 9, 9, 9, 9], [1] * 2 + [0] * 6))
    assert learner.targets["hard"] == 500


def test_the_released_form_covers_all_decided_rows(make_rollouts):
    learner = term(refresh_every=1, form="released")
    learner.update(make_rollouts([150, 950, 950, 950, 950, 950, 950, 950], [1] + [0] * 7))
    assert learner.targets["hard"] == 1000
    paper = term(refresh_every=1)
    paper.update(make_rollouts([150, 950, 950, 950, 950, 950, 950, 950], [1] + [0] * 7))
    assert paper.targets["hard"] == 200


def test_an_exact_third_is_medium_and_two_thirds_easy(make_rollouts):
    learner = term(initial_target=500)
    learner.targets = {"easy": 10.0, "medium": 20.0, "hard": 30.0}
    for right, within in ((2, 10), (1, 20), (0, 30)):
        data = make_rollouts([within, within + 1, 5], [1] * right + [0] * (3 - right))
        if right:
            assert learner(data)[0].item() == 1.5
        assert learner._target_of(data).item() == within


def test_no_right_row_and_nothing_covered_give_the_maximum(make_rollouts):
    learner = term(refresh_every=1, initial_target=300)
    learner.update(make_rollouts([50] * 8, [0] * 8))
    assert learner.targets == {"easy": 300, "medium": 300, "hard": 1000}
    learner.update(make_rollouts([2000] * 8, [1] * 8))
    assert learner.targets["easy"] == 1000


def test_a_call_without_decided_rows_counts_and_buffers_nothing(make_rollouts):
    learner = term()
    learner.update(make_rollouts(*EASY))
    learner.update(make_rollouts([1] * 8, [math.nan] * 8))
    assert learner.updates == 2 and learner.targets["easy"] == 300 and learner.buffer == {}


def test_state_survives_in_the_middle_of_a_window(make_rollouts):
    first, second = term(), term()
    first.update(make_rollouts(*EASY))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for learner in (first, second):
        learner.update(make_rollouts([450] * 8, [1] * 8))
    assert first.state_dict() == second.state_dict() and first.targets["easy"] == 400


def test_de_pays_long_wrong_rows_but_not_truncated_ones(make_rollouts):
    rows = {"length": [50, 500, 500, 500], "correct": [0] * 4, "truncated": [False, False, True, False]}
    rows["well_formed"] = [True, True, True, False]
    assert term("laser_de", initial_target=100)(make_rollouts(**rows)).tolist() == [-0.5, 0, -0.5, -1]
    all_of_them = term("laser_de", initial_target=100, exclude_truncated=False)
    assert all_of_them(make_rollouts(**rows)).tolist() == [-0.5, 0, 0, -1]


@pytest.mark.parametrize("name", ["laser_d", "laser_de"])
@pytest.mark.parametrize("bad", [{"step": 0}, {"min_target": 2000}, {"medium_threshold": 0.9}, {"refresh_every": 0}])
def test_ranges(name, bad):
    with pytest.raises(ConfigError, match=f"{name}[.]"):
        term(name, **bad)
