import pytest

from tersely.engines.models import load_tokenizer
from tersely.eval.decoding.base import Decoded, Prompt
from tersely.eval.first_answer import first_correct_position
from tersely.eval.sample_record import TokenLengths, sample_record, second_opinion
from tersely.rewards.verify.verdict import Verdict


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("testbed")


def made(tokenizer, text, verdict="correct", answer="57", **more):
    ids = tuple(tokenizer.encode(text, add_special_tokens=False)) + (tokenizer.eos_token_id,)
    decoded = Decoded((1,), ids, (False,) * len(ids), 3, more.pop("extra", 0), "eos", **more)
    row = {"level": None, "family": "sums", "problem": "What is 65 - 8?", "answer": "57"}
    shown = tokenizer.decode(ids, skip_special_tokens=True)
    return ids, sample_record(
        row, Prompt("p", 0, (1,), 9), 0, decoded, shown, Verdict(verdict, answer=answer), TokenLengths(tokenizer)
    )


def test_the_first_right_answer_is_counted_in_tokens(tokenizer):
    text = "65 - 8 = 57\nGot 57.\nCheck it.\n57 + 8 = 65\n</think>\n\\boxed{57}"
    ids, record = made(tokenizer, text)
    prefix = tokenizer.decode(ids[: record["first_correct"]])
    assert prefix == "65 - 8 = 57" and record["family"] == "sums" and record["tokens"] == len(ids)
    assert first_correct_position(record, 1.0) == len(prefix)


def test_costs_budgets_and_phases(tokenizer):
    _, record = made(tokenizer, "12", "incorrect", "12", extra=30, budget=64.0, phases=(("thinking", 1), ("probe", 30)))
    assert record["tokens"] == 1 + 1 + 30
    assert (
        record["extra_tokens"] == 30 and record["budget"] == 64 and record["phases"] == [["thinking", 1], ["probe", 30]]
    )
    assert record["first_correct"] is None and record["second"] == "incorrect"


def test_parts_of_characters(tokenizer):
    """Where tokens hold parts of a character, places are found by bisection."""
    text = "\u221a\u221a = 57 \u221a"
    ids = tokenizer.encode(text, add_special_tokens=False)
    shown = tokenizer.decode(ids)
    end = shown.index("57") + 2
    count = TokenLengths(tokenizer).tokens_until(ids, shown, end)
    assert len(tokenizer.decode(ids[:count])) >= end > len(tokenizer.decode(ids[: count - 1]))


@pytest.mark.parametrize(
    ("gold", "answer", "correct", "opinion"),
    [
        ("57", "57", 1.0, "correct"),
        ("57", "58", 0.0, "incorrect"),
        ("x+1", "1+x", 1.0, None),
        ("57", None, 0.0, None),
        ("1", "1", None, None),
    ],
)
def test_second_opinions(gold, answer, correct, opinion):
    assert second_opinion({"gold": gold, "answer": answer, "correct": correct}) == opinion
