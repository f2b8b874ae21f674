"""Tracking: follow assignments through a shuffled list. The number of hops is known, and none can be skipped.

"Modulo 100: C=B*37;A = 12;B=A+5;D=C+2. What is C?" has the answer 29. A level is a number of hops and of hard ones; some
assignments follow the one that is asked for.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from tersely.testbed.families.writing import LABELS, Habits, Piece, Thought, applied, steps

LEVELS = {1: (1, 0), 2: (2, 0), 3: (4, 1), 4: (6, 1), 5: (8, 2)}
"""Level -> (hops, hard ones)."""
MOST_LINES = 4.0
ACTS = {"repeat": 5.0, "back": 3.0, "start": 0.7}


class Rule(NamedTuple):
    """An assignment: a number (`source` empty), or a step from another variable."""

    source: str
    sign: str
    number: int


def draw(rng: random.Random, level: int) -> tuple[str, str]:
    """(problem, one answer)."""
    hops, hard = LEVELS[level]
    further = 1 + hops // 4
    names = rng.sample(LABELS, hops + further + 1)
    rules = {names[0]: Rule("", "", rng.randint(2, 99))}
    for index, (sign, number) in enumerate(steps(rng, hops, hard) + steps(rng, further, 0)):
        rules[names[index + 1]] = Rule(names[index], sign, number)
    lines = list(rules.items())
    rng.shuffle(lines)
    goal = names[hops]
    text = ";".join(_text(name, rule) for name, rule in lines)
    return f"Modulo 100: {text}. What is {goal}?", str(_values(rules)[goal])


def _text(name: str, rule: Rule) -> str:
    return f"{name}={rule.source}{rule.sign}{rule.number}" if rule.source else f"{name} = {rule.number}"


def parse(problem: str) -> tuple[dict[str, Rule], str]:
    """(name -> rule in the order of the problem, the variable that is asked for)."""
    found = re.findall(r"([A-Z])(?: = |=([A-Z])([+*]))(\d+)", problem)
    return {name: Rule(source, sign, int(number)) for name, source, sign, number in found}, problem[-2]


def key(problem: str) -> str:
    """What makes a problem the same as another: its assignments in any order."""
    rules, goal = parse(problem)
    return f"{sorted(rules.items())} {goal}"


def score(answer: str, problem: str) -> bool:
    """True if the answer is the variable's value; a leading zero is allowed, because the value has two digits."""
    rules, goal = parse(problem)
    return re.fullmatch(r"[0-9]{1,2}", answer.strip()) is not None and int(answer) == _values(rules)[goal]


def trace(problem: str, rng: random.Random, habits: Habits) -> list[Piece]:
    rules, goal = parse(problem)
    values = _values(rules)
    path = [goal]
    while rules[path[-1]].source:
        path.append(rules[path[-1]].source)
    path.reverse()
    thought = Thought(rng, habits)
    bad = rng.randrange(1, len(path)) if rng.random() < habits.mistaken else None
    thought.write(_text(path[0], rules[path[0]]) + "\n")
    for index in range(1, len(path)):
        written = [_written(rules, values, name) for name in path[1 : index + 1]]
        if index == bad:
            thought.wrong_step(*written[-1])
        thought.step(*written[-1])
        while thought.goes_on():
            thought.mark()
            _redundant(thought, written)
    return thought.closed(str(values[goal]))


def _redundant(thought: Thought, done: list[tuple[int, str, int]]) -> None:
    """Another look at hops that are done; it ends with the last of them, so that the next hop is always known."""
    act = thought.act(ACTS)
    first = 0 if act == "start" and len(done) < 7 else max(len(done) - 1 - (act == "back"), 0)
    for step in done[first:]:
        thought.step(*step)


def _written(rules: dict[str, Rule], values: dict[str, int], name: str) -> tuple[int, str, int]:
    """Number that goes in, rule, and number that comes out."""
    return values[rules[name].source], _text(name, rules[name]), values[name]


def _values(rules: dict[str, Rule]) -> dict[str, int]:
    values: dict[str, int] = {}

    def value(name: str) -> int:
        if name not in values:
            source, sign, number = rules[name]
            values[name] = applied(value(source), sign, number) if source else number
        return values[name]

    for name in rules:
        value(name)
    return values
