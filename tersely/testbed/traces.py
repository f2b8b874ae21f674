r"""The texts of the cold start: an overthinker's worked solutions, with redundancy that does not depend on difficulty.

A thought is one pass over the chain, then up to three rounds of doubt. A pass has a step size:

    merged   47 + 38 - 29 = 56            two or three operations at once: short, and more than a tiny model can do
    single   47 + 38 = 85                 one operation
    fine     47 + 30 = 77, 77 + 8 = 85    tens, then units
    checked  47 + 38 = 85, 85 - 38 = 47, ok      one operation and its inverse

A round of doubt is a whole new pass that is compared with the last answer, or a walk back from the answer to the first
number. Where they disagree another pass decides. In a share of the doubted traces a number is wrong: that number is never
trained on (`Piece.trained` is False), what follows it is. The model learns to see and mend mistakes, not to make them.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import NamedTuple

from tersely.testbed.tasks import LARGEST, terms_of

SENTENCES = (
    "What is ?",
    "Okay, so we need .\n",
    "Let me see.\n",
    "Let me think about it step by step.\n",
    "ok, no, .\n",
    "Got .\n",
    "Check it.\n",
    "and , same.\n",
    "and , not the same.\n",
    "Wait, let me do it again.\n",
    "Wait, once more.\n",
    "So the answer is .\n",
    "\\boxed{}",
)
OPENINGS = ("", "Let me see.\n", "Let me think about it step by step.\n")


class Piece(NamedTuple):
    text: str
    trained: bool = True


@dataclass(frozen=True)
class Mixture:
    """How the cold start thinks; every weight is independent of the level."""

    sizes: tuple[tuple[str, float], ...] = (("merged", 0.35), ("single", 0.3), ("fine", 0.2), ("checked", 0.15))
    rounds: tuple[float, ...] = (0.2, 0.4, 0.25, 0.15)
    no_thought: float = 0.04
    restated: float = 0.5
    walk_back: float = 0.5
    mistaken: float = 0.4


def trace(problem: str, rng: random.Random, mixture: Mixture = Mixture()) -> list[Piece]:
    """The assistant's completion for one problem, after the `<think>\\n` of the chat template, without the end token."""
    terms = terms_of(problem)
    if rng.random() < mixture.no_thought:
        return [Piece(f"</think>\n\\boxed{{{sum(terms)}}}")]
    out = [Piece(rng.choice(OPENINGS))]
    if rng.random() < mixture.restated:
        out.append(Piece(f"Okay, so we need {problem[8:-1]}.\n"))
    rounds = rng.choices(range(len(mixture.rounds)), mixture.rounds)[0]
    wrong_round = rng.randrange(rounds + 1) if rounds and rng.random() < mixture.mistaken else None
    answer = _run_pass(out, terms, rng, mixture, wrong=wrong_round == 0)
    for number in range(1, rounds + 1):
        answer = _doubt(out, terms, answer, rng, mixture, wrong=wrong_round == number)
    if rng.random() < 0.5:
        out.append(Piece(f"So the answer is {answer}.\n"))
    out.append(Piece(f"</think>\n\\boxed{{{answer}}}"))
    return out


def _doubt(
    out: list[Piece], terms: list[int], answer: int, rng: random.Random, mixture: Mixture, wrong: bool
) -> int:
    """One round of doubt; returns the answer held after it."""
    if rng.random() < mixture.walk_back:
        out.append(Piece("Check it.\n"))
        back = _steps(out, answer, [-term for term in reversed(terms[1:])], _size(rng, mixture), rng, wrong)
        agreed = _compare(out, back, terms[0])
    else:
        out.append(Piece("Wait, let me do it again.\n"))
        second = _run_pass(out, terms, rng, mixture, wrong)
        agreed = _compare(out, second, answer)
    if agreed:
        return answer
    out.append(Piece("Wait, once more.\n"))
    return _run_pass(out, terms, rng, mixture, wrong=False)


def _compare(out: list[Piece], one: int, other: int) -> bool:
    out.append(Piece(f"{one} and {other}, {'same' if one == other else 'not the same'}.\n"))
    return one == other


def _run_pass(out: list[Piece], terms: list[int], rng: random.Random, mixture: Mixture, wrong: bool) -> int:
    total = _steps(out, terms[0], terms[1:], _size(rng, mixture), rng, wrong)
    out.append(Piece(f"Got {total}.\n"))
    return total


def _size(rng: random.Random, mixture: Mixture) -> str:
    names, weights = zip(*mixture.sizes, strict=True)
    return rng.choices(names, weights)[0]


def _steps(out: list[Piece], start: int, terms: list[int], size: str, rng: random.Random, wrong: bool) -> int:
    """Write the steps from `start` through the signed terms; with `wrong`, one result is a near miss. Returns the total."""
    groups = _groups(terms, size, rng)
    bad, miss = _mistake(start, groups, size == "checked", rng) if wrong else (None, 0)
    total = start
    for index, group in enumerate(groups):
        result = total + sum(group)
        given = result + (miss if index == bad else 0)
        if size == "fine":
            total = _fine_step(out, total, group[0], given, result)
        elif size == "checked":
            total = _checked_step(out, total, group[0], given, result)
        else:
            out += [Piece(_left(total, group) + " = "), Piece(str(given), given == result), Piece("\n")]
            total = given
    return total


def _fine_step(out: list[Piece], total: int, term: int, given: int, result: int) -> int:
    sign = 1 if term > 0 else -1
    tens, units = abs(term) // 10 * 10, abs(term) % 10
    if not units:
        out += [Piece(_left(total, [term]) + " = "), Piece(str(given), given == result), Piece("\n")]
        return given
    half = total + sign * tens
    text = f"{_left(total, [sign * tens])} = {half}, {_left(half, [sign * units])} = "
    out += [Piece(text), Piece(str(given), given == result), Piece("\n")]
    return given


def _checked_step(out: list[Piece], total: int, term: int, given: int, result: int) -> int:
    right = given == result
    out += [Piece(_left(total, [term]) + " = "), Piece(str(given), right)]
    out.append(Piece(f", {_left(given, [-term])} = {given - term}, "))
    out.append(Piece("ok\n" if right else f"no, {_left(total, [term])} = {result}\n"))
    return result


def _groups(terms: list[int], size: str, rng: random.Random) -> list[list[int]]:
    """The terms of each step: one at a time, or two or three where steps are merged."""
    groups, left = [], list(terms)
    while left:
        take = rng.choice((2, 2, 3)) if size == "merged" else 1
        groups.append(left[:take])
        left = left[take:]
    return groups


def _left(total: int, terms: list[int]) -> str:
    return str(total) + "".join(f" {'+' if term > 0 else '-'} {abs(term)}" for term in terms)


def _mistake(start: int, groups: list[list[int]], mended: bool, rng: random.Random) -> tuple[int | None, int]:
    """Which step goes wrong and by how much, so that every later number stays in 0..LARGEST; (None, 0) if none was found."""
    totals = list(itertools.accumulate([start, *map(sum, groups)]))  # totals[i + 1] is the result of step i
    for _ in range(20):
        bad = rng.randrange(len(groups))
        miss = rng.choice((-1, 1, -1, 1, -2, 2, -10, 10, -10, 10, rng.randint(-30, 30)))
        touched = totals[bad : bad + 2] if mended else totals  # a walk back shifts the earlier totals too
        if miss and all(0 <= total + miss <= LARGEST for total in touched):
            return bad, miss
    return None, 0
