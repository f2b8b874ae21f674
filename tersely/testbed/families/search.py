"""Search: which of these numbers solves an equation modulo 100? Its place in the list decides the length.

"Modulo 100, which of A12,B47,C33,D8 solves x*7 = 31?" has the answer 33. A test of a number is a line such as
`B47*7 = 29, 31, no`. Where the equation has one step, most numbers can be rejected by the last digits alone, `B 9, 1, no`,
which is shorter and easier. A level is an amount of numbers, and the numbers of all and of hard steps of the equation.
"""

from __future__ import annotations

import random
import re
from functools import reduce

from tersely.testbed.families.writing import (
    CHOICE_WEIGHT,
    LABELS,
    MODULUS,
    RESULT_WEIGHT,
    Habits,
    Piece,
    Thought,
    applied,
    steps,
)

LEVELS = {1: (2, 1, 0), 2: (5, 1, 0), 3: (6, 2, 0), 4: (14, 1, 1), 5: (7, 2, 2)}
"""Level -> (numbers, steps of the equation, hard ones of them)."""
MOST_LINES = 3.0
ACTS = {"repeat": 3.0, "back": 3.0, "start": 1.0}
BACKWARD = 0.3
SECOND_PASS = 0.6

Step = tuple[str, int]


def draw(rng: random.Random, level: int) -> tuple[str, str]:
    """(problem, answer)."""
    count, size, hard = LEVELS[level]
    while True:
        chain = steps(rng, size, hard)
        numbers = rng.sample(range(2, MODULUS), count)
        chosen = rng.choice(numbers)
        target = value(chosen, chain)
        if sum(value(number, chain) == target for number in numbers) == 1:
            break
    listed = ",".join(f"{label}{number}" for label, number in zip(LABELS, numbers, strict=False))
    wanted = "".join(f"{sign}{number}" for sign, number in chain)
    return f"Modulo 100, which of {listed} solves x{wanted} = {target}?", str(chosen)


def parse(problem: str) -> tuple[list[int], list[Step], int]:
    """(numbers, steps of the equation, target)."""
    listed, _, equation = problem.partition(" solves ")
    numbers = [int(number) for number in re.findall(r"[A-Z](\d+)", listed)]
    chain = [(sign, int(number)) for sign, number in re.findall(r"([+*])(\d+)", equation)]
    return numbers, chain, int(equation.rpartition("= ")[2].rstrip("?"))


def value(number: int, chain: list[Step]) -> int:
    return reduce(lambda total, step: applied(total, *step), chain, number)


def key(problem: str) -> str:
    """What makes a problem the same as another: its numbers in any order, and the equation."""
    numbers, chain, target = parse(problem)
    return f"{sorted(numbers)} {chain} {target}"


def score(answer: str, problem: str) -> bool:
    """True for a number of the list that solves the equation."""
    numbers, chain, target = parse(problem)
    if not re.fullmatch(r"[0-9]{1,2}", answer.strip()):
        return False
    return int(answer) in numbers and value(int(answer), chain) == target


def trace(problem: str, rng: random.Random, habits: Habits) -> list[Piece]:
    numbers, chain, target = parse(problem)
    order = list(range(len(numbers)))
    if rng.random() < BACKWARD:
        order.reverse()
    thought = Thought(rng, habits)
    solution = next(index for index, number in enumerate(numbers) if value(number, chain) == target)
    search = _Search(thought, numbers, chain, target)
    if rng.random() < habits.mistaken:
        search.run(order, missed=solution)
        if rng.random() < SECOND_PASS:
            thought.write("once more\n")
            search.run(order)
        else:
            thought.write(f"guess {numbers[solution]}\n")
    else:
        search.run(order)
    return thought.closed(str(numbers[solution]))


class _Search:
    """Tests numbers in an order and writes what it does."""

    def __init__(self, thought: Thought, numbers: list[int], chain: list[Step], target: int):
        self.thought, self.numbers, self.chain, self.target = thought, numbers, chain, target

    def run(self, order: list[int], missed: int | None = None) -> None:
        """Test numbers until one fits; `missed`: the number whose test has an incorrect result."""
        for place, index in enumerate(order):
            if index == missed:
                self._missed(index)
            else:
                self._test(index)
                if value(self.numbers[index], self.chain) == self.target:
                    return
            while self.thought.goes_on():
                self.thought.mark()
                self._redundant(order[: place + 1], missed)

    def _redundant(self, done: list[int], missed: int | None) -> None:
        """Another look at numbers that are rejected; never at the one that was missed."""
        act = self.thought.act(ACTS)
        first = 0 if act == "start" and len(done) < 6 else max(len(done) - 1 - (act == "back"), 0)
        for index in done[first:]:
            if index != missed:
                self._test(index)

    def _test(self, index: int) -> None:
        """In full, or by the last digits first, if the habit is to look at them."""
        thought, number = self.thought, self.numbers[index]
        result = value(number, self.chain)
        if len(self.chain) == 1 and thought.rng.random() < thought.habits.short_test:
            self._label(index)
            thought.write(" ")
            thought.result(result % 10)
            same = (result - self.target) % 10 == 0
            self._verdict(self.target % 10, "ok" if same else "no")
            if not same:
                return
        self._label(index)
        thought.chain(number, self.chain)
        self._verdict(self.target, "yes" if result == self.target else "no")

    def _missed(self, index: int) -> None:
        """The number that fits, with an incorrect last result."""
        self._label(index)
        *first, (sign, number) = self.chain
        total = self.thought.chain(self.numbers[index], first)
        wrong = (self.target + self.thought.rng.randint(1, MODULUS - 1)) % MODULUS
        self.thought.write(f"{sign}{number} = " if first else f"{total}{sign}{number} = ")
        self.thought.result(wrong, correct=False)
        self._verdict(self.target, "no")

    def _verdict(self, target: int, word: str) -> None:
        self.thought.write(f", {target}, ")
        self.thought.write(word, RESULT_WEIGHT)
        self.thought.write("\n")

    def _label(self, index: int) -> None:
        self.thought.write(LABELS[index], CHOICE_WEIGHT)
