import pytest

from tersely.data.filters import DROPS, matches


@pytest.mark.parametrize(
    ("value", "condition", "outcome"),
    [
        (3, 3, True),
        (3, [1, 3], True),
        (3, {"at_least": 3, "below": 4}, True),
        (3, {"above": 3}, False),
        ("2.5", {"at_most": 3}, True),
        (None, {"at_most": 3}, False),
        (None, None, True),
        ("amc_aime", {"lacks": "aime"}, False),
        ([False, True], {"any": True}, True),
        ("abc", {"max_characters": 2}, False),
        ("proof", {"not": ["proof", "choice"]}, False),
    ],
)
def test_conditions(value, condition, outcome):
    assert matches(value, condition) is outcome


def test_a_word_is_no_number():
    with pytest.raises(ValueError, match="at_least"):
        matches("easy", {"at_least": 3})


@pytest.mark.parametrize(
    ("reason", "problem", "answer", "outcome"),
    [
        ("proof", "Prove that 2 is even.", "", True),
        ("proof", "Find the number of proofs.", "3", False),
        ("multiple_choice", "Which? (A) 1 (B) 2 (C) 3 (D) 4", "B", True),
        ("multiple_choice", r"Which? \textbf{(A)} 1 \textbf{(B)} 2", r"\text{(B)}", True),
        ("multiple_choice", "Let A be a set and B a set. Find B.", "B", False),
        ("multiple_choice", "Which? (A) 1 (B) 2 (C) 3", "2", False),
        ("yes_no", "Is it?", r"\text{Yes}", True),
        ("yes_no", "Is it?", "1", False),
        ("figure", "In the figure below, find x.", "1", True),
        ("figure", "Find the figure's area.", "1", False),
        ("multi_part", "(a) Find x. (b) Find y.", "1", True),
        ("long_answer", "?", "x" * 31, True),
        ("long_answer", "?", "x" * 30, False),
    ],
)
def test_named_reasons(reason, problem, answer, outcome):
    assert DROPS[reason](problem, answer, {}) is outcome


def test_flags_of_unequal_length_are_refused():
    row = {"correctness_math_verify": [True], "is_reasoning_complete": [True, False]}
    with pytest.raises(ValueError, match="lengths"):
        DROPS["no_verified_generation"]("", "", row)
