"""Calculation: a chain of labelled steps, modulo 100. Every step is needed, and each must be written out.

"Modulo 100, from 47: A*13,B+8,C*3" has the answer 57. A level is a number of steps and of hard ones.
"""

from __future__ import annotations

import random
import re
from itertools import accumulate

from tersely.testbed.families.writing import LABELS, NUMBERS, Habits, Piece, Thought, applied, steps

LEVELS = {1: (1, 0), 2: (2, 0), 3: (4, 1), 4: (7, 1), 5: (12, 4)}
"""Level -> (steps, hard steps)."""
MOST_LOOKS = 14.0
"""The most redundant looks per line that a trace has on average."""

Step = tuple[str, int]


def draw(rng: random.Random, level: int) -> tuple[str, str]:
    """(problem, answer)."""
    start, chain = rng.randint(2, 99), steps(rng, *LEVELS[level])
    listed = ",".join(f"{label}{sign}{number}" for label, (sign, number) in zip(LABELS, chain, strict=False))
    return f"Modulo 100, from {start}: {listed}", str(_totals(start, chain)[-1])


def parse(problem: str) -> tuple[int, list[Step]]:
    """(first number, steps)."""
    head, _, listed = problem.partition(": ")
    return int(head.split()[-1]), [(sign, int(number)) for sign, number in re.findall(r"[A-Z]([+*])(\d+)", listed)]


def key(problem: str) -> str:
    """What makes a problem the same as another."""
    return problem


def score(answer: str, problem: str) -> bool:
    """True if the answer is the chain's value; a leading zero is allowed, because the value has two digits."""
    return re.fullmatch(r"[0-9]{1,2}", answer.strip()) is not None and int(answer) == _totals(*parse(problem))[-1]


def trace(problem: str, rng: random.Random, habits: Habits) -> list[Piece]:
    start, chain = parse(problem)
    totals = _totals(start, chain)
    thought = Thought(rng, habits)
    bad = rng.randrange(len(chain)) if rng.random() < habits.mistaken else None
    for index in range(len(chain)):
        if index == bad:
            thought.wrong_step(totals[index], _rule(chain, index), totals[index + 1])
        thought.step(totals[index], _rule(chain, index), totals[index + 1])
        thought.end_line(str(totals[index + 1]), NUMBERS)
    return thought.closed(str(totals[-1]))


def _rule(chain: list[Step], index: int) -> str:
    sign, number = chain[index]
    return f"{LABELS[index]}{sign}{number}"


def _totals(start: int, chain: list[Step]) -> list[int]:
    return list(accumulate(chain, lambda total, step: applied(total, *step), initial=start))
