"""Search: which of these numbers have a given product modulo 100? Their place in the list decides the length.

"Modulo 100, which two of 12, 47, 33, 8 multiply to 96?" has the answer "12, 8". Most choices can be rejected by their last
digits alone; a trace does so for some of them, and calculates the product of the others. A level is an amount of numbers, the
largest of them, and how many are chosen.
"""

from __future__ import annotations

import random
import re
from functools import reduce
from itertools import combinations

from tersely.testbed.families.writing import MODULUS, Habits, Piece, Thought, applied

LEVELS = {1: (3, 25, 2), 2: (4, 25, 2), 3: (5, 99, 2), 4: (7, 99, 2), 5: (5, 99, 3)}
"""Level -> (numbers, the largest, numbers chosen)."""
MOST_LINES = 2.5
ACTS = {"repeat": 3.0, "swap": 3.0, "back": 2.0, "start": 0.4, "numbers": 0.6}
BACKWARD = 0.35
SECOND_PASS = 0.5
WORDS = {2: "two", 3: "three"}

Choice = tuple[int, ...]


def draw(rng: random.Random, level: int) -> tuple[str, str]:
    """(problem, one answer)."""
    count, largest, size = LEVELS[level]
    numbers = rng.sample([n for n in range(2, largest + 1) if n % 10], count)
    chosen = rng.choice(list(combinations(numbers, size)))
    listed = ", ".join(map(str, numbers))
    return f"Modulo 100, which {WORDS[size]} of {listed} multiply to {product(chosen)}?", ", ".join(map(str, chosen))


def parse(problem: str) -> tuple[list[int], int, int]:
    """(numbers, target, how many are chosen)."""
    *numbers, target = map(int, re.findall(r"\d+", problem.partition(" of ")[2]))
    return numbers, target, next(size for size, word in WORDS.items() if f"which {word} of" in problem)


def product(choice: Choice) -> int:
    return reduce(lambda left, right: applied(left, "*", right), choice)


def key(problem: str) -> str:
    """What makes a problem the same as another: its numbers in any order, the target, and how many are chosen."""
    numbers, target, size = parse(problem)
    return f"{sorted(numbers)} {target} {size}"


def score(answer: str, problem: str) -> bool:
    """True for distinct numbers of the list whose product is the target; "12, 8", "8 and 12" and "12 * 8" are read."""
    parts = re.split(r" ?, ?| and | ?\* ?| ", answer.strip().strip("()"))
    numbers, target, size = parse(problem)
    if len(parts) != size or not all(re.fullmatch(r"[0-9]{1,2}", part) for part in parts):
        return False
    choice = tuple(map(int, parts))
    return len({*choice}) == size and {*choice} <= {*numbers} and product(choice) == target


def trace(problem: str, rng: random.Random, habits: Habits) -> list[Piece]:
    numbers, target, size = parse(problem)
    choices = list(combinations(numbers, size))
    if rng.random() < BACKWARD:
        choices.reverse()
    thought = Thought(rng, habits)
    if rng.random() < habits.restate:
        _numbers(thought, numbers, target)
    found = _search(thought, numbers, choices, target, missed=rng.random() < habits.mistaken / 2)
    if found is None and rng.random() < SECOND_PASS:
        thought.write("once more\n")
        found = _search(thought, numbers, choices, target, missed=False)
    if found is None:
        found = next(choice for choice in choices if product(choice) == target)
        thought.write(f"guess {_named(found)}\n")
    elif rng.random() < habits.restate:
        _full(thought, found, target)
    return thought.closed(", ".join(map(str, found)))


def _search(thought: Thought, numbers: list[int], choices: list[Choice], target: int, missed: bool) -> Choice | None:
    """Test the choices in order; returns the first that fits, or None if that one was missed."""
    for index, choice in enumerate(choices):
        fits = product(choice) == target
        if fits and not missed:
            _full(thought, choice, target)
            return choice
        if fits:
            _missed(thought, choice, target)
        else:
            _reject(thought, choice, target)
        while thought.goes_on():
            thought.mark()
            _redundant(thought, numbers, choices, target, index)
    return None


def _redundant(thought: Thought, numbers: list[int], choices: list[Choice], target: int, index: int) -> None:
    """Another look at what is rejected already; never at a choice that fits and was missed."""
    act = thought.act(ACTS)
    first = 0 if act == "start" and 0 < index < 5 else max(index - (act == "back"), 0)
    again = [choice for choice in choices[first : index + 1] if product(choice) != target]
    if act == "numbers" or not again:
        _numbers(thought, numbers, target)
    elif act == "swap":
        _full(thought, again[-1][::-1], target)
    else:
        if first < index - 1:
            thought.write("from the start\n")
        for choice in again:
            _reject(thought, choice, target)


def _reject(thought: Thought, choice: Choice, target: int) -> None:
    """By the last digits where they decide and the habit is to look at them, else by the product."""
    seen = (product(choice) - target) % 10 != 0
    if seen and thought.rng.random() < thought.habits.short_test:
        thought.write(f"{_named(choice)}, no\n")
    else:
        _full(thought, choice, target)


def _named(choice: Choice) -> str:
    return " and ".join(map(str, choice))


def _full(thought: Thought, choice: Choice, target: int) -> None:
    _products(thought, choice)
    thought.write(", yes\n" if product(choice) == target else ", no\n")


def _products(thought: Thought, choice: Choice) -> None:
    """`12 * 47 = 64, 64 * 33 = 12`."""
    total = choice[0]
    for index, number in enumerate(choice[1:]):
        if index:
            thought.write(", ")
        thought.equation(total, "*", number)
        total = applied(total, "*", number)


def _missed(thought: Thought, choice: Choice, target: int) -> None:
    """The choice that fits, with an incorrect product."""
    if choice[2:]:
        _products(thought, choice[:-1])
        thought.write(", ")
    thought.write(f"{product(choice[:-1])} * {choice[-1]} = ")
    thought.result((target + thought.rng.randint(1, MODULUS - 1)) % MODULUS, correct=False)
    thought.write(", no\n")


def _numbers(thought: Thought, numbers: list[int], target: int) -> None:
    thought.write("left " + ", ".join(map(str, numbers)) + f" = {target}\n")
