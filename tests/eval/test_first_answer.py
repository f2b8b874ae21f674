from hypothesis import given
from hypothesis import strategies as st

from tersely.eval.first_answer import first_correct_position, first_correct_tokens, first_statement
from tersely.eval.metrics import first_answer_position


@given(st.text(alphabet="= is17.x\n", max_size=60), st.sampled_from(["7", "17", "x", "1.7"]))
def test_quick_search_finds_the_same(text, answer):
    assert first_statement("is it? " * 30 + text, answer) == first_answer_position("is it? " * 30 + text, answer)


def test_no_false_word_boundary_where_the_search_starts():
    text = "z" * 40 + "this" + " " * 62 + "7"
    assert first_statement(text, "7") is None and first_answer_position(text, "7") is None


def test_gold_or_the_right_answer_itself():
    wrong_end = {"text": "a = 7, no: a = 8", "gold": "7", "answer": "8", "tokens": 16}
    assert first_correct_position(wrong_end, 0.0) == 5
    other_form = {"text": "so a = 1/2", "gold": "0.5", "answer": "1/2", "tokens": 10}
    assert first_correct_position(other_form, 1.0) == 10 and first_correct_position(other_form, 0.0) is None
    assert first_correct_tokens({"text": "", "tokens": 3, "gold": "7"}, 1.0)[1] is False


def test_answers_that_are_no_text():
    record = {"text": "x = 3, so 7", "gold": ["3"], "answer": {"a": 1}, "tokens": 4}
    assert first_correct_position(record, 1.0) is None and first_correct_position({**record, "gold": 3}, 0.0) == 5
