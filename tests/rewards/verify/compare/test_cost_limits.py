"""Cost limits: expressions that are too expensive are refused before sympy sees them, answers are not."""

from __future__ import annotations

import time

import pytest

from tersely.rewards.verify.compare.cost_limits import exceeded_limit

BOMBS = [
    ("9^{9^9}", "power"),
    ("10^{10^{10}}", "power"),
    ("2^{3000000000}+0.5", "power"),
    ("3^{10^7}", "power"),
    ("99999^{9999}", "power"),
    ("(a+b+c+d)^{2000}", "power"),
    ("1000000!", "factorial"),
    ("(10^6)!", "factorial"),
    ("((9!)!)!", "factorial"),
    ("9!!", "factorial"),
    (r"\binom{10000000}{5000000}", "binomial"),
    (r"\binom{10^7}{5*10^6}", "binomial"),
    (r"\sum_{k=1}^{100000000} \frac{1}{k}", "sum"),
    (r"\prod_{k=1}^{10^8} k", "sum"),
    ("(" * 400 + "7" + ")" * 400, "depth"),
    ("+".join("12345678"), None),
    ("+".join(["x"] * 1000), "terms"),
    ("x" * 3000, "terms"),
    ("7" * 1000, "digits"),
    ("x " * 5000, "length"),
]
ANSWERS = [
    *(
        "x^2+2x+1",
        "2^{100}",
        "10^{12}",
        "n!",
        "20!",
        r"\frac{d !}{2 k(d-k) !}",
        r"\binom{n}{2}",
        r"\binom{20}{10}",
        "x^{x^2}",
    ),
    *(
        r"e^{-x^2}",
        r"\sum_{k=1}^{n} k",
        "(x+1)^{10}",
        r"2^{2^n}",
        "1+2+3+4",
        "x_{12345}",
        "123456789",
        r"\sqrt{1+\sqrt{2}}",
    ),
]


@pytest.mark.parametrize(("text", "reason"), BOMBS, ids=range(len(BOMBS)))
def test_bombs(text, reason):
    assert exceeded_limit(text) == reason


@pytest.mark.parametrize("text", ANSWERS)
def test_answers_pass(text):
    assert exceeded_limit(text) is None


@pytest.mark.parametrize("unit", ["^", "^{", "!", "(", ")!", "9^", "\\sum", "{", "1+"])
def test_the_cost_is_bounded(unit):
    began = time.process_time()
    exceeded_limit(unit * 1_000_000)
    exceeded_limit((unit * 4000)[:4000])
    assert time.process_time() - began < 0.5
