"""What a completion says of itself, where no plan has a contract of its own."""

from __future__ import annotations

import pytest

from tersely.core.parse_completion import parse_completion, thinking_part

HEAD = "<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("turn", "well_formed", "mode"),
    [
        ("<think>\na b</think>\n4", True, "think"),
        ("<think>\n\n</think>\n4", True, "no_think"),
        ("<think>a b", False, "think"),
        ("<think>a</think>b</think>4", False, "think"),
        ("<think>a</think>", False, "think"),
        ("a b</think>4", True, "think"),
        ("</think>4", True, "no_think"),
        ("the answer is 4", True, "think"),
        ("<think>\n<think> in 512 tokens</think>4", True, "think"),
        ("<think>a<think>b</think>4", False, "think"),
        ("<short>4", True, "short"),
        ("<think>a <short> b</think>4", True, "think"),
    ],
)
def test_thinking_is_closed_once_and_an_answer_follows(turn, well_formed, mode):
    for text in (turn, HEAD + turn):
        parsed = parse_completion(text)
        assert (parsed.well_formed, parsed.mode, parsed.budget) == (well_formed, mode, None)


def test_nothing_at_all_is_not_well_formed():
    assert not parse_completion("  \n").well_formed


def test_the_thinking_part():
    assert thinking_part(HEAD + "<think>\na b</think>c") == "\na b"
    assert thinking_part(HEAD + "a b</think>c</think>") == "a b"
    assert thinking_part("<think>a") is None
