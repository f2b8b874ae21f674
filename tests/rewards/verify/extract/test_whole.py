"""The whole text of an answer reaches a scorer: several lines, signs, braces in strings."""

from __future__ import annotations

import pytest

from tersely.rewards.verify.extract.whole import find_whole_answer

GRID = "1 2 3\n4 _ 6\n# # #"
OBJECT = '{"s": "}[}}}{(]", "t": ["\\\\"]}'


@pytest.mark.parametrize(
    "answer", [GRID, OBJECT, "❌ ✅\n✅ ❌", "3 × 3 × 71", "#A #A B#", "A, B; C.", '["a", "b"]', "wrong"]
)
@pytest.mark.parametrize("frame", ["So $\\boxed{%s}$.", "\\boxed{\n%s\n}", "<think>x</think>\n<answer>\n%s\n</answer>"])
def test_the_content_is_untouched(answer, frame):
    assert find_whole_answer(frame % answer) == answer


@pytest.mark.parametrize(
    ("text", "contract"),
    [
        ("<think>\\boxed{1}", "answer"),
        ("<think><answer>1</answer>", "boxed"),
        ("not \\boxed{1}", "answer"),
        ("\\boxed{1} is wrong.", "answer"),
        ("\\boxed{ }", "answer"),
        ("\\boxed{[1, 2", "answer"),
        ("<answer>1</answer>", "boxed"),
        ("\\boxed{" + "[" * 200_000, "answer"),
    ],
)
def test_no_answer(text, contract):
    assert find_whole_answer(text, contract) is None


def test_a_retraction_and_a_phrase_are_read_as_for_the_verifier():
    assert find_whole_answer("\\boxed{5}. Wait, that is a mistake. The answer is 7.") == "7"
    assert find_whole_answer("The answer is 7.") == "7"
    assert find_whole_answer("\\boxed{5} \\boxed{7}") == "5,7"
