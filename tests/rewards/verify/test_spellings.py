"""Three thousand pairs written by hand: for every gold, responses that are right and responses that are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tersely.rewards import Verifier
from tersely.rewards.verify.compare.numeric import probe
from tersely.rewards.verify.extract.find import find_answer
from tersely.rewards.verify.normalize.latex import tidy

TABLE = json.loads((Path(__file__).parent / "spellings.json").read_text())


@pytest.fixture(scope="module")
def verifier():
    with Verifier(workers=2) as verifier:
        yield verifier


@pytest.mark.parametrize("kind", ["correct", "incorrect"])
def test_every_pair_of_the_table(verifier, kind):
    golds, responses = zip(*((gold, text) for gold, texts in TABLE.items() for text in texts[kind]), strict=True)
    verdicts = verifier.verify(golds, responses)
    allowed = {"correct"} if kind == "correct" else {"incorrect", "no_answer"}
    off = [
        (gold, text, verdict.status, verdict.path)
        for gold, text, verdict in zip(golds, responses, verdicts, strict=True)
        if verdict.status not in allowed
    ]
    assert not off, off
    assert len(golds) > 500


@pytest.mark.parametrize(
    ("gold", "answer", "said"),
    [
        ("f(2x)", "2f(x)", None),  # f is a function, no factor
        ("f(x+1)", "f(1+x)", True),
        ("x(x+3)", "x^2+4x", False),  # x stands alone too: a factor
        ("|x-3|+2", "2+|3-x|", True),
        ("|x|", "x", None),
        ("\\log_2(x+1)", "\\log_{3}(1+x)", False),
        ("\\log_2(x+1)", "\\log_{2}(1+x)", True),
        ("\\log_2 x", "\\log x", None),
        ("\\lfloor \\frac{n+1}{2} \\rfloor", "\\lfloor \\frac{1+n}{2} \\rfloor", True),
        ("\\binom{n}{2}", "\\frac{n(n-1)}{2}", True),
        ("|x||y|", "|xy|", None),
    ],
)
def test_functions_bars_and_brackets_in_the_probe(gold, answer, said):
    assert probe(gold, answer) is said


@pytest.mark.parametrize(
    ("text", "contract", "found"),
    [
        (
            "\\boxed{255} So he has more. Final Answer: The final answer is $10,455$. I hope it is correct.",
            "answer",
            "10,455",
        ),
        (
            "\\boxed{255} So he has more. Final Answer: The final answer is $10,455$. I hope it is correct.",
            "boxed",
            "255",
        ),
        ("The answer is $\\boxed{18", "answer", None),
        ("\\boxed{42}\\boxed{}", "answer", None),
        ("## Final Answer\n\n$$18$$", "answer", "18"),
        ("Soucis : 2,74 $ a..", "lenient", "2,74"),
        ("The answer cannot be 42.", "lenient", None),
        ("The correct option is B.", "answer", "B"),
        ("the answer is 18 (since 9*2=18).", "answer", "18"),
        ("\\boxed{2\\sqrt{3}\\,}", "boxed", "2\\sqrt{3}"),
        ("\\boxed{\\{\\}}", "boxed", "\\emptyset"),
    ],
)
def test_finding(text, contract, found):
    assert find_answer(text, contract) == found


def test_backslashes_that_were_eaten_are_given_back():
    assert tidy("\frac{1}{2}") == "\\frac{1}{2}"
    assert tidy("\text{odd number}") == "\\text{odd number}"
    assert tidy("a\tb") == "a b"


def test_equations_of_numbers_are_not_all_the_same(verifier):
    verdicts = verifier.verify(["2+2=4"] * 3, ["\\boxed{5=7}", "\\boxed{3+3=6}", "\\boxed{4=2+2}"])
    assert [verdict.status for verdict in verdicts][:2] == ["incorrect", "incorrect"]
