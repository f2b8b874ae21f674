"""Search: which of these numbers solves an equation modulo 100? Its place in the list decides the length.

"Modulo 100, which of A12,B47,C33,D8 solves x*7 = 31?" has the answer 33. A test of a number is a line such as
`B47*7 = 29, 31, no`, and the last one is `C33*7 = 31, 31, yes, 33`. Where the equation has one step, most numbers can be
rejected by the last digits alone, `B47 9, 1, no`, which is shorter and easier. A level is an amount of numbers, and the numbers
of all and of hard steps of the equation.
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

LEVELS = {1: (2, 1, 0), 2: (5, 1, 0), 3: (6, 2, 0), 4: (14, 1, 1), 5: (6, 4, 4)}
"""Level -> (numbers, steps of the equation, hard ones of them)."""
MOST_LOOKS = 10.0
"""The most redundant looks per rejected number that a trace has on average."""
BACKWARD = 0.3
"""Share of the traces that begin with the last number."""

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
    missed = rng.random() < habits.mistaken
    for index in order:
        if index == solution and not missed:
            write_test(thought, LABELS[index], numbers[index], chain, target)
            break
        if index == solution:
            _write_missed(thought, LABELS[index], numbers[index], chain, target)
        else:
            write_test(thought, LABELS[index], numbers[index], chain, target)
            thought.end_line("no", ("yes",))
    else:
        thought.write(f"guess {LABELS[solution]}{numbers[solution]}\n")
    return thought.closed(str(numbers[solution]))


def write_test(
    thought: Thought, label: str, number: int, chain: list[Step], target: int, target_weight: float = 1.0
) -> None:
    """The test of a number, in full or by the last digits first, if the habit is to look at them. A rejection is left open.

    target_weight: loss weight of the target; 0 where no prompt states it.
    """
    result = value(number, chain)
    if len(chain) == 1 and thought.rng.random() < thought.habits.short_test:
        thought.write(label, CHOICE_WEIGHT)
        thought.write(f"{number} ")
        thought.result(result % 10)
        same = (result - target) % 10 == 0
        _write_verdict(thought, target % 10, "ok" if same else "no", target_weight)
        if not same:
            return
        thought.write("\n")
    thought.write(label, CHOICE_WEIGHT)
    thought.chain(number, chain)
    _write_verdict(thought, target, "yes" if result == target else "no", target_weight)
    if result == target:
        thought.write(f", {number}\n")


def _write_missed(thought: Thought, label: str, number: int, chain: list[Step], target: int) -> None:
    """The test of the number that fits, with an incorrect last result."""
    *first, (sign, right) = chain
    thought.write(label, CHOICE_WEIGHT)
    total = thought.chain(number, first)
    thought.write(f"{sign}{right} = " if first else f"{total}{sign}{right} = ")
    thought.result((target + thought.rng.randint(1, MODULUS - 1)) % MODULUS, correct=False)
    _write_verdict(thought, target, "no", 1.0)
    thought.write("\n")


def _write_verdict(thought: Thought, target: int, word: str, target_weight: float) -> None:
    thought.write(", ")
    thought.write(str(target), target_weight)
    thought.write(", ")
    thought.write(word, RESULT_WEIGHT)
