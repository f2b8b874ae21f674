from __future__ import annotations

import random

import pytest

from tersely.rl.repetition import TAIL, repetitive, repetitive_share

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
    assert repetitive_share([]) == 0.0 and repetitive_share(["a" * 300, prose(90)]) == 0.5
