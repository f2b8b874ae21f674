"""The contract that every reward term keeps, checked for all of them at once."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.properties import examples

from tersely.algorithms.objective import take_rows
from tersely.core.build import build
from tersely.core.memory import PromptMemory
from tersely.core.protocols import replaces
from tersely.core.types import Rollouts
from tersely.rewards import REWARDS

CAP = 4096
MODES = {"autothink": ("think", "no_think"), "adaptthink": ("think", "no_think"), "thinkless": ("short", "think")}
SPECS = [{"name": name} for name in REWARDS]
SPECS += [
    {"name": "alp", "beta": 0.2, "normalizer": "max_length"},
    {"name": "alp", "beta": 0.3, "normalizer": "group_max", "solve_rate_floor": 0},
    {"name": "lapo_discovery", "form": "released"},
    {"name": "lapo_internalization", "form": "released"},
    {"name": "hbpo", "form": "released"},
    {"name": "autothink", "stage": 2},
    {"name": "autothink", "stage": 3},
    {"name": "l1_max", "form": "released"},
    {"name": "o1_pruner", "form": "released"},
    {"name": "arora_zanette", "alpha": 0.4, "truncated_is_wrong": False, "epsilon": 0},
    {"name": "budgetthinker", "form": "released"},
    {"name": "laser_d", "initial_target": 1000},
    {"name": "laser_de", "initial_target": 1000},
    {"name": "leash", "penalty": 0.5, "target_length": 1000},
    {"name": "kimi", "weight": 2.0},
    {"name": "truncation", "limit": 1000},
]
IDS = [" ".join(f"{key}={value}" if key != "name" else value for key, value in spec.items()) for spec in SPECS]
every_term = pytest.mark.parametrize("spec", SPECS, ids=IDS)
quick = examples(15)


@st.composite
def batches(draw, name: str, decided_only: bool = False) -> Rollouts:
    """1 to 3 groups of 1 to 5 rows: undecided, malformed and truncated rows, ties, rows without a budget."""
    size, prompts = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    rows = size * prompts
    length = draw(
        st.lists(st.one_of(st.sampled_from([1, 900, CAP]), st.integers(1, CAP)), min_size=rows, max_size=rows)
    )
    verdicts = [0.0, 1.0] if decided_only else [0.0, 1.0, math.nan]

    def each(choices):
        return draw(st.lists(st.sampled_from(choices), min_size=rows, max_size=rows))

    records = {"target": 900.0, "shortest": 700.0, "budget_max": 1000.0, "reference_accuracy": 0.5}
    known = draw(st.sets(st.integers(0, prompts - 1)))
    return Rollouts(
        group_size=size,
        prompt_id=[f"q{i // size}" for i in range(rows)],
        correct=torch.tensor(each(verdicts)),
        length=torch.tensor(length),
        truncated=torch.tensor([n == CAP for n in length]),
        max_length=CAP,
        progress=draw(st.sampled_from([0.0, 0.3, 1.0])),
        well_formed=torch.tensor(each([True, True, False])),
        budget=torch.tensor(each([512.0, 2048.0, 4096.0, math.nan])),
        mode=each(MODES.get(name, ("think", "no_think"))),
        token_ids=(torch.arange(rows * 12) * 7 % 11).view(rows, 12),
        entropy=(torch.arange(rows * 12) * 0.37 % 2).view(rows, 12),
        thinking_length=torch.tensor(each([0, 9, 900, CAP])),
        thinking_end=torch.tensor(each([0, 3, 12])),
        answer_start=torch.tensor(each([4, 9, 12])),
        step=torch.arange(12).div(3, rounding_mode="floor").repeat(rows, 1),
        reflections=torch.tensor(each([0, 30, 50, 90])),
        exit=torch.tensor([i % size for i in range(rows)]),
        reference_score=torch.tensor(each([0.0, 0.2, 0.7, 1.0])),
        reference_base=torch.tensor(each([0.0, 0.3, 1.0])),
        reference_logp=torch.tensor(each([0.0, -1.0, -40.0, -math.inf])),
        reference_tokens=torch.tensor(each([1, 2, 7])),
        repeated=torch.tensor(each([False, False, True])),
        memory=PromptMemory({f"q{i}": records for i in known}),
    )


def reordered(rollouts: Rollouts, order: list[int], group_size: int | None = None) -> Rollouts:
    """The rows in another order, or some of them."""
    changes = {"group_size": group_size or rollouts.group_size}
    for field in dataclasses.fields(rollouts):
        value = getattr(rollouts, field.name)
        if isinstance(value, torch.Tensor):
            changes[field.name] = value[order]
        elif field.name in ("prompt_id", "mode"):
            changes[field.name] = [value[i] for i in order]
    return dataclasses.replace(rollouts, **changes)


def same(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, equal_nan=True, atol=1e-6, rtol=1e-6)


@every_term
def test_permutation_inside_a_group_permutes_the_rewards(spec):
    @quick
    @given(batches(spec["name"]), st.randoms(use_true_random=False))
    def check(rollouts, random):
        order = []
        for start in range(0, len(rollouts.prompt_id), rollouts.group_size):
            rows = list(range(start, start + rollouts.group_size))
            random.shuffle(rows)
            order += rows
        term = build("reward", spec)
        same(term(reordered(rollouts, order)), term(rollouts)[order])

    check()


@every_term
def test_prompts_do_not_influence_each_other(spec):
    term = build("reward", spec)
    if getattr(term, "scope", "group") == "batch":
        pytest.skip("its scope is the batch")

    @quick
    @given(batches(spec["name"]))
    def check(rollouts):
        together = term(rollouts)
        rows = torch.arange(len(together)) // rollouts.group_size
        alone = [term(take_rows(rollouts, rows == p)) for p in range(int(rows[-1]) + 1)]
        same(torch.cat(alone), together)
        backwards = list(reversed(range(int(rows[-1]) + 1)))
        order = [p * rollouts.group_size + j for p in backwards for j in range(rollouts.group_size)]
        same(term(reordered(rollouts, order)), together[order])

    check()


def test_the_balance_of_autothink_does_read_the_batch():
    correct, length, truncated = torch.ones(4), torch.tensor([5] * 4), torch.zeros(4, dtype=torch.bool)
    base = Rollouts(2, ["a", "a", "b", "b"], correct, length, truncated, CAP, mode=["think"] * 4)
    other = dataclasses.replace(base, mode=["think", "think", "no_think", "no_think"])
    term = build("reward", "autothink")
    assert not torch.equal(term(base)[:2], term(other)[:2])


@every_term
def test_a_right_row_is_never_worth_less_than_a_wrong_one(spec):
    """Among well-formed rows (one that should announce a budget and did not is not); additive terms on the outcome."""
    term = build("reward", spec)
    outcome = 0.0 if term.includes_outcome else 1.0

    if getattr(term, "violates_outcome_order", ""):
        assert len(term.violates_outcome_order) > 10
        return

    @examples(40)
    @given(batches(spec["name"], decided_only=True))
    def check(rollouts):
        formed = torch.ones_like(rollouts.truncated)
        budget = rollouts.budget.nan_to_num(1024.0) if spec["name"] == "selfbudgeter" else rollouts.budget
        rollouts = dataclasses.replace(rollouts, well_formed=formed, budget=budget)
        value = (term(rollouts) + outcome * rollouts.correct).view(-1, rollouts.group_size)
        right = (rollouts.correct == 1).view(-1, rollouts.group_size)
        worst_right = torch.where(right, value, torch.inf).amin(1)
        best_wrong = torch.where(right, -torch.inf, value).amax(1)
        assert (worst_right >= best_wrong - 1e-6).all()

    if spec["name"] == "format":
        return
    check()


@every_term
def test_finite_on_decided_rows_and_nan_on_undecided_ones(spec):
    @quick
    @given(batches(spec["name"]))
    def check(rollouts):
        value = build("reward", spec)(rollouts)
        assert value.dtype == torch.float32 and value.shape == rollouts.correct.shape
        assert torch.equal(value.isnan(), rollouts.correct.isnan())
        assert value[rollouts.decided].isfinite().all()

    check()


@every_term
def test_finite_in_every_degenerate_group(spec):
    """All right, all wrong, one right, none decided; equal, cut off and different lengths; K = 1, 2, 7."""
    term = build("reward", spec)
    for size, verdict, length in itertools.product(
        (1, 2, 7), (1.0, 0.0, "one right", math.nan), ("equal", "cut", "any")
    ):
        correct = [1.0] + [0.0] * (size - 1) if verdict == "one right" else [verdict] * size
        tokens = {"equal": [700] * size, "cut": [CAP] * size, "any": list(range(1, size + 1))}[length]
        rollouts = Rollouts(
            group_size=size,
            prompt_id=["q"] * size,
            correct=torch.tensor(correct),
            length=torch.tensor(tokens),
            truncated=torch.tensor([length == "cut"] * size),
            max_length=CAP,
            budget=torch.full((size,), 512.0),
            mode=list((MODES.get(spec["name"], ("think", "no_think")) * size)[:size]),
            token_ids=torch.ones(size, 12, dtype=torch.int64),
            entropy=torch.ones(size, 12),
            thinking_length=torch.tensor(tokens),
            thinking_end=torch.full((size,), 12),
            answer_start=torch.full((size,), 12),
            step=torch.zeros(size, 12, dtype=torch.int64),
            reflections=torch.zeros(size, dtype=torch.int64),
            exit=torch.arange(size),
            reference_score=torch.full((size,), 0.5),
            reference_base=torch.zeros(size),
            reference_logp=torch.full((size,), -math.inf),
            reference_tokens=torch.ones(size, dtype=torch.int64),
            repeated=torch.zeros(size, dtype=torch.bool),
        )
        value = term(rollouts)
        assert torch.equal(value.isnan(), rollouts.correct.isnan()), (size, verdict, length)
        assert not value.isinf().any(), (size, verdict, length)


@every_term
def test_undecided_rows_enter_no_statistic(spec):
    """What an undecided row looks like changes nothing, and the group is that of the decided rows alone."""

    @quick
    @given(batches(spec["name"]), st.integers(1, CAP))
    def check(rollouts, length):
        term, decided = build("reward", spec), rollouts.decided
        changed = dataclasses.replace(
            rollouts,
            length=torch.where(decided, rollouts.length, length),
            truncated=torch.where(decided, rollouts.truncated, True),
            well_formed=torch.where(decided, rollouts.well_formed, False),
            mode=[m if d else "think" for m, d in zip(rollouts.mode, decided.tolist(), strict=True)],
        )
        same(term(changed), term(rollouts))
        if len(set(rollouts.prompt_id)) == 1 and decided.any():
            rows = decided.nonzero().flatten().tolist()
            same(term(reordered(rollouts, rows, len(rows))), term(rollouts)[decided])

    check()


@every_term
def test_ranks_see_the_same_values_and_the_same_state(spec):
    """Gathered rows are the same rows whatever rank held them: same reward, same learnt state, on every rank."""

    @examples(12)
    @given(st.lists(batches(spec["name"]), min_size=1, max_size=4), st.integers(1, 3))
    def check(steps, ranks):
        terms = [build("reward", spec) for _ in range(ranks)]
        for step in steps:
            copies = [_over_ranks(step, ranks) for _ in terms]
            values = [term(copy) for term, copy in zip(terms, copies, strict=True)]
            assert all(torch.equal(value.nan_to_num(9), values[0].nan_to_num(9)) for value in values)
            same(values[0], build_like(terms[0])(step))
            for term, data in zip(terms, copies, strict=True):
                term.update(data)
            assert all(data.memory == copies[0].memory for data in copies)
        assert all(term.state_dict() == terms[0].state_dict() for term in terms)

    check()


def build_like(term):
    return copy.deepcopy(term)


def _over_ranks(rollouts: Rollouts, ranks: int) -> Rollouts:
    """Cut in as many parts as ranks, groups straddling them, and gathered again."""
    changes = {}
    for field in dataclasses.fields(rollouts):
        value = getattr(rollouts, field.name)
        if isinstance(value, torch.Tensor):
            changes[field.name] = torch.cat(value.clone().tensor_split(ranks))
    return dataclasses.replace(rollouts, memory=copy.deepcopy(rollouts.memory), **changes)


@every_term
def test_a_call_only_reads(spec):
    @examples(12)
    @given(batches(spec["name"]))
    def check(rollouts):
        term = build("reward", spec)
        before, records = copy.deepcopy(vars(term)), copy.deepcopy(rollouts.memory.records)
        once, twice = term(rollouts), term(rollouts)
        assert torch.equal(once.nan_to_num(9), twice.nan_to_num(9))
        assert vars(term) == before and rollouts.memory.records == records

    check()


@pytest.mark.parametrize("name", REWARDS)
def test_a_term_documents_itself(name):
    cls = REWARDS[name]
    module = inspect.getdoc(inspect.getmodule(cls))
    for word in ("Paper:", "Symbols:", "Against GRPO:", "Degenerate:", "Pitfalls:"):
        assert word in module, f"{name}: the docstring of its file lacks {word!r}"
    assert dataclasses.is_dataclass(cls) and isinstance(cls.includes_outcome, bool)
    learns = replaces(cls, "state_dict")
    assert learns == (not cls.__dataclass_params__.frozen), "frozen unless it learns"


def test_declared_violations_are_those_of_the_papers():
    declared = {name for name, cls in REWARDS.items() if cls.violates_outcome_order}
    published = {"l1_exact", "shorterbetter", "adlp", "leash", "o1_pruner", "cosine", "hbpo", "alp", "pear", "etr"}
    without_verdict = {"rlpr", "verifree"}
    assert declared - {"ares_entropy"} == published | without_verdict
