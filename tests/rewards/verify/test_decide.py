"""What is the same answer and what is not: the policy's defaults, case by case, through the whole verifier."""

from __future__ import annotations

import pytest

from tersely.rewards import Verifier

RIGHT = [
    (r"(3,4]", r"3 < x \le 4"),
    (r"3 < x \leq 4", r"(3,4]"),
    (r"(-2,-2)", r"a=-2, b=-2"),
    (r"6/y", r"x = 6/y"),
    (r"1+\sqrt{19}, 1-\sqrt{19}", r"1 \pm \sqrt{19}"),
    (r"1 \pm \sqrt{19}", r"\{1-\sqrt{19}, 1+\sqrt{19}\}"),
    (r"12", r"12^{th}"),
    (r"12", r"12^{\text{th}}"),
    (r"45^\circ 30'", r"45.5^\circ"),
    (r"\text{even}", r"even"),
    (r"0.333", r"1/3"),
    (r"\frac{1}{3}", r"0.3333"),
    (r"(1,2)", r"1,2"),
    (r"1,2", r"2,1"),
    (r"2516_8", r"2516"),
    (r"2\pi \text{ cm}", r"2\pi"),
    (r"2\pi", r"2\pi \text{ square units}"),
    (r"x \in (-\infty, 1) \cup (2, \infty)", r"x<1 \text{ or } x>2"),
    (r"x<1 \text{ or } x>2", r"(-\infty, 1) \cup (2, \infty)"),
    (r"(-\infty,1)\cup(1,\infty)", r"x \neq 1"),
    (r"\{x \mid x > 1\}", r"(1, \infty)"),
    (r"x > 1", r"x \in (1, +\infty)"),
    (r"[0, \infty)", r"x \ge 0"),
    (r"\mathbb{R}", r"(-\infty, \infty)"),
    (r"\text{(C)}", r"C"),
    (r"C", r"(c)"),
    (r"C", r"\text{C}"),
    (r"2:1", r"4:2"),
    (r"3:2", r"\frac{3}{2}"),
    (r"x=1, y=2", r"(1,2)"),
    (r"x=1, y=2", r"y=2, x=1"),
    (r"(1,2),(3,4)", r"\{(3,4),(1,2)\}"),
    (r"50\%", r"\frac12"),
    (r"50\%", r"50"),
    (r"0.5", r"50\%"),
    (r"\$18.90", r"18.90 \text{ dollars}"),
    (r"1,000,000", r"10^6"),
    (r"3\frac{1}{2}", r"\frac{7}{2}"),
    (r"3\frac{1}{2}", r"3.5"),
    (r"x^2+2x+1", r"(x+1)^2"),
    (r"f(x)=2x+1", r"2x+1"),
    (r"2x+1", r"f(x) = 2x+1"),
    (r"y = 2x+1", r"2x + 1"),
    (r"\sqrt{2}", r"\frac{2}{\sqrt{2}}"),
    (r"\sqrt{2}", r"1.4142"),
    (r"\frac{\pi}{6} + k\pi, k \in \mathbb{Z}", r"k\pi + \frac{\pi}{6}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}"),
    (r"5 \text{ pm}", r"5\text{ p.m.}"),
    (r"\emptyset", r"\varnothing"),
    (r"\text{no solution}", r"\emptyset"),
    (r"1{,}234", r"1234"),
    (r"\text{Paolo}", r"Paolo"),
    (r"10:30", r"10:30"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    (r"2^{10}", r"1024"),
    (r"n!", r"n!"),
    (r"\binom{n}{2}", r"\frac{n(n-1)}{2}"),
    (r"\log_2 8", r"3"),
    (r"5.0", r"5"),
    (r"0.1", r".1"),
    (r"1.0e3", r"1000"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    (r"a^2 - b^2", r"(a-b)(a+b)"),
    (r"\{1,2,3\}", r"1, 2, 3"),
    (r"1,2,3", r"1, 2 \text{ and } 3"),
    (r"x=3", r"3"),
    (r"x=3 \text{ or } x=-2", r"-2, 3"),
    (r"x_1 = 3, x_2 = -2", r"x = 3, x = -2"),
    (r"\text{Yes}", r"yes"),
    (r"x_1=-2, x_2=3", r"-2, 3"),
    (r"x = \frac{\pi}{6} + 2k\pi, k \in \mathbb{Z}", r"\frac{\pi}{6} + 2k\pi \ (k \in \mathbb{Z})"),
    (r"\text{increasing}", r"increasing"),
]
WRONG = [
    (r"(3,4]", r"3 < x < 4"),
    (r"60^\circ 42'", r"60^\circ"),
    (r"\frac{1}{3}", r"0.33"),
    (r"\{1,2\}", r"(1,2)"),
    (r"(1,2)", r"\{1,2\}"),
    (r"(1,2)", r"(2,1)"),
    (r"12 \text{ cm}", r"12 \text{ m}"),
    (r"2516_8", r"2516_9"),
    (r"2\pi \text{ cm}", r"2\pi \text{ m}"),
    (r"7", r"5, 7"),
    (r"7", r"5 \text{ or } 7"),
    (r"7", r"7, 7.0001"),
    (r"x<1 \text{ or } x>2", r"(-\infty, 1] \cup (2, \infty)"),
    (r"\frac{1}{3}", r"\int_0^1 x^2 dx"),
    (r"7", r"\sum_{k=3}^{4} k"),
    (r"C", r"D"),
    (r"3:2", r"2:3"),
    (r"x=1, y=2", r"x=2, y=1"),
    (r"(1,2),(3,4)", r"(2,1),(3,4)"),
    (r"(1,2),(3,4)", r"(1,2)"),
    (r"0.5", r"50"),
    (r"3\frac{1}{2}", r"\frac{3}{2}"),
    (r"x^2+2x+1", r"(x-1)^2"),
    (r"y=2x+1", r"y=2x-1"),
    (r"\sqrt{2}", r"1.41"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"),
    (r"5 \text{ pm}", r"5\text{ a.m.}"),
    (r"10:30", r"10:31"),
    (r"a^2 - b^2", r"(a-b)^2"),
    (r"\{1,2,3\}", r"1, 2"),
    (r"\{1,2,3\}", r"1,2,3,4"),
    (r"\text{Yes}", r"no"),
    (r"90", r"\frac{\pi}{2}"),
    (r"x_1=-2, x_2=3", r"-2, 4"),
    (r"5", r"5!"),
    (r"\text{true}", r"\text{false}"),
    (r"x + y + 5 t", r"x + y"),
    (r"5x + 3t", r"5x + 3"),
    (r"3 + 2g", r"3 + 2"),
    (r"\frac{1}{2}", r"\frac{1}{2} + x"),
    (r"BCA", r"ABC"),
    (r"\frac{1}{2^{98}}", r"\frac{1}{6^{98}}"),
    (r"\begin{pmatrix} 1 & 2500 \\ 0 & 1 \end{pmatrix}", r"\begin{pmatrix} 1 & 2400 \\ 0 & 1 \end{pmatrix}"),
    (r"a + b + c", r"a + b - c"),
    (r"(6,0,7)", r"(6,0,7]"),
    (r"-37_8", r"-37_7"),
    (r"T(10)=2, T(11)=4, T(12)=3", r"T(10)=2, T(11)=1, T(12)=3"),
    (r"x \text{ is even}", r"x \text{ is odd}"),
]


def boxed(answer: str) -> str:
    return "\\boxed{" + answer + "}"


@pytest.fixture(scope="module")
def verdicts(verifier):
    pairs = RIGHT + WRONG
    found = verifier.verify([gold for gold, _ in pairs], [boxed(answer) for _, answer in pairs])
    return dict(zip(pairs, found, strict=True))


@pytest.mark.parametrize("pair", RIGHT, ids=" | ".join)
def test_right(verdicts, pair):
    assert verdicts[pair].status == "correct", verdicts[pair]


@pytest.mark.parametrize("pair", WRONG, ids=" | ".join)
def test_wrong(verdicts, pair):
    assert verdicts[pair].status == "incorrect", verdicts[pair]


POLICIES = [
    ({"percent": "ratio"}, r"50\%", "50", "incorrect"),
    ({"percent": "sign"}, r"50\%", "1/2", "incorrect"),
    ({"percent": "sign"}, r"50\%", "50 percent", "correct"),
    ({"units": "drop"}, "12 cm", "12 m", "correct"),
    ({"units": "required"}, "12 cm", "12", "incorrect"),
    ({"units": "required"}, "12 cm", "12 centimeters", "correct"),
    ({"bases": "required"}, "204_5", "204", "incorrect"),
    ({"bases": "drop"}, "204_5", "204_6", "correct"),
    ({"list_order": "kept"}, "1, 5", "5, 1", "incorrect"),
    ({"list_order": "kept"}, "1, 5", "1, 5", "correct"),
    ({"interval_as_set": True}, "(1,2)", r"\{1,2\}", "correct"),
    ({"rounded": 0}, r"\frac{600}{7}", "85.71", "incorrect"),
    ({"decimal_comma": False}, "1.22", "1,22", "incorrect"),
    ({"case": True}, r"\text{even}", "Even", "incorrect"),
]
SLOW_POLICIES = [
    ({"rounded": 3}, r"\sqrt{2}", "1.41", "correct"),
    ({"unevaluated": True}, "7", r"\sum_{k=3}^{4} k", "correct"),
]


@pytest.mark.parametrize(("policy", "gold", "answer", "status"), POLICIES + SLOW_POLICIES)
def test_each_looseness_is_a_parameter(policy, gold, answer, status):
    with Verifier(workers=1, policy=policy, timeout=20) as verifier:
        assert verifier.verify([gold], [boxed(answer)])[0].status == status


def test_an_answer_restated_from_its_prompt_does_not_pay(verifier):
    prompt = "What is $3 + 4$? Simplify $(x+1)^2$ too."
    golds = ["7", "7", "x^2+2x+1", "x^2+2x+1", "(x+1)^2"]
    answers = ["3+4", "7", "(x + 1)^2", "x^2 + 2x + 1", "(x+1)^2"]
    found = verifier.verify(golds, [boxed(answer) for answer in answers], prompts=[prompt] * 5)
    assert [verdict.status for verdict in found] == ["incorrect", "correct", "incorrect", "correct", "correct"]


@pytest.mark.parametrize("gold", ["", "  "])
def test_an_empty_gold_is_undecided_not_wrong(verifier, gold):
    assert verifier.verify([gold], [boxed("7")])[0].status == "undecided"
