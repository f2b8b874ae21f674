"""Tracking: follow arrows through a shuffled list. The number of hops is known, and none can be skipped.

"Modulo 100, 12 at C: A>B,C>A,B>D; B+2,D+7,A*37,C+5. What is it after B?" has the answer 31: C makes 17 of 12, A makes 29 of 17,
B makes 31 of 29. A line is a step and where the arrow leads, `C+5 12 = 17 C>A`, or `B+2 29 = 31 B?` at the place that is asked
for. A level is a number of steps and of hard ones; some arrows lead further than what is asked for.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from tersely.testbed.families.writing import LABELS, RESULT_WEIGHT, Habits, Piece, Thought, applied, steps

LEVELS = {1: (1, 0), 2: (2, 0), 3: (4, 1), 4: (6, 1), 5: (8, 3)}
"""Level -> (steps, hard ones)."""
MOST_LOOKS = 20.0
"""The most redundant looks per line that a trace has on average."""

_ONWARD = ("?", *(f">{label}" for label in LABELS))


class Walk(NamedTuple):
    """What a problem states: the start, the arrows from place to place, the step of each place, and the last place."""

    number: int
    start: str
    arrows: dict[str, str]
    steps: dict[str, tuple[str, int]]
    goal: str

    @property
    def path(self) -> list[str]:
        """The places from the start to the goal."""
        found = [self.start]
        while found[-1] != self.goal:
            found.append(self.arrows[found[-1]])
        return found

    @property
    def hops(self) -> list[tuple[int, str, int]]:
        """For each place of the path: the number that goes in, the place with its step, and the number that comes out."""
        found, number = [], self.number
        for place in self.path:
            sign, right = self.steps[place]
            found.append((number, f"{place}{sign}{right}", applied(number, sign, right)))
            number = found[-1][2]
        return found


def draw(rng: random.Random, level: int) -> tuple[str, str]:
    """(problem, one answer)."""
    count, hard = LEVELS[level]
    further = 1 + count // 4
    places = rng.sample(LABELS, count + further)
    chosen = dict(zip(places, steps(rng, count, hard) + steps(rng, further, 0), strict=True))
    arrows = dict(zip(places[:-1], places[1:], strict=True))
    walk = Walk(rng.randint(2, 99), places[0], arrows, chosen, places[count - 1])
    arrow_list = _shuffled(rng, [f"{place}>{target}" for place, target in arrows.items()])
    step_list = _shuffled(rng, [f"{place}{sign}{number}" for place, (sign, number) in chosen.items()])
    text = f"Modulo 100, {walk.number} at {walk.start}: {arrow_list}; {step_list}. What is it after {walk.goal}?"
    return text, str(walk.hops[-1][2])


def _shuffled(rng: random.Random, entries: list[str]) -> str:
    rng.shuffle(entries)
    return ",".join(entries)


def parse(problem: str) -> Walk:
    head, _, listed = problem.partition(": ")
    number, _, start = head.removeprefix("Modulo 100, ").split()
    arrows = dict(re.findall(r"([A-Z])>([A-Z])", listed))
    found = {place: (sign, int(right)) for place, sign, right in re.findall(r"([A-Z])([+*])(\d+)", listed)}
    return Walk(int(number), start, arrows, found, problem[-2])


def key(problem: str) -> str:
    """What makes a problem the same as another: its arrows and steps in any order."""
    walk = parse(problem)
    return f"{walk.number} {walk.start} {sorted(walk.arrows.items())} {sorted(walk.steps.items())} {walk.goal}"


def score(answer: str, problem: str) -> bool:
    """True if the answer is the number after the goal; a leading zero is allowed, because it has two digits."""
    return re.fullmatch(r"[0-9]{1,2}", answer.strip()) is not None and int(answer) == parse(problem).hops[-1][2]


def trace(problem: str, rng: random.Random, habits: Habits) -> list[Piece]:
    walk = parse(problem)
    hops = walk.hops
    thought = Thought(rng, habits)
    bad = rng.randrange(len(hops)) if rng.random() < habits.mistaken else None
    for index, place in enumerate(walk.path):
        if index == bad:
            thought.wrong_step(*hops[index])
        thought.step(*hops[index])
        onward = "?" if place == walk.goal else f">{walk.arrows[place]}"
        thought.write(f" {place}")
        thought.write(onward, RESULT_WEIGHT)
        thought.end_line(onward, _ONWARD)
    return thought.closed(str(hops[-1][2]))
