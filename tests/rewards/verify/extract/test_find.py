"""Where an answer is found, under each contract, and in how much time."""

from __future__ import annotations

import time

import pytest

from tersely.rewards.verify.extract.boxes import last_box
from tersely.rewards.verify.extract.find import find_answer

FOUND = [
    ("boxed", r"so \boxed{5}", "5"),
    ("boxed", r"\boxed{\frac{1}{\sqrt{2}}} is it", r"\frac{1}{\sqrt{2}}"),
    ("boxed", r"\fbox{7}", "7"),
    ("boxed", r"\boxed 7", "7"),
    ("boxed", r"\boxed{5} and then, as I said above, we get \boxed{7}", "7"),
    ("boxed", r"\boxed{5} and \boxed{7}", "5,7"),
    ("boxed", r"\boxed{5}, \boxed{5}", "5"),
    ("boxed", r"$\boxed{-2} \quad \text{and} \quad \boxed{1}$", "-2,1"),
    ("boxed", r"first \boxed{5}, and at last \boxed{7", "5"),
    ("boxed", r"\boxed{\{1,2\}}", r"\{1,2\}"),
    ("boxed", r"\boxed{x = \boxed{5}}", "5"),
    ("boxed", r"<think> \boxed{3} </think> \boxed{4}", "4"),
    ("boxed", r"<think> \boxed{3} </think> it is 4", None),
    ("boxed", "The answer is 18.", None),
    ("boxed", r"\boxed{}", None),
    ("boxed", r"\boxed{5} or rather \boxed{ }", None),
    ("boxed", r"\boxed{\text{}}", None),
    ("boxed", r"\boxed{Solution}", None),
    ("boxed", r"\boxed{\infty}", r"\infty"),
    ("answer", "The answer is 18.", "18"),
    ("answer", "so the final answer is: **42**", "42"),
    ("answer", "Final Answer: The largest $n$ is 34.", "34"),
    ("answer", "Final Answer: The final answer is $(0, 1)$. I hope it is correct.", "(0, 1)"),
    ("answer", "work\nA: 18", "18"),
    ("answer", "He has 5 apples.\n#### 1,234", "1,234"),
    ("answer", "<answer> 12 </answer>", "12"),
    ("answer", "The answer is $5$ or $7$.", "5, 7"),
    ("answer", "The answer is 3.5 meters.", "3.5 meters"),
    ("answer", "The answer is not 70", None),
    ("answer", "The answer isn't 70", None),
    ("answer", "I think 3 + 4 = 7 and then 9 remain to be seen, so it is hard.", None),
    ("answer", "28 percent", "28 percent"),
    ("answer", r"\frac{1}{2}", r"\frac{1}{2}"),
    ("answer", "  ", None),
    ("answer", "Let's solve this problem step by step.", None),
    ("lenient", "I think that 3 + 4 makes 7", "7"),
    ("lenient", "Therefore $x \\geq 5$ is the solution.", "x \\geq 5"),
    ("lenient", "the number is not 10 which is 1,000.99€", "1,000.99"),
    ("lenient", "The answer is not 70", None),
    ("lenient", "nothing here", None),
    ("lenient", "0.5 - \\fbox{7", None),
    ("lenient", "So it is $\n9\n$", None),
    ("answer", "Answer $$\n9\n$$", "9"),
    ("answer", "The answer is 4ac - b^2.", "4ac - b^2"),
    ("answer", "The answer is $5$ m.", "5\\text{ m}"),
    ("answer", "The answer is $5$ in total.", "5"),
    ("answer", "The answer is negative 5.", "-5"),
    ("answer", "The answer is 42, because 41 is too few.", "42"),
    ("answer", "If the answer is 42 then we are wrong.", None),
    ("boxed", "$x_1=\\boxed{1}$, $x_2=\\boxed{2}$", "1,2"),
    ("boxed", "\\boxed{\\mathbb{R}^*}", "\\mathbb{R}^{*}"),
    ("boxed", "\\boxed{$30}", "\\$30"),
]


@pytest.mark.parametrize(("contract", "text", "answer"), FOUND)
def test_the_answer_is_found(contract, text, answer):
    assert find_answer(text, contract) == answer


def test_dumped_candidates_are_one_list_or_only_the_last():
    adjacent = " ".join(f"\\boxed{{{k}}}" for k in range(20))
    assert find_answer(adjacent, "boxed") == ",".join(map(str, range(20)))
    spread = " so, after some more thought, ".join(f"\\boxed{{{k}}}" for k in range(20))
    assert find_answer(spread, "boxed") == "19"


@pytest.mark.parametrize(
    "unit",
    [
        "\\boxed{",
        "\\boxed{}",
        "\\boxed{7} ",
        "$",
        "\\(",
        "The answer is ",
        "answer",
        "{",
        "7 ",
        "$x$ ",
        "#### ",
        "\ud800",
        "not 7 ",
    ],
)
def test_the_cost_is_linear_in_the_text(unit):
    def seconds(copies: int) -> float:
        text = "so it goes. " * 10 + unit * copies
        began = time.process_time()
        for contract in ("boxed", "answer", "lenient"):
            find_answer(text, contract)
        return time.process_time() - began

    seconds(1000)
    short, long = min(seconds(20_000) for _ in range(3)), min(seconds(80_000) for _ in range(3))
    assert long < 10 * short + 0.02, f"{short:.4f} s for 20,000 copies, {long:.4f} s for 80,000"


def test_a_box_that_closes_nowhere_hides_none_before_it():
    assert last_box(r"\boxed{1} then " + r"\boxed{" * 50) == "1"
    assert last_box("no box") is None
