"""Named extractors on the forms that the real sets hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersely.data import extract


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("work\n#### 72", "72"),
        ("#### no\n#### 1,234,567", "1234567"),
        ("#### $2,125", "2125"),
        ("#### -5.", "-5"),
        ("#### 1,2", "1,2"),
    ],
)
def test_gsm8k_answer(text, answer):
    assert extract.gsm8k_answer(text) == answer


@pytest.mark.parametrize("text", ["72", "#### ", ""])
def test_gsm8k_answer_refuses(text):
    with pytest.raises(ValueError, match="####"):
        extract.gsm8k_answer(text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{1} and \boxed{\frac{a}{b}}", r"\frac{a}{b}"),
        (r"\fbox{\text{(C)}}.", r"\text{(C)}"),
        (r"so $\boxed 9$", "9"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
    ],
)
def test_last_boxed(text, answer):
    assert extract.last_boxed(text) == answer


@given(st.text(alphabet="abc0{}\\ ", max_size=20))
def test_last_boxed_gives_back_what_was_boxed_or_refuses(inside):
    text = f"x \\boxed{{{inside}}} y"
    try:
        found = extract.last_boxed(text)
    except ValueError:
        return
    assert inside.strip().startswith(found) or found in text


@pytest.mark.parametrize("text", ["", "no box", r"\boxed{1", r"\boxed"])
def test_last_boxed_refuses(text):
    with pytest.raises(ValueError, match="boxed"):
        extract.last_boxed(text)


def test_json_first():
    assert extract.json_first('["\\\\frac{1}{2}", "x"]') == r"\frac{1}{2}"
    for bad in ("[]", "not json", "['1']"):
        with pytest.raises(ValueError, match="list"):
            extract.json_first(bad)


def test_strip_dapo_leaves_no_instruction_and_refuses_an_unknown_one():
    assert extract.strip_dapo("Find x.") == "Find x."
    with pytest.raises(ValueError, match="unknown form"):
        extract.strip_dapo("Find x. Your last line should be of the form Answer: $Answer please")


@pytest.mark.parametrize(
    "tail",
    [
        r"Let's think step by step and output the final answer within \boxed{}.",
        r"Please reason step by step, and put your final answer within \boxed{}.",
    ],
)
def test_strip_boxed_instruction(tail):
    assert extract.strip_boxed_instruction(f"Please find x. It is 3.5 m.\n{tail}") == "Please find x. It is 3.5 m."
    assert extract.strip_boxed_instruction("Please find x.") == "Please find x."


def test_integer_and_level():
    assert [extract.integer(v) for v in ("033", "27.0", 27.0, "$70$", "1,000")] == ["33", "27", "27", "70", "1000"]
    with pytest.raises(ValueError, match="expected an integer"):
        extract.integer("2.5")
    assert [extract.level_number(v) for v in ("Level 5", "Level ?", 3)] == ["5", None, "3"]
    assert extract.whole_as_integer("27.0") == "27" and extract.whole_as_integer("2.50") == "2.50"


def test_first_user_turn():
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert extract.first_user_turn(turns) == extract.first_user_turn("u") == "u"
    with pytest.raises(ValueError, match="no user message"):
        extract.first_user_turn(turns[:1])
