"""The cold start's traces: true where trained on, mended where wrong, as redundant on easy problems as on hard ones."""

import random
import re

import pytest

from tersely.testbed.measure import boxed
from tersely.testbed.tasks import problem_at, problems, terms_of
from tersely.testbed.traces import Mixture, trace

ALWAYS = {"no_thought": 0.0, "restated": 0.0}


def draw(count, mixture=None, seed=0, **kwargs):
    rng = random.Random(seed)
    for index in range(count):
        item = problem_at("train", seed, index, 1 + index % 6)
        yield item, trace(item["problem"], rng, mixture or Mixture(**kwargs))


def text_of(pieces):
    return "".join(piece.text for piece in pieces)


def test_every_trace_ends_in_the_right_answer():
    for item, pieces in draw(600):
        assert boxed(text_of(pieces)) == item["answer"]


def test_every_number_stays_one_token():
    for _, pieces in draw(600):
        assert all(len(number) <= 2 for number in re.findall(r"\d+", text_of(pieces)))
        assert not re.search(r"= -|\n-", text_of(pieces))


def test_wrong_equations_are_exactly_the_untrained_numbers():
    checked = 0
    for _, pieces in draw(900, mistaken=1.0, rounds=(0.0, 1.0)):
        before = ""
        for piece in pieces:
            left = re.split(r"[\n,]", before)[-1].strip()
            if re.fullmatch(r"\d+", piece.text) and left.endswith("=") and not piece.weight:
                assert eval(left[:-1]) != int(piece.text)
                checked += 1
            before += piece.text
        trained = "".join(piece.text if piece.weight else "?" for piece in pieces)
        for left, right in re.findall(r"(\d+(?: [+-] \d+)+) = (\d+)", trained):
            assert eval(left) == int(right)
    assert checked > 400


def test_a_mistake_is_seen_and_mended():
    for item, pieces in draw(400, mistaken=1.0, rounds=(0.0, 1.0), **ALWAYS):
        if any(not piece.weight for piece in pieces):
            assert "not the same" in text_of(pieces) or ", no, " in text_of(pieces)
            assert boxed(text_of(pieces)) == item["answer"]


def test_without_mistakes_every_comparison_agrees():
    for _, pieces in draw(300, mistaken=0.0):
        assert "not the same" not in text_of(pieces)
        assert all(piece.weight for piece in pieces)


def test_redundancy_does_not_depend_on_the_level():
    rounds = {level: [] for level in (1, 6)}
    for item, pieces in draw(6000, mistaken=0.0):
        if item["level"] in rounds:
            rounds[item["level"]].append(len(re.findall("Check it|Wait", text_of(pieces))))
    easy, hard = (sum(values) / len(values) for values in rounds.values())
    assert easy == pytest.approx(hard, abs=0.15)


@pytest.mark.parametrize(
    ("size", "line"),
    [
        ("single", "47 + 8 = 55\n55 - 9 = 46\n"),
        ("checked", "47 + 8 = 55, 55 - 8 = 47, ok\n55 - 9 = 46, 46 + 9 = 55, ok\n"),
        ("merged", "47 + 8 - 9 = 46\n"),
    ],
)
def test_step_sizes(size, line):
    mixture = Mixture(sizes=((size, 1.0),), rounds=(1.0,), **ALWAYS)
    assert line + "Got 46.\n" in text_of(trace("What is 47 + 8 - 9?", random.Random(0), mixture))


def test_a_closed_thought_answers_at_once():
    pieces = trace("What is 47 + 38?", random.Random(0), Mixture(no_thought=1.0))
    assert text_of(pieces) == "</think>\n\\boxed{85}"


def test_lengths_vary_at_every_level():
    for level in (1, 6):
        item = problems("train", 1, levels=[level])[0]
        rng = random.Random(1)
        lengths = [len(text_of(trace(item["problem"], rng))) for _ in range(200)]
        assert max(lengths) > 4 * sorted(lengths)[10]
        assert len(terms_of(item["problem"])) == level + 1
