"""The measurement: styles read from the text, tables from known attempts, the answer after the thought."""

import pytest

from tersely.testbed.measure import Attempt, boxed, level_table, show, style_table
from tersely.testbed.tasks import LEVELS


def attempt(text="85\nGot 85.\n</think>\n\\boxed{85}", level=1, right=True, length=10, problem="p", truncated=False):
    return Attempt(problem, level, text, right, length, truncated)


@pytest.mark.parametrize(
    ("text", "style", "rounds"),
    [
        ("</think>\n\\boxed{85}", "none", 0),
        ("47 + 38 = 85\nGot 85.\n", "single", 0),
        ("47 + 38 - 29 = 56\nGot 56.\nCheck it.\n56 + 20 = 76, 76 + 9 = 85\n", "merged", 1),
        ("47 + 38 = 85, 85 - 38 = 47, ok\nGot 85.\n", "checked", 0),
        ("Okay, so we need 47 + 38 - 29.\n47 + 38 = 85\n85 - 29 = 56\nGot 56.\n", "single", 0),
    ],
)
def test_style_of_the_first_pass(text, style, rounds):
    found = attempt(text)
    assert (found.style, found.rounds) == (style, rounds)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("</think>\n\\boxed{85}", "85"),
        ("\\boxed{1}</think>\n\\boxed{-2}", "-2"),
        ("\\boxed{1}</think>\nnothing", None),
        ("</think>\\boxed{x}", None),
    ],
)
def test_boxed_reads_after_the_thought(text, answer):
    assert boxed(text) == answer


def test_level_table_of_known_attempts():
    found = [
        attempt(level=level, length=length, right=right, problem=f"p{level}")
        for level in LEVELS
        for length, right in ((10, False), (20, True), (30, True), (40, True))
    ]
    table = {row[0]: dict(zip(level_table(found)[0], row, strict=True)) for row in level_table(found)}
    row = table["all"]
    assert (row["pass@1"], row["tokens"], row["shortest"], row["ratio"]) == ("0.750", "25.0", "20.0", "1.25")
    assert (row["short half"], row["long half"], row["mixed"], row["cut"]) == ("0.500", "1.000", "1.00", "0.000")
    assert set(table) == {"level", *map(str, LEVELS), "all"}


def test_style_table_shares_add_up():
    found = [attempt(), attempt("</think>\n\\boxed{1}", right=False), attempt("1 + 2 = 3\nGot 3.\nWait, once more.\n")]
    shares = [float(row[2]) for row in style_table(found)[1:]]
    assert sum(shares) == pytest.approx(1.0, abs=0.01)


def test_show_aligns():
    assert show([["a", "bb"], ["ccc", "d"]]) == "  a  bb\nccc   d"
