"""Kinds of false answers, each with examples that no rule names: the problem copied, words that change a value, and so on."""

from __future__ import annotations

import pytest

KINDS = {
    "exact integers": [
        ("7^{90}", "7^{90}-1"),
        ("10^{60}", "10^{60}+3"),
        ("2^{120}", "1329227995784915872903807060280344577"),
        ("5", "5+10^{-60}"),
        (r"3^{150}\sqrt{2}", r"3^{150}\sqrt{2}+1"),
    ],
    "huge values that differ by little": [(r"(n+37)! + 42", r"43 + (37+n)!"), (r"(m+40)! + m", r"(m+40)! + 2m")],
    "linear equations": [("3x+4y=7", "4y+3x=8"), (r"2a - \frac{b}{3} = 1", r"2a + \frac{b}{3} = 1")],
    "words behind a value": [
        ("12", r"12 \text{ and a half}"),
        ("9", r"9 \text{ is incorrect}"),
        ("4", r"4 \text{ divided by three}"),
        ("C", "(C) is not it"),
        ("A", "(A)^c"),
        ("20", r"20 \text{ too many}"),
    ],
    "and, or": [
        (r"x>1 \text{ and } x<9", r"x>1 \text{ or } x<9"),
        (r"a \le -2 \text{ or } a \ge 4", r"a \le -2 \text{ and } a \ge 4"),
    ],
    "one reading of a percentage": [("0.2", r"0.2\%"), (r"\frac{1}{4}", r"\frac{1}{4}\%"), ("1", r"1 \text{ percent}")],
    "letters that are no constants": [("A, C", "A,B"), ("AB=CD", "AB=BD"), ("C", "K")],
    "false chains": [("8", "2+2=5=8"), ("9", "7 = 9"), ("7", "3 \\cdot 2 = 7"), ("6", "\\frac{10}{2} = 6")],
    "a box inside a box": [("4", r"1 + \boxed{4}"), ("4", r"\text{not } \boxed{4}")],
}
TEXTS = [
    ("12", "The answer is definitely not 12."),
    ("12", "The answer is three times 12."),
    ("12", "The answer is at most 12."),
    ("12", "The answer is something other than 12."),
    ("12", "The incorrect answer is 12."),
    ("12", "It is never \\boxed{12}."),
    ("12", "\\boxed{12} is incorrect."),
    ("12", "Perhaps \\boxed{12}. Wait, that is a mistake: the final answer is 13."),
    ("12", "If n is odd \\boxed{11}, otherwise \\boxed{12}"),
    ("12", "<think>I guess \\boxed{12}, let me check"),
    ("12", "No one believes that the answer is 12."),
    ("12", "I cannot in good faith say the answer is 12."),
    ("12", "답은 12가 아닙니다."),
    ("12", "答えは12ではありません。"),
    ("12", "La respuesta es la mitad de 12."),
    ("12", "Das Ergebnis ist größer als 12."),
    ("12", "答案是小于12的数"),
]
COPIES = [
    ("97", "31 \\cdot 3 + 4", "Compute $31 \\cdot 3 + 4$."),
    ("97", "(4) + 3 \\times 31", "Compute $31 \\cdot 3 + 4$."),
    ("97", "1 \\cdot (31 \\cdot 3 + 4) + 0", "Compute $31 \\cdot 3 + 4$."),
    ("97", "32 \\cdot 3 + 1", "Compute $31 \\cdot 3 + 4$."),
    ("7", "49^{\\frac{1}{2}}", "Evaluate $\\sqrt{49}$."),
    ("5040", "7 \\cdot 6!", "Compute $7!$."),
    ("\\frac{2}{5}", "14/35", "Simplify $\\frac{14}{35}$."),
    ("\\frac{2}{5}", "4/10", "Simplify $\\frac{14}{35}$."),
    ("3:5", "9:15", "Simplify the ratio 9:15."),
    ("2^2 \\cdot 3 \\cdot 7", "84", "What is the prime factorization of 84?"),
    ("2^2 \\cdot 3 \\cdot 7", "4 \\cdot 21", "What is the prime factorization of 84?"),
    ("0.35", "35\\%", "Express $35\\%$ as a decimal."),
    ("0.375", "3/8", "Write $\\frac{3}{8}$ as a decimal."),
    ("4\\frac{1}{3}", "\\frac{13}{3}", "Convert $\\frac{13}{3}$ to a mixed number."),
    ("(y-3)(y+3)", "-9+y^2", "Factor $y^2-9$."),
    ("y^2-9", "(3+y)(y-3)", "Expand $(y-3)(y+3)$."),
    ("-\\frac{1}{2}", "\\frac{2(\\sin 210^\\circ)}{2}", "Compute $\\sin 210^\\circ$."),
    ("1", "(3b - 2 = 1)", "We have $3b - 2 = 1$. What is $b$?"),
]
DONE = [  # the work is done, however it is written
    ("97", "97", "Compute $31 \\cdot 3 + 4$."),
    ("7", "\\sqrt{49} = 7", "Evaluate $\\sqrt{49}$."),
    ("3.33", "\\frac{10}{3} = 3.33", "What is $10$ divided by $3$, to two decimals?"),
    ("\\frac{2}{5}", "2/5", "Simplify $\\frac{14}{35}$."),
    ("\\frac{2}{5}", "0.4", "Simplify $\\frac{14}{35}$."),
    ("3:5", "\\frac{3}{5}", "Simplify the ratio 9:15."),
    ("2^2 \\cdot 3 \\cdot 7", "7 \\times 3 \\times 2^2", "What is the prime factorization of 84?"),
    ("(y-3)(y+3)", "(3+y)(y-3)", "Factor $y^2-9$."),
    ("y^2-9", "-9+y^2", "Expand $(y-3)(y+3)$."),
    ("\\frac{\\sqrt{3}}{2}", "\\sqrt{\\frac{3}{4}}", "Compute $\\sin 60^\\circ$."),
    ("1,2", "Maximum = 2, Minimum = 1", "Of $1$ and $2$, which is the maximum and which the minimum?"),
    ("3^{75}", "3^{75}", "Which is larger, $2^{100}$ or $3^{75}$?"),
]


def boxed(answer: str) -> str:
    return "\\boxed{" + answer + "}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_false_answer_is_not_paid(verifier, kind):
    golds, answers = zip(*KINDS[kind], strict=True)
    verdicts = verifier.verify(golds, [boxed(answer) for answer in answers])
    assert [verdict.correct for verdict in verdicts] == [0.0] * len(golds)


def test_texts_that_deny_or_bound_a_value_are_not_paid(verifier):
    golds, texts = zip(*TEXTS, strict=True)
    paid = [text for text, verdict in zip(texts, verifier.verify(golds, texts), strict=True) if verdict.correct]
    assert not paid


@pytest.mark.parametrize(("rows", "paid"), [(COPIES, 0.0), (DONE, 1.0)], ids=["copied", "done"])
def test_the_problem_copied_back_is_not_paid_and_the_work_is(verifier, rows, paid):
    golds, answers, prompts = zip(*rows, strict=True)
    verdicts = verifier.verify(golds, [boxed(answer) for answer in answers], prompts=prompts)
    off = [row for row, verdict in zip(rows, verdicts, strict=True) if verdict.correct != paid]
    assert not off


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("10", "So the number of divisors is \\boxed{10}."),
        ("10", "Hence n must be at least \\boxed{10}."),
        ("120", "\\boxed{120 \\text{ different ways}}"),
        ("7", "The answer is 7 more apples."),
        ("13", "Perhaps \\boxed{12}. Wait, that is a mistake: the final answer is 13."),
        ("18", "\\boxed{\\boxed{18}}"),
    ],
)
def test_words_that_change_nothing(verifier, gold, text):
    assert verifier.verify([gold], [text])[0].correct == 1.0
