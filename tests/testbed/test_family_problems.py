"""The problems of the families: correct answers, levels and families in turn, reproducible items, disjoint splits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.properties import examples

from tersely.core.errors import ConfigError
from tersely.testbed.families import FAMILIES, LEVELS, score
from tersely.testbed.families.problems import SPLITS, cells, problem_at, problems, split_of


@examples(100)
@given(
    st.sampled_from(SPLITS),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.sampled_from(LEVELS),
    st.sampled_from(list(FAMILIES)),
)
def test_item_is_a_function_of_its_coordinates_and_its_answer_is_correct(split, seed, index, level, family):
    item = problem_at(split, seed, index, level, family)
    assert item == problem_at(split, seed, index, level, family)
    assert (item["level"], item["family"]) == (level, family)
    assert split_of(family, item["problem"]) == split
    assert score(item["answer"], item)


def test_families_and_levels_come_in_turn():
    items = problems("test", 60, seed=1)
    assert [(item["level"], item["family"]) for item in items] == cells() * 4
    chosen = problems("test", 8, levels=[2, 4], families=["search"])
    assert {(item["level"], item["family"]) for item in chosen} == {(2, "search"), (4, "search")}


def test_a_longer_list_begins_with_the_shorter_one():
    assert problems("validation", 100, seed=7)[:40] == problems("validation", 40, seed=7)


def test_seeds_differ():
    assert problems("train", 20, seed=0) != problems("train", 20, seed=1)


def test_splits_share_no_problem_in_any_order():
    seen = {
        split: {(item["family"], FAMILIES[item["family"]].key(item["problem"])) for item in problems(split, 600, seed)}
        for split, seed in zip(SPLITS, (0, 1, 2), strict=True)
    }
    train, validation, test = (seen[split] for split in SPLITS)
    assert not train & validation and not train & test and not validation & test


@pytest.mark.parametrize(
    ("family", "one", "other"),
    [
        (
            "search",
            "Modulo 100, which of A12,B47,C8 solves x*7 = 29?",
            "Modulo 100, which of A8,B12,C47 solves x*7 = 29?",
        ),
        (
            "tracking",
            "Modulo 100, 3 at A: A>B,B>C; A+1,B*2,C+4. What is it after B?",
            "Modulo 100, 3 at A: B>C,A>B; C+4,A+1,B*2. What is it after B?",
        ),
    ],
)
def test_orders_that_do_not_matter_do_not_change_the_split(family, one, other):
    assert FAMILIES[family].key(one) == FAMILIES[family].key(other)
    assert split_of(family, one) == split_of(family, other)


def test_ids_are_distinct():
    items = problems("test", 300)
    assert len({item["id"] for item in items}) == 300


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"split": "tests"}, "testbed.split"),
        ({"level": 0}, "testbed.level"),
        ({"family": "saerch"}, "search"),
    ],
)
def test_unknown_coordinates(arguments, field):
    given = {"split": "test", "seed": 0, "index": 0, "level": 1, "family": "search", **arguments}
    with pytest.raises((ConfigError, ValueError), match=field):
        problem_at(**given)


@pytest.mark.parametrize(("name", "value"), [("levels", [6]), ("levels", []), ("families", ["saerch"])])
def test_unknown_cells(name, value):
    with pytest.raises(ValueError, match=f"testbed.{name}"):
        cells(**{name: value})


def test_a_split_that_is_too_small(monkeypatch):
    item = problem_at("test", 0, 0, 1, "search")
    monkeypatch.setattr(FAMILIES["search"], "draw", lambda rng, level: (item["problem"], item["answer"]))
    with pytest.raises(ValueError, match="distinct problems"):
        problems("test", 2, levels=[1], families=["search"])
