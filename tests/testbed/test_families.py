"""The families: scorers with known answers, traces that are true, end in the answer and vary in length."""

import random
import re
import statistics

import pytest

from tersely.testbed.families import FAMILIES, LEVELS, score
from tersely.testbed.families.problems import problem_at
from tersely.testbed.families.writing import Habits, draw_habits

CALCULATION = "Modulo 100, from 47: A*13,B+8,C*3"
SEARCH = "Modulo 100, which of A12,B47,C33,D8 solves x*7 = 31?"
TRACKING = "Modulo 100, 12 at C: A>B,C>A,B>D; B+2,D+7,A*37,C+5. What is it after B?"


@pytest.mark.parametrize(
    ("family", "problem", "answer", "correct"),
    [
        ("calculation", CALCULATION, "57", True),
        ("calculation", CALCULATION, " 57 ", True),
        ("calculation", CALCULATION, "157", False),
        ("calculation", CALCULATION, "57, 58", False),
        ("calculation", CALCULATION, "A*13,B+8,C*3", False),
        ("calculation", "Modulo 100, from 50: A*2,B+7", "07", True),
        ("calculation", CALCULATION, "", False),
        ("calculation", CALCULATION, "\u0665\u0667", False),
        ("search", SEARCH, "33", True),
        ("search", SEARCH, " 33 ", True),
        ("search", SEARCH, "C", False),
        ("search", SEARCH, "C33", False),
        ("search", SEARCH, "31", False),
        ("search", SEARCH, "12", False),
        ("search", SEARCH, "33, 12", False),
        ("search", "Modulo 100, which of A1,B47 solves x*7+4 = 33?", "47", True),
        # 86 solves the equation, but is not one of the numbers
        ("search", "Modulo 100, which of A36,B47 solves x*2 = 72?", "86", False),
        ("tracking", TRACKING, "31", True),
        ("tracking", TRACKING, "29", False),
        ("tracking", TRACKING, "C", False),
    ],
)
def test_scorers(family, problem, answer, correct):
    assert score(answer, {"family": family, "problem": problem}) is correct


LINE = r"[A-Z]([+*])(\d+) (\d+) = (\d+)(?=[;\n ])"


def lengths(family, problem, count=200, **habits):
    rng = random.Random(0)
    module = FAMILIES[family]
    make = (lambda: Habits(**habits)) if habits else (lambda: draw_habits(rng, module.MOST_LOOKS))
    return [len(re.findall(r"\d+|\n|[A-Za-z]+", text_of(module.trace(problem, rng, make())))) for _ in range(count)]


def text_of(pieces):
    return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_traces_end_in_a_correct_answer_and_their_trained_results_are_true(family, level):
    rng, module = random.Random(level), FAMILIES[family]
    for index in range(40):
        item = problem_at("train", 0, index, level, family)
        pieces = module.trace(item["problem"], rng, draw_habits(rng, module.MOST_LOOKS, mistaken=0.3))
        text = text_of(pieces)
        assert text.count("</think>") == 1 and text.endswith("}")
        assert score(re.search(r"</think>\n\\boxed{(.*)}$", text)[1], item)
        trained = text_of([piece if piece.weight else piece._replace(text="?") for piece in pieces])
        found = [
            *re.findall(r"(?=(?<!\d)(\d+)([+*])(\d+) = (\d+))", trained),
            *((left, *step, result) for *step, left, result in re.findall(LINE, trained)),
        ]
        assert found or family == "search"
        for left, sign, right, result in found:
            assert int(result) == (int(left) + int(right) if sign == "+" else int(left) * int(right)) % 100


@pytest.mark.parametrize("family", FAMILIES)
def test_redundancy_varies_on_one_problem(family):
    problem = problem_at("train", 0, 3, 4, family)["problem"]
    found = lengths(family, problem)
    plain = min(lengths(family, problem, 20, again=0.0))
    assert min(found) < 1.4 * plain and statistics.mean(found) > 1.7 * plain


def test_the_place_of_the_solution_decides_the_length_of_a_search():
    early = "Modulo 100, which of A12,B33,C47,D8,E9 solves x*7 = 31?"
    late = "Modulo 100, which of A12,B8,C47,D9,E33 solves x*7 = 31?"
    one, other = (statistics.mean(lengths("search", problem, again=0.0, short_test=0.0)) for problem in (early, late))
    assert other > 1.2 * one


def test_rejections_by_the_last_digits_are_true():
    rng = random.Random(0)
    short = 0
    for index in range(50):
        item = problem_at("train", 0, index, 4, "search")
        factor, target = map(int, re.search(r"x\*(\d+) = (\d+)", item["problem"]).groups())
        numbers = dict(re.findall(r"([A-Z])(\d+)", item["problem"].partition(" solves ")[0]))
        text = text_of(FAMILIES["search"].trace(item["problem"], rng, Habits(short_test=1.0)))
        for label, number, digit, wanted, word in re.findall(r"^([A-Z])(\d+) (\d), (\d), (no|ok)$", text, re.M):
            assert numbers[label] == number
            assert int(digit) == int(number) * factor % 10 and int(wanted) == target % 10
            assert (word == "ok") == (digit == wanted)
            short += 1
    assert short > 100


@pytest.mark.parametrize("family", FAMILIES)
def test_looks_repeat_the_last_word_and_their_slips_are_not_trained(family):
    """So a trace without what stands behind the first `;` of its lines is a whole solution."""
    rng = random.Random(1)
    looks = slips = 0
    for index in range(30):
        item = problem_at("train", 0, index, 4, family)
        pieces = FAMILIES[family].trace(item["problem"], rng, Habits(again=0.7, marked=0.3))
        trained = text_of([piece if piece.weight else piece._replace(text="SLIP") for piece in pieces])
        for line in trained.splitlines():
            body, *again = line.split(";")
            for look in again:
                slips += look.endswith("SLIP")
                looks += 1
                assert look.endswith("SLIP") or body.endswith(look.split(" ")[-1])
    assert looks > 100 and 0.05 < slips / looks < 0.16


def test_every_line_of_tracking_ends_in_where_to_go():
    item = problem_at("train", 0, 5, 4, "tracking")
    walk = FAMILIES["tracking"].parse(item["problem"])
    text = text_of(FAMILIES["tracking"].trace(item["problem"], random.Random(0), Habits()))
    lines = text.partition("</think>")[0].splitlines()
    assert [line[0] for line in lines] == walk.path
    assert [line.rpartition(" ")[2] for line in lines] == [
        *(f"{place}>{walk.arrows[place]}" for place in walk.path[:-1]),
        f"{walk.goal}?",
    ]


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

    data = load_problems({"name": "testbed", "limit": 3, "parameters": {"levels": [2]}}, seed=0)
    rows = [json.loads(payload)["row"] for payload in data["scorer"]]
    assert [row["family"] for row in rows] == list(FAMILIES) and data["level"] == ["2"] * 3
