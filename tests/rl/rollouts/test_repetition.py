from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersely.rl.rollouts.repetition import DISTINCT, FEWEST, MOST, PARTS, PHRASE, TAIL, loops, repetitive

WORDS = [
    "so",
    "let",
    "us",
    "see",
    "that",
    "the",
    "sum",
    "of",
    "x",
    "and",
    "y",
    "is",
    "then",
    "equal",
    "to",
    "what",
    "we",
    "have",
    "if",
    "n",
    "even",
    "odd",
    "prime",
    "we",
    "divide",
    "by",
    "two",
]


def prose(words: int, seed: int = 0) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) + str(draw.randint(0, 99)) for _ in range(words))


@pytest.mark.parametrize("period", [1, 5, 40, 200])
def test_an_end_that_goes_round_and_round(period):
    assert repetitive(prose(400) + " " + (prose(period, 1) + " ") * (TAIL // (4 * period) + 6))


@pytest.mark.parametrize("words", [1, 20, 100, 2000])
def test_text_that_goes_on_is_none(words):
    assert not repetitive(prose(words))


def test_a_chain_of_sums_done_twice_over_is_none():
    chain = "70 - 8 = 62\n62 - 4 = 58\n58 + 5 = 63\nGot 63.\n"
    assert not repetitive(chain + "Wait, let me do it again.\n" + chain)


def test_hostile_text_and_none():
    assert repetitive("\ud800" * 500) and not repetitive("")


@pytest.mark.parametrize("cap", [24, 32, 48, 96, 256, 4096])
@pytest.mark.parametrize("period", [1, 2, 3, 4])
def test_a_loop_up_to_a_short_cap_is_found_by_its_tokens(cap, period):
    head = list(range(100, 100 + cap // 3))
    assert loops(head + [i % period for i in range(cap - len(head))])


def test_a_loop_with_slips_or_of_long_phrases_is_found():
    assert loops([*range(100, 140), *([7] * 9 + [8]) * 6])
    assert loops([*range(100, 160), *list(range(12)) * 12])


def test_answers_of_distinct_tokens_are_no_loops():
    draw = random.Random(0)
    for length in (0, 3, 15, 16, 17, 40, 90, 250, 3000):
        assert not loops([draw.randrange(40) for _ in range(length)])
    assert not loops(list(range(30)) * 3), "done three times over"
    assert not loops([*range(60), 5, 5, 5, 5, 5, 5]), "a number with many zeros"


def loops_by_counting(tokens):
    """The definition: every phrase of both ends is counted."""
    ends = [tokens[-min(max(len(tokens) // part, FEWEST), MOST) :] for part in PARTS]
    phrases = [{tuple(end[i : i + PHRASE]) for i in range(len(end) - PHRASE + 1)} for end in ends]
    return len(tokens) >= FEWEST and any(len(p) <= DISTINCT * len(e) for p, e in zip(phrases, ends, strict=True))


@given(st.randoms(use_true_random=False), st.integers(0, 5000), st.integers(1, 60), st.integers(0, 3))
def test_equals_counting_every_phrase(draw, length, kinds, slips):
    """Token rows on both sides of the limit: random tokens and a period with slips, in either order."""
    start, period = draw.randrange(length + 1), draw.randrange(1, kinds + 1)
    tokens = [draw.randrange(kinds) for _ in range(start)]
    tokens += [-1 if draw.random() < slips / 40 else i % period for i in range(length - start)]
    tokens = tokens[:: draw.choice((1, -1))]
    assert loops(tokens) == loops_by_counting(tokens)
    assert loops([*tokens, 99], ended=True) == loops(tokens)
