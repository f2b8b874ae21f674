"""Input filter of the judge: text without content is refused, answers are not; master keys earn nothing under any contract."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersely.configs.verifier import CONTRACTS
from tersely.rewards.verify.extract.find import find_answer
from tersely.rewards.verify.judge.input_filter import MASTER_KEYS, input_filter


@pytest.mark.parametrize("answer", ["0", "-1", "x", "B", "No", "½", "７", r"\infty", "∞", "∅", "the solution is 5"])
def test_answers_pass(answer):
    assert input_filter(answer) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "empty"),
        ("", "empty"),
        (" \n", "empty"),
        ("{", "no_alphanumeric"),
        ("$$", "no_alphanumeric"),
        ("...", "no_alphanumeric"),
        ("?!", "no_alphanumeric"),
        (r"\boxed{}", "no_alphanumeric"),
        (r"\boxed{Solution}", "master_key"),
        ("**Solution**:", "master_key"),
        ("LET'S SOLVE THIS PROBLEM STEP BY STEP!", "master_key"),
        ("解：", "master_key"),
    ],
)
def test_contentless_text_is_refused(answer, reason):
    assert input_filter(answer) == reason


def test_a_box_may_be_required():
    assert input_filter("5", require_boxed=True) == "no_box"
    assert input_filter("5", require_boxed=True, response=r"so \boxed{5}") is None
    assert input_filter(r"\boxed{5}", require_boxed=True) is None


def test_more_keys():
    assert input_filter("Let's do this step by step.") is None
    assert input_filter("let's do this step by step", extra_keys=["Let's do this step by step."]) == "master_key"


@given(st.text())
def test_it_never_raises(text):
    assert input_filter(text) in (None, "empty", "no_alphanumeric", "master_key")


@pytest.mark.parametrize("key", MASTER_KEYS)
@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("shape", ["{}", "\\boxed{{{}}}", "The answer is {}", "<answer>{}</answer>", "#### {}"])
def test_master_keys_are_no_answer(key, contract, shape):
    assert find_answer(shape.format(key), contract) is None
