r"""Generates the texts of the cold start: verbose worked solutions whose redundancy does not depend on difficulty.

A thought is one pass over the chain, then up to three rounds of doubt. A pass has a step size:

    merged   47 + 8 - 9 = 46             two or three operations at once: short, but hard for a tiny model
    single   47 + 8 = 55                 one operation
    checked  47 + 8 = 55, 55 - 8 = 47, ok      one operation and its inverse

A round of doubt is a new pass that is compared with the last answer, or a walk back from the answer to the first number.
If they disagree, a checked pass decides. In a share of these traces a number is wrong: that number is never trained on
(`Piece.weight` is 0), the text after it is. The model learns to notice and fix mistakes, not to make them.
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


RESULT_WEIGHT = 4.0
"""Most tokens are copied and few are computed: without a higher weight, arithmetic is learned last."""


class Piece(NamedTuple):
    """A piece of text and the loss weight of its tokens: 0 for a mistake, RESULT_WEIGHT for a result."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Mixture:
    """Probabilities of the trace generator; independent of the level."""

    sizes: tuple[tuple[str, float], ...] = (("merged", 0.3), ("single", 0.45), ("checked", 0.25))
    rounds: tuple[float, ...] = (0.2, 0.4, 0.25, 0.15)
    no_thought: float = 0.04
    restated: float = 0.5
    walk_back: float = 0.5
    mistaken: float = 0.4


MIXTURE = Mixture()


def trace(problem: str, rng: random.Random, mixture: Mixture = MIXTURE) -> list[Piece]:
    """The assistant's completion for one problem: the text after the template's `<think>\\n`, without the end token."""
    terms = terms_of(problem)
    if rng.random() < mixture.no_thought:
        return [Piece("</think>\n\\boxed{"), _result(sum(terms), sum(terms)), Piece("}")]
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


def _doubt(out: list[Piece], terms: list[int], answer: int, rng: random.Random, mixture: Mixture, wrong: bool) -> int:
    """Write one round of doubt; returns the answer after it."""
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
    return _run_pass(out, terms, rng, mixture, wrong=False, size="checked")


def _compare(out: list[Piece], one: int, other: int) -> bool:
    out.append(Piece(f"{one} and {other}, {'same' if one == other else 'not the same'}.\n"))
    return one == other


def _run_pass(
    out: list[Piece], terms: list[int], rng: random.Random, mixture: Mixture, wrong: bool, size: str | None = None
) -> int:
    total = _steps(out, terms[0], terms[1:], size or _size(rng, mixture), rng, wrong)
    out.append(Piece(f"Got {total}.\n"))
    return total


def _size(rng: random.Random, mixture: Mixture) -> str:
    names, weights = zip(*mixture.sizes, strict=True)
    return rng.choices(names, weights)[0]


def _steps(out: list[Piece], start: int, terms: list[int], size: str, rng: random.Random, wrong: bool) -> int:
    """Write the steps from `start` through the signed terms, with one near miss if `wrong`; returns the total."""
    groups = _groups(terms, size, rng)
    bad, miss = _mistake(start, groups, size == "checked", rng) if wrong else (None, 0)
    total = start
    for index, group in enumerate(groups):
        result = total + sum(group)
        given = result + (miss if index == bad else 0)
        if size == "checked":
            total = _checked_step(out, total, group[0], given, result)
        else:
            out += [Piece(_left(total, group) + " = "), _result(given, result), Piece("\n")]
            total = given
    return total


def _checked_step(out: list[Piece], total: int, term: int, given: int, result: int) -> int:
    right = given == result
    out += [Piece(_left(total, [term]) + " = "), _result(given, result)]
    out += [Piece(f", {_left(given, [-term])} = "), _result(given - term, given - term)]
    if right:
        out.append(Piece(", ok\n"))
    else:
        out += [Piece(f", no, {_left(total, [term])} = "), _result(result, result), Piece("\n")]
    return result


def _result(given: int, right: int) -> Piece:
    return Piece(str(given), RESULT_WEIGHT if given == right else 0.0)


def _groups(terms: list[int], size: str, rng: random.Random) -> list[list[int]]:
    """The terms of each step: one, or two or three for merged steps."""
    groups, left = [], list(terms)
    while left:
        take = rng.choice((2, 2, 3)) if size == "merged" else 1
        groups.append(left[:take])
        left = left[take:]
    return groups


def _left(total: int, terms: list[int]) -> str:
    return str(total) + "".join(f" {'+' if term > 0 else '-'} {abs(term)}" for term in terms)


def _mistake(start: int, groups: list[list[int]], mended: bool, rng: random.Random) -> tuple[int | None, int]:
    """(step with the mistake, its size); (None, 0) if no attempt kept every number in 0..LARGEST."""
    terms = [term for group in groups for term in group]
    totals = list(itertools.accumulate([start, *terms]))
    for _ in range(20):
        bad = rng.randrange(len(groups))
        miss = rng.choice((-1, 1, -1, 1, -2, 2, -10, 10, -10, 10, rng.randint(-30, 30)))
        # A walk back from a wrong answer shifts every total of the chain; a checked step is fixed on the spot.
        touched = totals[bad : bad + 2] if mended else totals
        if miss and all(0 <= total + miss <= LARGEST for total in touched):
            return bad, miss
    return None, 0
