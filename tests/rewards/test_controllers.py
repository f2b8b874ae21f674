"""Terms that learn a scalar: A-DLP, LEASH, Acoer, and the history of HAPO."""

from __future__ import annotations

import json
import math

import pytest
import torch

from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.memory import PromptMemory


def test_adlp_follows_the_batch_accuracy_and_stops_at_zero(make_rollouts):
    term = build("reward", {"name": "adlp", "penalty": 1e-3, "learning_rate": 0.01, "target_accuracy": 0.5})
    term.update(make_rollouts([5] * 4, [1, 1, 1, math.nan]))
    assert term.current == pytest.approx(1e-3 + 0.01 * 0.5)
    term.update(make_rollouts([5] * 4, [math.nan] * 4))
    assert term.current == pytest.approx(6e-3)
    for _ in range(3):
        term.update(make_rollouts([5] * 4, [0] * 4))
    assert term.current == 0
    assert term(make_rollouts([4000], [1])).item() == 1


def test_leash_follows_the_mean_length_within_its_bounds(make_rollouts):
    term = build("reward", {"name": "leash", "target_length": 100, "learning_rate": 0.5, "max_penalty": 1.0})
    term.update(make_rollouts([150, 250, 9999], [1, 0, math.nan]))
    assert term.current == pytest.approx(0.5)
    assert term(make_rollouts([200, 50], [1, 1])).tolist() == pytest.approx([0.5, 1.0])
    term.update(make_rollouts([4000], [1]))
    assert term.current == 1
    term.update(make_rollouts([9], [math.nan]))
    assert term.current == 1
    term.update(make_rollouts([1] * 2, [0, 0]))
    assert term.current == pytest.approx(1 + 0.5 * (0.01 - 1))


def acoer(**parameters):
    return build("reward", {"name": "acoer", "counts": "all", "warmup": 0, "window": 2, **parameters})


def test_acoer_moves_as_printed(make_rollouts):
    term = acoer()
    term.update(make_rollouts([1000, 2000, 3000, 4000], [1, 1, 0, 1]))
    assert (term.current, term.target) == (0.02, 4096)
    term.update(make_rollouts([500] * 4, [1, 0, 0, 0]))
    assert (term.current, term.target) == pytest.approx((0.0204, 1922.2222), abs=1e-4)
    term.update(make_rollouts([500] * 4, [0] * 4))
    assert (term.current, term.target) == pytest.approx((0.01938, 1922.2222), abs=1e-4)


def test_acoer_moves_at_every_batch_after_its_warmup_and_keeps_its_bounds(make_rollouts):
    term, data = acoer(warmup=3, alpha_max=0.021, accuracy_drop=0.01), make_rollouts([10, 20], [1, 1])
    for _ in range(3):
        term.update(data)
    assert (term.current, term.target) == (0.02, 4096)
    for _ in range(5):
        term.update(data)
    assert (term.current, term.target) == (0.021, 512)
    for _ in range(15):
        term.update(make_rollouts([10], [0]))
    assert term.current == 0.01


def test_acoer_counts_a_batch_without_verdicts_and_changes_nothing(make_rollouts):
    term = acoer()
    for _ in range(4):
        term.update(make_rollouts([5], [math.nan]))
    assert (term.updates, term.accuracy, term.tokens, term.history, term.current) == (4, None, None, [], 0.02)
    term.update(make_rollouts([5], [0]))
    assert (term.accuracy, term.tokens) == (0, None)


def test_acoer_pays_up_to_its_weight_and_never_less_than_one(make_rollouts):
    data = make_rollouts([0, 4096, 9999], [1] * 3)
    for curvature in (0, 5):
        assert acoer(curvature=curvature, alpha=0.2)(data).tolist() == pytest.approx([1.2, 1.0, 1.0])
    thinking = make_rollouts([9999], [1], thinking_length=torch.tensor([0]))
    assert build("reward", "acoer")(thinking).item() == pytest.approx(1.02)


def test_acoer_levels_of_wrong_rows(make_rollouts):
    term = acoer(format_reward=0.1, malformed_reward=-0.5)
    data = make_rollouts([4096] * 3, [0, 0, 1], well_formed=[True, False, False])
    assert term(data).tolist() == pytest.approx([0.1, -0.5, 1.0])


def test_history_keeps_the_shortest_right_answer(make_rollouts):
    term, memory = build("reward", "hapo_history"), PromptMemory()
    data = make_rollouts([300, 200, 100, 50], [1, 1, 0, math.nan], memory=memory)
    assert term(data)[:3].tolist() == [0, 0, 0]
    for length, kept in ((300, 300), (200, 200), (400, 200)):
        term.update(make_rollouts([length, 10], [1, 0], memory=memory))
        assert memory.get("q0", "shortest") == kept
    term.update(make_rollouts([5], [0], memory=memory))
    assert memory.get("q0", "shortest") == 200
    got = term(make_rollouts([200, 400, 800, 100, 300], [1, 1, 1, 0, 0], memory=memory))
    assert got.tolist() == pytest.approx([0, -0.7, -0.7, 0, -math.sqrt(0.5)], abs=1e-6)


def test_history_of_a_prompt_met_twice_in_a_batch(make_rollouts):
    data = make_rollouts([300, 300, 500, 500], [1] * 4, 2, prompt_id=["q"] * 4)
    build("reward", "hapo_history").update(data)
    assert data.memory.get("q", "shortest") == 300


def test_history_cannot_be_written_without_a_memory(make_rollouts):
    with pytest.raises(ValueError, match="rollouts.memory.*hapo_history"):
        build("reward", "hapo_history").update(make_rollouts([5], [1], memory=None))


@pytest.mark.parametrize("name", ["adlp", "leash", "acoer"])
def test_state_is_saved_and_restored(name, make_rollouts):
    one, other = build("reward", name), build("reward", name)
    one.update(make_rollouts([9000, 100], [1, 1], thinking_length=torch.tensor([8000, 90])))
    assert one.state_dict() != other.state_dict()
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    data = make_rollouts([5000, 50], [1, 0], thinking_length=torch.tensor([4000, 40]))
    for term in (one, other):
        term.update(data)
    assert one.state_dict() == other.state_dict() and one(data).tolist() == other(data).tolist()


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "adlp", "target_accuracy": 2},
        {"name": "leash", "target_length": 0},
        {"name": "acoer", "curvature": -1},
        {"name": "acoer", "window": 0},
        {"name": "acoer", "alpha": 0.6},
        {"name": "acoer", "initial_target": 0},
        {"name": "hapo_history", "weight": -1},
    ],
)
def test_ranges(spec):
    with pytest.raises(ConfigError, match=spec["name"]):
        build("reward", spec)
