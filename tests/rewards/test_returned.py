"""What a reward of a user's own returns is refused in one line where it is not one number per rollout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from tersely.algorithms.checks import made_up_group
from tersely.algorithms.objective import Objective
from tersely.algorithms.trial import trial_score
from tersely.core.errors import ConfigError
from tersely.core.reward_sum import RewardSum
from tersely.launch.preflight.trial_rollouts import size_findings, term_sizes
from tersely.rewards.alp import ALP
from tersely.rl.for_trl import for_trl


class Pays:
    """A verifier of one's own with nothing but `verify`."""

    def verify(self, golds, responses):
        return [SimpleNamespace(correct=1.0, status="", answer="1")] * len(responses)


async def later(rollouts):
    return rollouts.correct


RETURNED = {
    "list": (lambda r: r.correct.tolist(), "a list of 8 values"),
    "None": (lambda r: None, "None"),
    "int": (lambda r: 1, "int 1"),
    "bool": (lambda r: True, "bool True"),
    "numpy": (lambda r: r.correct.numpy(), "a ndarray"),
    "scalar": (lambda r: r.correct.mean(), r"shape \(\)"),
    "group": (lambda r: r.correct.view(-1, r.group_size).mean(1), r"shape \(2,\)"),
    "column": (lambda r: r.correct[:, None], r"shape \(8, 1\)"),
    "ints": (lambda r: r.length, "torch.int64 tensor"),
    "bools": (lambda r: r.truncated, "torch.bool tensor"),
    "sparse": (lambda r: r.correct.to_sparse(), "without plain values"),
    "meta": (lambda r: r.correct.to("meta"), "without plain values"),
    "eight bits": (lambda r: r.correct.to(torch.float8_e4m3fn), "float8_e4m3fn tensor"),
    "coroutine": (later, "a coroutine"),
    "infinite": (lambda r: r.correct / 0, "infinite"),
    "nan": (lambda r: r.correct * torch.nan, "nan for all 8 rollouts"),
}


@pytest.mark.parametrize("kind", RETURNED)
def test_wrong_returns_are_refused_before_the_run(kind):
    term, message = RETURNED[kind]
    objective = Objective.from_specs({"reward": "correctness"})
    object.__setattr__(objective, "reward", RewardSum(("mine",), (term,), (1.0,)))
    with pytest.raises(ConfigError, match=f"reward mine.*{message}"):
        trial_score(objective, 4, 64)


def test_a_graph_behind_a_reward_is_cut():
    weight = torch.nn.Parameter(torch.ones(4))
    group = made_up_group((1.0, 1.0, 0.0, 1.0), 64)
    found = RewardSum(("mine",), (lambda r: weight * r.correct,), (1.0,))(group)
    assert not found.requires_grad and found.tolist() == [1.0, 1.0, 0.0, 1.0]


def test_a_term_that_drowns_the_outcome_is_refused_and_a_small_one_shown():
    group = made_up_group((1.0, 1.0, 0.0, 1.0), 64)
    drowning = term_sizes(RewardSum(("alp",), (ALP(beta=0.9, normalizer=1),), (1.0,)), group)
    (finding,) = size_findings({"alp": 12.5})
    assert finding.level == "fail" and "alp" in finding.text
    (finding,) = size_findings(
        term_sizes(RewardSum(("alp",), (ALP(beta=0.2, normalizer="max_length"),), (1.0,)), group)
    )
    assert finding.level == "ok" and drowning["alp"] > 2


@pytest.mark.parametrize("name", ["l1_exact", "l1_max", "budgetthinker"])
def test_a_budget_reward_for_trl_without_budgets_is_refused(name):
    verifier = Pays()
    reward = for_trl(name, verifier=verifier, max_completion_length=32, group_size=4, ended=False)
    rows = (["p"] * 4, ["1"] * 4, [[1, 2, 3]] * 4)
    with pytest.raises(ConfigError, match=f"reward {name} .*column `budget`.*with_prompting"):
        reward(*rows, answer=["1"] * 4)
    assert len(reward(*rows, answer=["1"] * 4, budget=[4] * 4)) == 4


@dataclass(frozen=True)
class Reads:
    includes_outcome: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("columns:steps", "completion_text")

    def __call__(self, rollouts):
        words = torch.tensor([float(len(text.split())) for text in rollouts.completion_text])
        return rollouts.correct - words / torch.tensor([float(steps) for steps in rollouts.column("steps")])


def test_texts_and_columns_reach_a_reward_under_trl():
    verifier = Pays()
    reward = for_trl(f"{__name__}:Reads", verifier=verifier, max_completion_length=32, group_size=2, ended=False)
    rows = (["p"] * 2, ["a b", "c"], [[1, 2, 3]] * 2)
    assert reward(*rows, answer=["1"] * 2, steps=[4, 8]) == [0.5, 0.875]
    with pytest.raises(ConfigError, match="column 'steps'.*'step'"):
        reward(*rows, answer=["1"] * 2, step=[4, 8])


def of(length):
    return lambda rollouts: rollouts.correct - length * rollouts.length / rollouts.max_length


@pytest.mark.parametrize(
    ("values", "divides", "level"),
    [
        (of(0.3), False, "ok"),
        (of(50.0), False, "fail"),
        (of(-50.0), False, "fail"),
        (of(1e-6), False, "warn"),
        (of(1e-6), True, "ok"),
        (
            lambda rollouts: 4 * rollouts.correct - 2 * rollouts.correct * rollouts.length / rollouts.max_length,
            False,
            "ok",
        ),
    ],
    ids=["small", "drowns", "drowns by a bonus", "tiny", "tiny under a z-score", "in larger units"],
)
def test_the_size_of_a_term_is_measured_in_what_it_pays_a_correct_answer(values, divides, level):
    @dataclass(frozen=True)
    class Term:
        includes_outcome: ClassVar[bool] = True

        def __call__(self, rollouts):
            return values(rollouts)

    lengths = torch.tensor([12, 20, 22, 24, 20, 44])
    group = replace(made_up_group((1.0, 1.0, 0.0, 1.0, 0.0, 1.0), 64), length=lengths)
    (finding,) = size_findings(term_sizes(RewardSum(("mine",), (Term(),), (1.0,)), group), divides)
    assert finding.level == level, finding


def test_bare_correctness_has_no_size():
    assert list(size_findings(term_sizes(Objective.from_specs({}).reward, made_up_group((1.0, 0.0), 64)))) == []
