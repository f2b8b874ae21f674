"""The testbed's problems: right answers, levels, reproducible items, disjoint splits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.properties import examples

from tersely.core.errors import ConfigError
from tersely.testbed.tasks import LEVELS, SPLITS, problem_at, problems, split_of, stream, terms_of


def test_answer_is_the_sum_and_running_totals_are_one_token():
    for item in problems("train", 300, seed=3):
        terms = terms_of(item["problem"])
        totals = [sum(terms[: n + 1]) for n in range(len(terms))]
        assert str(totals[-1]) == item["answer"]
        assert all(0 <= total <= 99 for total in totals)
        assert all(1 <= abs(term) <= 9 for term in terms[1:])


def test_terms_of_reads_signs():
    assert terms_of("What is 47 + 38 - 29?") == [47, 38, -29]


def test_level_is_the_number_of_operations_and_levels_come_in_turn():
    items = problems("test", 60, seed=1)
    assert [item["level"] for item in items] == [LEVELS[i % len(LEVELS)] for i in range(60)]
    assert all(len(terms_of(item["problem"])) == item["level"] + 1 for item in items)
    assert {item["level"] for item in problems("test", 10, levels=[2, 4])} == {2, 4}


@examples(100)
@given(st.sampled_from(SPLITS), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 8))
def test_item_is_a_function_of_its_coordinates(split, seed, index, level):
    item = problem_at(split, seed, index, level)
    assert item == problem_at(split, seed, index, level)
    assert split_of(item["problem"]) == split


def test_a_longer_list_begins_with_the_shorter_one():
    assert problems("validation", 100, seed=7)[:40] == problems("validation", 40, seed=7)


def test_seeds_differ():
    assert problems("train", 20, seed=0) != problems("train", 20, seed=1)


def test_splits_share_no_problem_in_any_order_of_terms():
    seen = {
        split: {tuple(sorted(terms_of(item["problem"]))) for item in problems(split, 400, seed)}
        for split, seed in zip(SPLITS, (0, 1, 2), strict=True)
    }
    train, validation, test = (seen[split] for split in SPLITS)
    assert not train & validation and not train & test and not validation & test
    assert split_of("What is 12 + 34?") == split_of("What is 34 + 12?")


def test_ids_are_distinct_and_follow_the_text():
    items = problems("test", 120, levels=[1])
    assert len({item["id"] for item in items}) == 120
    other = {item["problem"]: item["id"] for item in problems("test", 140, seed=9, levels=[1])}
    both = [item for item in items if item["problem"] in other]
    assert both and all(other[item["problem"]] == item["id"] for item in both)


def test_stream_goes_on_through_the_levels():
    source = stream("train", seed=5, levels=[1, 3])
    first = [next(source) for _ in range(6)]
    assert [item["level"] for item in first] == [1, 3, 1, 3, 1, 3]
    assert first[4] == problem_at("train", 5, 4, 1)


def test_faults():
    with pytest.raises(ConfigError, match="testbed.split"):
        problem_at("tests", 0, 0, 1)
    with pytest.raises(ValueError, match="testbed.level.* 0"):
        problem_at("test", 0, 0, 0)
    with pytest.raises(ValueError, match="distinct problems"):
        problems("test", 5000, levels=[1])
