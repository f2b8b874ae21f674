"""Strings that once broke something, and random ones: the owner's side never raises and never says right for nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.properties import examples

from tersely.configs.verifier import CONTRACTS, Policy
from tersely.rewards.verify.compare.cost_limits import exceeded_limit
from tersely.rewards.verify.compare.quick import quick_match
from tersely.rewards.verify.extract.find import find_answer

PIECES = [
    *(
        "\\boxed{",
        "}",
        "{",
        "\\{",
        "\\}",
        "(",
        ")",
        "[",
        "]",
        "$",
        "\\(",
        "\\]",
        "</think>",
        "####",
        "<answer>",
        "</answer>",
    ),
    *(
        "The answer is ",
        "A: ",
        "not ",
        "7",
        "1,000",
        "0.5",
        ".",
        ",",
        ":",
        "=",
        "<",
        "\\le ",
        "\\pm ",
        "\\frac",
        "\\sqrt",
        "^",
    ),
    *(
        "x",
        "_",
        "!",
        "\\%",
        "\\pi",
        "\\infty",
        "\\cup",
        "\\in ",
        "\\text{",
        " and ",
        "\n",
        "\x00",
        "\ud800",
        "−",
        "½",
        "&",
        "e",
    ),
]
texts = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
KEPT = [
    "\\boxed{" + "$" * 50_000 + "5}",
    "\\(" * 20_000,
    "\\boxed{7" + "\x00" * 100 + "}",
    "\\boxed{\ud800\udfff7}",
    "\\boxed{" + "9" * 500_000 + "}",
    "\\boxed{" + "{" * 5_000 + "7" + "}" * 5_000 + "}",
    "\\boxed{1/0}",
    "\\boxed{\\frac{0}{0}}",
    "\\boxed{0^{-1}}",
    "\\boxed{10^{400}e9}",
    "\\boxed{5_}",
    "\\boxed{_}",
    "\\boxed{1:0}",
    "\\boxed{0.5-^{10}¢\\fbox{7",
    "\\boxed{" + " so \\[f(n) - f(n-1) &= (n - 1) + 2,\\]" * 40 + "}",
    "\\boxed{" + "so $f(1) = 2, f(2) = 3,$ " * 35 + "}",
]


def look(gold: str, text: str) -> None:
    for contract in CONTRACTS:
        answer = find_answer(text, contract)
        if answer is None:
            continue
        exceeded_limit(answer)
        decided = quick_match(gold, answer, Policy())
        assert decided is None or not decided[0] or any(char.isalnum() or char in "∞∅" for char in answer)


@given(texts, texts)
@examples(1300)
def test_any_text_is_survived(gold, text):
    look(gold, text)
    look(gold, f"\\boxed{{{text}}}")


@given(texts)
@examples(660)
def test_an_answer_is_never_wrong_against_itself(text):
    decided = quick_match(text, text, Policy())
    assert decided is None or decided[0] or not text.strip()


@pytest.mark.parametrize("text", KEPT, ids=range(len(KEPT)))
def test_kept_seeds(text, verifier):
    look("7", text)
    verdict = verifier.verify(["7"], [text])[0]
    assert verdict.status in ("correct", "incorrect", "no_answer", "undecided")
    assert not verdict.path.startswith("error"), verdict
