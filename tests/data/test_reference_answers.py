import json
import re

import pytest

from tersely.data.reference_answers import gold_fault, text_only


@pytest.mark.parametrize(
    "gold",
    [
        "18",
        "-3.5",
        "1,000",
        r"\frac{1}{2}",
        r"\left( 3, \frac{\pi}{2} \right)",
        r"\text{Evelyn}",
        r"\frac{d !}{2 k(d-k) !}",
        r"(-\infty, 2]",
        r"\boxed{7}",
        "50\\%",
        r"$\infty$",
        r"\text{Na}",
        "Nat",
        "undefined",
        r"\{ \}",
    ],
)
def test_golds_that_can_be_used(gold):
    assert gold_fault(gold) is None


@pytest.mark.parametrize(
    ("gold", "fault"),
    [("", "expected an answer"), ("  ", "expected an answer"), (r"\boxed{}", "expected an answer|parse")],
)
def test_golds_that_cannot(gold, fault):
    assert re.search(fault, gold_fault(gold) or "")


@pytest.mark.parametrize("value", ["nan", "-inf", "+Infinity", "None.", "n.a.", "NA", "NaT", "TBD", "?", "#NAME?"])
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        " {} ",
        "${}$",
        "$${}$$",
        r"\({}\)",
        r"\[{}\]",
        r"\text{{{}}}",
        r"$\mathrm {{{}}}$",
        "**{}**",
        '"{}"',
        "({})",
    ],
)
def test_a_missing_number_is_no_answer_whatever_stands_around_it(value, around):
    assert "placeholder" in (gold_fault(around.format(value)) or "")


@pytest.mark.parametrize("gold", ["9^{9^9}", "1000000!", "{", r"\frac{1}{"])
def test_golds_that_nobody_evaluates_are_kept_and_with_unique_names(gold):
    assert text_only(gold) and gold_fault(gold) is None
    assert not text_only(r"\frac{1}{2}") and not text_only("1" * 30)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["math500", "minerva", "olympiadbench_math_en", "aime24", "aime25", "amc23"])
def test_golds_of_real_benchmarks_can_be_used(shared_data, file):
    rows = [json.loads(line) for line in (shared_data / "benchmarks" / f"{file}.jsonl").open()]
    assert {row["answer"]: gold_fault(row["answer"]) for row in rows if gold_fault(row["answer"])} == {}
