"""Kinds of correct answers, each with examples that no rule names: languages, notations, conditions, parameters."""

from __future__ import annotations

import pytest

from tersely.rewards import Verifier

TEXTS = [
    ("42", "故选：42"),
    ("B", "La respuesta correcta es la opción B."),
    ("2.5", "\\boxed{２．５}"),
    ("12", "It is not hard to see that the answer is 12."),
    ("36", "我们算一下。\n【答案】36<eoa>"),
    ("36", "所以答案是36。"),
    ("36", "La respuesta final es 36."),
    ("36", "La réponse est donc 36."),
    ("36", "Das Ergebnis lautet 36."),
    ("36", "Правильный ответ: 36"),
    ("36", "O resultado é 36 reais."),
    ("36", "よって答えは36です。"),
    ("36", "따라서 정답은 36입니다."),
    ("36", "الإجابة هي 36"),
    ("36", "सही उत्तर है 36"),
    ("36", "Final answer: ３６"),
    ("B", "la respuesta es B, no A"),
    ("B", "B. it can't be C or D"),
    ("3/7", "所求概率为3/7"),
    ("36", '{"reasoning": "6 times 6", "answer": 36}'),
    ("36", "6 times 6 gives us **36**."),
]
ANSWERS = {
    "fractions without braces": [
        (r"\frac{p+q}{r}", r"\frac{p+q}r"),
        (r"\frac{\sqrt{5}}{3}", r"\frac{\sqrt{5}}3"),
        (r"\frac{p}{q}", r"\frac pq"),
    ],
    "marks and signs": [
        ("8", r"8\ \checkmark"),
        (r"60^\circ", r"60^{\text{o}}"),
        ("8", r"8\ \Omega"),
        ("e^3", r"\mathrm{e}^3"),
    ],
    "numbers of other conventions": [
        ("2345678", "2.345.678"),
        ("255", "0xff"),
        ("7", "７"),
        (r"\sqrt{7}", "根号7"),
        ("7", "7公斤"),
    ],
    "worded lists": [
        ("3,9", r"3 \text{ cats and } 9 \text{ dogs}"),
        ("circle, square", r"\text{circle and square}"),
        (r"4,8 \text{ or } 9", "4,8,9"),
    ],
    "both signs": [
        (r"\{2\pm\sqrt{3},-7\}", r"\{-7, 2+\sqrt{3}, 2-\sqrt{3}\}"),
        (r"(1,0,2),(1,0,-2),(-1,0,2),(-1,0,-2)", r"(\pm 1, 0, \pm 2)"),
        ("(4,-5),(-4,5)", r"(\pm 4, \mp 5)"),
    ],
    "conditions and asides": [
        ("f(x)=3", r"f(x)=3 \text{ for all real numbers } x"),
        ("g(n)=2n", r"g(n)=2n \quad \forall n \in \mathbb{N}"),
        (r"5\sqrt{7}", r"5\sqrt{7} \text{ (approximately 13.2)}"),
    ],
    "free parameters": [
        (r"x = 2k\pi, k \in \mathbb{Z}", r"x = 2n\pi"),
        (r"\frac{\pi}{8}+k\pi", r"\frac{\pi}{8}+m\pi"),
        ("(3+2u, 4u)", r"(3+2t, 4t) \text{ for some integer } t"),
    ],
    "angles": [(r"\frac{\pi}{4}", r"45^\circ"), (r"B = \frac{3\pi}{4}", r"135^\circ")],
    "orders": [("q < p < r", "q, p, r")],
    "solved for a letter": [("uv = 8", r"\frac{8}{v}"), (r"3x - y = 0", "y = 3x")],
    "equal on the domain": [(r"2\arccos\sqrt{x}", r"\arccos(2x-1)")],
    "decimals cut off": [("94.247", r"30\pi"), (r"73.2\%", r"\sqrt{3}-1")],
    "statements": [
        (r"\text{odd}", r"\text{It is odd.}"),
        ("17", r"\text{The area of the square is } 17"),
        (r"\text{infinitely many}", r"\infty"),
    ],
    "columns": [(r"\begin{pmatrix}4\\5\end{pmatrix}", "(4,5)^T")],
    "points listed twice": [("(1,8),(8,1)", "(1,8),(8,1),(1,8)")],
}
NEAR = [  # of the same kinds, and incorrect
    ("36", "所以答案不是36。"),
    ("36", "La réponse n'est pas 36."),
    ("18", "\\boxed{18万}"),
    ("\\frac{\\pi}{4}", "\\boxed{45}"),
    ("\\frac{\\pi}{4}", "\\boxed{40^\\circ}"),
    ("q < p < r", "\\boxed{p, q, r}"),
    ("|x|", "\\boxed{x}"),
    ("x^2+y^2=9", "\\boxed{\\sqrt{9-x^2}}"),
    ("94.247", "\\boxed{94.2}"),
    ("1,1,4", "\\boxed{1,4}"),
    ("(4,-5),(-4,5)", "\\boxed{(\\pm 4, \\pm 5)}"),
    ("x+1", "\\boxed{y+1}"),
    ("f(x)=3", "\\boxed{f(x)=4 \\text{ for all real numbers } x}"),
]


@pytest.fixture(scope="module")
def verifier():
    with Verifier(workers=2, timeout=20) as verifier:
        yield verifier


def test_answers_in_ten_languages_and_in_markdown_are_found(verifier):
    golds, texts = zip(*TEXTS, strict=True)
    refused = [
        text for text, verdict in zip(texts, verifier.verify(golds, texts), strict=True) if verdict.correct != 1.0
    ]
    assert not refused


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_kind_of_correct_answer_is_paid(verifier, kind):
    golds, answers = zip(*ANSWERS[kind], strict=True)
    verdicts = verifier.verify(golds, ["\\boxed{" + answer + "}" for answer in answers])
    assert [verdict.correct for verdict in verdicts] == [1.0] * len(golds)


def test_what_only_resembles_them_is_not(verifier):
    golds, texts = zip(*NEAR, strict=True)
    paid = [text for text, verdict in zip(texts, verifier.verify(golds, texts), strict=True) if verdict.correct]
    assert not paid


def test_degrees_are_kept_where_the_policy_keeps_them():
    with Verifier(workers=1, policy={"angles": "kept"}, timeout=20) as verifier:
        assert verifier.verify([r"\frac{\pi}{4}"], [r"\boxed{45^\circ}"])[0].correct == 0.0
