"""The families: scorers with known answers, traces that are true, end in the answer and vary in length."""

import random
import re
import statistics

import pytest

from tersely.testbed.families import FAMILIES, LEVELS, score
from tersely.testbed.families.problems import problem_at
from tersely.testbed.families.writing import Habits, draw_habits

CALCULATION = "From left to right, modulo 100: 47 * 13 + 8 * 3"
SEARCH = "Modulo 100, which two of 12, 47, 33, 8 multiply to 96?"
TRACKING = "Modulo 100: C = B * 37; A = 12; K = A; B = A + 5. What is C?"


@pytest.mark.parametrize(
    ("family", "problem", "answer", "correct"),
    [
        ("calculation", CALCULATION, "57", True),
        ("calculation", CALCULATION, " 57 ", True),
        ("calculation", CALCULATION, "157", False),
        ("calculation", CALCULATION, "57, 58", False),
        ("calculation", CALCULATION, "47 * 13 + 8 * 3", False),
        ("calculation", "From left to right, modulo 100: 50 * 2 + 7", "07", True),
        ("calculation", CALCULATION, "", False),
        ("search", SEARCH, "12, 8", True),
        ("search", SEARCH, "8 and 12", True),
        ("search", SEARCH, "(12, 8)", True),
        ("search", SEARCH, "12 * 8", True),
        ("search", SEARCH, "96", False),
        ("search", SEARCH, "12, 47", False),
        ("search", SEARCH, "2, 48", False),
        ("search", SEARCH, "12, 8, 33", False),
        ("search", "Modulo 100, which two of 6, 47, 33, 8 multiply to 36?", "6, 6", False),
        ("search", "Modulo 100, which three of 6, 47, 33, 8 multiply to 84?", "6, 8, 33", True),
        ("search", "Modulo 100, which three of 6, 47, 33, 8 multiply to 84?", "6, 14", False),
        ("tracking", TRACKING, "29", True),
        ("tracking", TRACKING, "17", False),
        ("tracking", TRACKING, "C", False),
    ],
)
def test_scorers(family, problem, answer, correct):
    assert score(answer, {"family": family, "problem": problem}) is correct


def test_every_pair_with_the_product_is_correct():
    problem = "Modulo 100, which two of 4, 9, 12, 3 multiply to 36?"
    assert all(score(answer, {"family": "search", "problem": problem}) for answer in ("4, 9", "12, 3"))


def lengths(family, problem, count=200, **habits):
    rng = random.Random(0)
    module = FAMILIES[family]
    make = (lambda: Habits(**habits)) if habits else (lambda: draw_habits(rng, module.MOST_LINES))
    return [len(re.findall(r"\d+|\n|[A-Za-z]+", text_of(module.trace(problem, rng, make())))) for _ in range(count)]


def text_of(pieces):
    return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_traces_end_in_a_correct_answer_and_their_trained_results_are_true(family, level):
    rng, module = random.Random(level), FAMILIES[family]
    for index in range(40):
        item = problem_at("train", 0, index, level, family)
        pieces = module.trace(item["problem"], rng, draw_habits(rng, module.MOST_LINES, mistaken=0.3))
        text = text_of(pieces)
        assert text.count("</think>") == 1 and text.endswith("}")
        assert score(re.search(r"</think>\n\\boxed{(.*)}$", text)[1], item)
        trained = text_of([piece if piece.weight else piece._replace(text="?") for piece in pieces])
        found = re.findall(r"(\d+) ([+*]) (\d+) = (\d+)", trained)
        assert found or family != "calculation"
        for left, sign, right, result in found:
            assert int(result) == (int(left) + int(right) if sign == "+" else int(left) * int(right)) % 100


@pytest.mark.parametrize("family", FAMILIES)
def test_redundancy_varies_on_one_problem(family):
    problem = problem_at("train", 0, 3, 4, family)["problem"]
    found = lengths(family, problem)
    plain = min(lengths(family, problem, 20, again=0.0))
    assert min(found) < 1.4 * plain and statistics.mean(found) > 1.7 * plain


def test_the_place_of_the_pair_decides_the_length_of_a_search():
    early = "Modulo 100, which two of 12, 8, 47, 33, 9 multiply to 96?"
    late = "Modulo 100, which two of 47, 33, 12, 8, 9 multiply to 96?"
    one, other = (lengths("search", problem, again=0.0, short_test=1.0) for problem in (early, late))
    assert min(other) >= 2 * min(one)


def test_rejections_by_the_last_digits_are_true():
    rng = random.Random(0)
    for index in range(50):
        item = problem_at("train", 0, index, 4, "search")
        target = int(re.search(r"to (\d+)", item["problem"])[1])
        text = text_of(FAMILIES["search"].trace(item["problem"], rng, Habits(short_test=1.0)))
        for left, right in re.findall(r"(\d+) and (\d+), no", text):
            assert (int(left) * int(right) - target) % 10


def test_a_mistake_is_not_trained_on_and_is_corrected():
    rng = random.Random(0)
    for family, problem in (("calculation", CALCULATION), ("tracking", TRACKING)):
        pieces = FAMILIES[family].trace(problem, rng, Habits(mistaken=1.0))
        wrong = [piece for piece in pieces if piece.weight == 0]
        assert len(wrong) <= 1 and ("no, " in text_of(pieces)) == bool(wrong)


def test_the_command_writes_traces_of_a_cold_start(tmp_path):
    from tersely.configs.cold_start import TracesSpec
    from tersely.launch.cli.testbed_traces import main
    from tersely.rl.sft.traces import read_traces

    out = tmp_path / "traces.jsonl"
    assert main(["--out", str(out), "--count", "30"]) == 0
    found = read_traces(TracesSpec.of(str(out)), 0, None, None)
    assert found.known == [True] * 30 and all("</think>" in text for text in found.texts)
    first = out.read_bytes()
    assert main(["--out", str(out), "--count", "30"]) == 0 and out.read_bytes() == first


def test_the_data_set_carries_the_family_to_the_scorer():
    import json

    from tersely.data import load_problems

    data = load_problems({"name": "families", "limit": 3, "parameters": {"levels": [2]}}, seed=0)
    rows = [json.loads(payload)["row"] for payload in data["scorer"]]
    assert [row["family"] for row in rows] == list(FAMILIES) and data["level"] == ["2"] * 3
