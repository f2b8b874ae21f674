"""Calculation: a chain of steps from left to right, modulo 100. Every step is needed, and each must be written out.

"From left to right, modulo 100: 47 * 13 + 8 * 3" has the answer 57. A level is a number of steps and of hard ones.
"""

from __future__ import annotations

import random
import re
from itertools import accumulate

from tersely.testbed.families.writing import Habits, Piece, Thought, applied, steps

LEVELS = {1: (1, 0), 2: (2, 0), 3: (4, 1), 4: (9, 1), 5: (14, 2)}
"""Level -> (steps, hard steps)."""
MOST_LINES = 4.0
ACTS = {"repeat": 4.0, "swap": 3.0, "back": 2.0, "rest": 1.5, "start": 0.5}

Step = tuple[str, int]


def draw(rng: random.Random, level: int) -> tuple[str, str]:
    """(problem, answer)."""
    start, chain = rng.randint(2, 99), steps(rng, *LEVELS[level])
    text = f"From left to right, modulo 100: {start}" + "".join(f" {sign} {number}" for sign, number in chain)
    return text, str(_totals(start, chain)[-1])


def parse(problem: str) -> tuple[int, list[Step]]:
    """(first number, steps)."""
    start, *rest = re.findall(r"[+*]|\d+", problem.partition(": ")[2])
    return int(start), [(sign, int(number)) for sign, number in zip(rest[::2], rest[1::2], strict=True)]


def key(problem: str) -> str:
    """What makes a problem the same as another."""
    return problem


def score(answer: str, problem: str) -> bool:
    """True if the answer is the chain's value; a leading zero is allowed, because the value has two digits."""
    return re.fullmatch(r"\d{1,2}", answer.strip()) is not None and int(answer) == _totals(*parse(problem))[-1]


def trace(problem: str, rng: random.Random, habits: Habits) -> list[Piece]:
    start, chain = parse(problem)
    totals = _totals(start, chain)
    thought = Thought(rng, habits)
    bad = rng.randrange(len(chain)) if rng.random() < habits.mistaken else None
    if rng.random() < habits.restate:
        _left(thought, start, chain)
    for index in range(len(chain)):
        if index == bad:
            thought.wrong_equation(totals[index], *chain[index])
        _line(thought, totals, chain, index)
        while thought.goes_on():
            thought.mark()
            _redundant(thought, totals, chain, index)
    if rng.random() < habits.restate:
        _line(thought, totals, chain, len(chain) - 1)
    return thought.closed(str(totals[-1]))


def _redundant(thought: Thought, totals: list[int], chain: list[Step], index: int) -> None:
    act = thought.act(ACTS)
    if act == "swap":
        sign, number = chain[index]
        thought.equation(number, sign, totals[index])
        thought.write("\n")
    elif act == "rest" and index + 1 < len(chain):
        _left(thought, totals[index + 1], chain[index + 1 :])
    elif act == "start" and 0 < index < 6:
        thought.write("from the start\n")
        for again in range(index + 1):
            _line(thought, totals, chain, again)
    else:
        for again in range(max(index - (act == "back"), 0), index + 1):
            _line(thought, totals, chain, again)


def _left(thought: Thought, total: int, chain: list[Step]) -> None:
    thought.write(f"left {total}" + "".join(f" {sign} {number}" for sign, number in chain) + "\n")


def _line(thought: Thought, totals: list[int], chain: list[Step], index: int) -> None:
    thought.equation(totals[index], *chain[index])
    thought.write("\n")


def _totals(start: int, chain: list[Step]) -> list[int]:
    return list(accumulate(chain, lambda total, step: applied(total, *step), initial=start))
