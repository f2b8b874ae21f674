import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersely.eval.metrics import first_answer_position, has_loop, marker_rate, tokens_until


def plain(text, answer):
    """The rule as it is written down."""
    a = re.escape(answer.strip())
    rule = rf"(?:\\boxed\{{|=|\bis\b|\banswer\b)\s*:?\s*(?:\$|\*\*|\\\()?\s*{a}(?![A-Za-z0-9])(?![.,]\d)"
    found = re.search(rule, text, re.IGNORECASE)
    return found.end() if found and answer.strip() else None


@pytest.mark.parametrize("text", ["x = 123", "= 12.5", "= 12,000", "= -12", "we get 12 here", "this 12", "= 12a"])
def test_twelve_is_not_stated(text):
    assert first_answer_position(text, "12") is None


@pytest.mark.parametrize(
    "text", ["x = 12", "\\boxed{12}", "the answer: $12$", "It IS **12**", "answer \\( 12", "= 12.", "=12,"]
)
def test_twelve_is_stated(text):
    assert first_answer_position(text, " 12 ") == text.index("12") + 2


def test_the_first_place_counts_and_an_empty_answer_never():
    assert first_answer_position("3 apples: x = 3. Wait, the answer is 3", "3") == 15
    assert first_answer_position("x = ", "  ") is None


@given(st.text(alphabet="= :$*\\(12is\n", max_size=40), st.sampled_from(["1", "12", "$1", "*", ":", "=1", "\\("]))
def test_same_as_the_written_rule(text, answer):
    assert first_answer_position(text, answer) == plain(text, answer)


def test_hostile_spaces_cost_nothing():
    start = time.process_time()
    assert first_answer_position("= " + " " * 100_000 + "x", "12") is None
    assert time.process_time() - start < 1.0


def test_tokens_until():
    ends = [3, 5, 5, 9]
    assert [tokens_until(e, ends) for e in (0, 3, 4, 5, 6, 9, 99)] == [1, 1, 2, 2, 4, 4, 4]
    assert tokens_until(1, []) == 0
    with pytest.raises(ValueError, match="token_ends"):
        tokens_until(1, [3, 2])


def test_loops():
    assert has_loop("a b " * 14) and not has_loop("a b " * 13)
    assert has_loop("x " * 3, n=2, times=2) and not has_loop("x", n=2, times=1)
    assert has_loop("x y", n=2, times=1)
    assert not has_loop(" ".join(map(str, range(500))))
    with pytest.raises(ValueError, match="n.* 0"):
        has_loop("x", n=0)


def test_markers_whole_words_longest_first():
    markers = ["wait", "let me check", "let me"]
    assert marker_rate("Wait, waiting. Let me check; let me", 500, markers) == pytest.approx(6.0)
    assert marker_rate("a+b wait", 1, ["a+"]) == 0.0
    assert np.isnan(marker_rate("wait", 0, markers)) and marker_rate("x", 5, []) == 0.0
    with pytest.raises(ValueError, match="token_count"):
        marker_rate("x", -1, markers)
