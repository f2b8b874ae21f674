"""Every printed vector of the length cards: L = 1000..4000, c = 1 1 0 1, K = 4, cap 4096, four decimals."""

from __future__ import annotations

import math

import pytest
import torch

from tersely.core.build import build
from tersely.core.memory import PromptMemory
from tersely.core.types import Rollouts

L, C = [1000, 2000, 3000, 4000], [1, 1, 0, 1]


def rollouts(length=L, correct=C, **changes) -> Rollouts:
    n = len(length)
    changes = {
        key: torch.tensor(value) if key in ("budget", "well_formed") else value for key, value in changes.items()
    }
    return Rollouts(
        **{
            "group_size": n,
            "prompt_id": ["q"] * n,
            "correct": torch.tensor(correct, dtype=torch.float32),
            "length": torch.tensor(length),
            "truncated": torch.zeros(n, dtype=torch.bool),
            "max_length": 4096,
            "memory": PromptMemory(),
            **changes,
        }
    )


def budget(value: float) -> dict:
    return {"budget": [float(value)] * 4}


ADDITIVE = {"kimi", "hapo_history"}
VECTORS = [
    ({"name": "alp", "beta": 0.2, "normalizer": 4096}, {}, [0.9634, 0.9268, -0.1099, 0.8535]),
    (
        {"name": "alp", "beta": 0.25, "normalizer": "group_max", "solve_rate_floor": 0},
        {},
        [0.9531, 0.9062, -0.1406, 0.8125],
    ),
    ({"name": "arora_zanette", "alpha": 0.2}, {}, [0.9489, 0.9133, 0, 0.8416]),
    ({"name": "kimi"}, {}, [1.5, 1.1667, -0.1667, 0.5]),
    ({"name": "lapo_discovery"}, {}, [1.0, 1.7, 0, 1.0]),
    ({"name": "lapo_internalization"}, budget(2000), [1.0, 1.8, 0, 1.0]),
    ({"name": "lapo_internalization"}, budget(1900), [1.0, 1.5653, 0, 1.0]),
    ({"name": "l1_exact"}, budget(2000), [0.7, 1.0, -0.3, 0.4]),
    ({"name": "l1_max"}, budget(2000), [0.8, 0.5, 0, 0]),
    ({"name": "shorterbetter"}, {}, [2, 1, -2, -1]),
    ({"name": "hapo_history"}, {"memory": PromptMemory({"q": {"shortest": 2000}})}, [1.7071, 1.0, -0.7071, 0.3]),
    ({"name": "laser", "target_length": 2048}, {}, [1.5, 1.5, -0.5, 1.0]),
    ({"name": "gr3"}, {}, [0.8834, 0.7911, 0, 0.6545]),
    ({"name": "dast"}, {}, [0.8198, 0.6395, -0.1, 0.279]),
    ({"name": "grpo_lead", "gate": 0}, {}, [1.0446, 1.0110, -1, 0.9469]),
    ({"name": "grpo_lead"}, {}, [1, 1, -1, 1]),
    ({"name": "acoer"}, {"thinking_length": torch.tensor([1000, 2000, 3000, 5000])}, [1.0175, 1.0142, 0, 1.0]),
    (
        {"name": "acoer", "counts": "all", "curvature": 0, "initial_target": None},
        {},
        [1.0151, 1.0102, 0, 1.0005],
    ),
    ({"name": "cosine"}, {}, [1.86, 1.5184, -1.665, 1.0014]),
    ({"name": "o1_pruner"}, {}, [2.75, 1.5, -3.9167, 0.875]),
    ({"name": "o1_pruner", "form": "released"}, {}, [2.75, 1.5, -2, 0.875]),
    ({"name": "da_dler"}, {}, [1, 1, 0, 0]),
    ({"name": "budgetthinker"}, budget(2500), [0.946, 0.994, 0.204, 0.85]),
    ({"name": "budgetthinker", "form": "released"}, budget(2500), [1, 1, 0.204, 0.85]),
    ({"name": "leash", "penalty": 0.5, "target_length": 2000}, {}, [1, 1, -0.25, 0.5]),
    (
        {"name": "soft_overlong", "cache": 1000, "max_length": 4000},
        {"length": [2500, 3200, 4000, 4100]},
        [0, -0.2, -1, -1],
    ),
]
ARM = {"correct": [1, 1, 1, 1], "mode": ["short_cot", "code", "long_cot", "long_cot"]}
VECTORS += [
    ({"name": "arm"}, {**ARM, "progress": 0.0}, [4, 4, 2, 2]),
    ({"name": "arm"}, {**ARM, "progress": 0.25}, [3.5607, 3.5607, 1.8536, 1.8536]),
    ({"name": "arm"}, {**ARM, "progress": 1.0}, [1, 1, 1, 1]),
]
AUTOTHINK = {"correct": [1, 1, 0, 0], "mode": ["think", "no_think", "think", "think"]}
VECTORS += [
    ({"name": "autothink", "stage": 1}, AUTOTHINK, [0.5, 2, -0.5, -0.5]),
    ({"name": "autothink", "stage": 2}, AUTOTHINK, [1, 2, 0, 0]),
    ({"name": "autothink", "stage": 3}, AUTOTHINK, [1.036, 1.9653, -0.036, 0.0347]),
]
SELF = {"correct": [1, 1, 0, 0], **budget(1000)}
VECTORS += [
    (
        {"name": "selfbudgeter"},
        {**SELF, "length": [900, 1000, 1100, 1300], "progress": 0.5},
        [0.7629, 0.75, -0.2371, -0.2115],
    ),
    (
        {"name": "selfbudgeter"},
        {**SELF, "length": [850, 950, 1050, 1300], "progress": 1.0},
        [0.5, 0.9268, -0.0732, -0.5],
    ),
]


@pytest.mark.parametrize(
    ("spec", "changes", "expected"), VECTORS, ids=[f"{i}-{v[0]['name']}" for i, v in enumerate(VECTORS)]
)
def test_a_term_gives_the_printed_vector(spec, changes, expected):
    terms = [{"name": "correctness"}, spec] if spec["name"] in ADDITIVE else [spec]
    got = build("reward", terms)(rollouts(**changes))
    assert got.dtype == torch.float32
    assert got.tolist() == pytest.approx(expected, abs=1e-4)


ADVANTAGES = [
    ({"name": "group_zscore"}, [0.4999, 0.4999, -1.4997, 0.4999]),
    ({"name": "group_mean"}, [0.25, 0.25, -0.75, 0.25]),
    ({"name": "rloo"}, [0.3333, 0.3333, -1, 0.3333]),
    ({"name": "batch_whitened", "weighting": "token"}, [0.6545, 0.6545, -1.5271, 0.6545]),
    ({"name": "gfpo", "keep": 3}, [0.5773, 0.5773, -1.1545, 0]),
    ({"name": "grpo_lead"}, [0.4750, 0.4750, -2.2390, 0.4750]),
    ({"name": "identity"}, [1, 1, 0, 1]),
    ({"name": "reference_baseline"}, [0.25, 0.25, -0.75, 0.25]),
]


@pytest.mark.parametrize(("spec", "expected"), ADVANTAGES, ids=[spec["name"] for spec, _ in ADVANTAGES])
def test_an_advantage_gives_the_printed_vector(spec, expected):
    got = build("advantage", spec)(torch.tensor([1.0, 1.0, 0.0, 1.0]), rollouts())
    assert got.tolist() == pytest.approx(expected, abs=1e-4)


def test_hbpo_reward_and_advantage_give_the_printed_vectors():
    data = rollouts(
        [400, 900, 800, 1500, 1800, 2500, 2000, 3500],
        [1, 1, 1, 0, 1, 1, 1, 0],
        budget=[512.0, 512, 1024, 1024, 2048, 2048, 2560, 2560],
    )
    reward = build("reward", "hbpo")(data)
    assert reward.tolist() == pytest.approx([3.9231, 3.6694, 3.6955, 0, 2.8284, 2.1879, 2.2223, 0], abs=1e-4)
    advantage = build("advantage", {"name": "hbpo", "epsilon": 1e-6})(reward, data)
    expected = [0.8946, 0.7333, -0.9710, -3.3194, 0.0055, -0.4016, -1.1706, -2.5828]
    assert advantage.tolist() == pytest.approx(expected, abs=1e-4)
    released = build("advantage", {"name": "hbpo", "epsilon": 1e-6, "form": "released"})(reward, data)
    intra = [-0.1269, -0.1269, -1.8478, -1.8478, -0.3203, -0.3203, -1.1111, -1.1111]
    assert (released - advantage).tolist() == pytest.approx(intra, abs=1e-4)


def test_hbpo_near_the_cap_is_negative_for_a_right_answer():
    reward = build("reward", "hbpo")(rollouts(length=[4000] * 4, correct=[1] * 4, **budget(512)))
    assert reward[0].item() == pytest.approx(-0.7043, abs=1e-4)


def test_right_and_still_negative():
    rewards = torch.tensor([0.98, 0.97, 0.95, 0.93, 0.92, 0.90, 0.70, 0])
    got = build("advantage", "group_zscore")(rewards, rollouts([1] * 8, [1] * 7 + [0]))
    assert got.tolist() == pytest.approx([0.56, 0.53, 0.47, 0.41, 0.38, 0.32, -0.28, -2.39], abs=5e-3)


def test_lapo_percentiles_and_target_of_the_card():
    data = rollouts()
    build("reward", "lapo_discovery").update(data)
    assert data.memory.get("q", "target") == 2000
    edge = build("reward", "lapo_discovery")(rollouts(length=[1600, 2800, 1, 1600], correct=[1, 1, 0, 1]))
    assert not edge.isnan().any()
    assert math.isclose(data.memory.get("q", "target"), 2000)
