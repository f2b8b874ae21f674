"""Tracking: follow assignments through a shuffled list. The number of hops is known, and none can be skipped.

"Modulo 100: C = B * 37; A = 12; K = A; B = A + 5. What is C?" has the answer 29. A level is a number of hops and of hard
ones; half as many assignments again lead nowhere.
"""

from __future__ import annotations

import random
import re
import string
from typing import NamedTuple

from tersely.testbed.families.writing import Habits, Piece, Thought, applied, steps

LEVELS = {1: (1, 0), 2: (2, 0), 3: (4, 1), 4: (8, 1), 5: (12, 2)}
"""Level -> (hops, hard ones)."""
MOST_LINES = 4.5
ACTS = {"repeat": 3.0, "swap": 2.0, "back": 2.0, "astray": 3.0, "rest": 2.0, "start": 0.8}
COPIED = 0.3
"""Share of the easy hops that only copy a value."""


class Rule(NamedTuple):
    """An assignment: a number (`source` empty), a copy (`sign` empty) or a step from another variable."""

    source: str
    sign: str
    number: int


def draw(rng: random.Random, level: int) -> tuple[str, str]:
    """(problem, answer)."""
    hops, hard = LEVELS[level]
    names = rng.sample(string.ascii_uppercase, hops + 1 + (hops + 1) // 2)
    rules = {names[0]: Rule("", "", rng.randint(2, 99))}
    for index, (sign, number) in enumerate(steps(rng, hops, hard)):
        rules[names[index + 1]] = _rule(rng, names[index], sign, number)
    for name in names[hops + 1 :]:
        rules[name] = _rule(rng, rng.choice(names[:hops]), *steps(rng, 1, 0)[0])
    lines = list(rules.items())
    rng.shuffle(lines)
    goal = names[hops]
    text = "; ".join(f"{name} = {_text(rule)}" for name, rule in lines)
    return f"Modulo 100: {text}. What is {goal}?", str(_values(rules)[goal])


def _rule(rng: random.Random, source: str, sign: str, number: int) -> Rule:
    easy = sign == "+" or number < 4
    return Rule(source, "", 0) if easy and rng.random() < COPIED else Rule(source, sign, number)


def _text(rule: Rule) -> str:
    if not rule.source:
        return str(rule.number)
    return f"{rule.source} {rule.sign} {rule.number}" if rule.sign else rule.source


def parse(problem: str) -> tuple[dict[str, Rule], str]:
    """(name -> rule in the order of the problem, the variable that is asked for)."""
    rules = {}
    for name, text in re.findall(r"([A-Z]) = ([^;.]+)", problem):
        source, sign, number = re.fullmatch(r"([A-Z])?(?: ([+*]) )?(\d+)?", text).groups()  # type: ignore[union-attr]
        rules[name] = Rule(source or "", sign or "", int(number or 0))
    return rules, problem[-2]


def key(problem: str) -> str:
    """What makes a problem the same as another: its assignments in any order."""
    rules, goal = parse(problem)
    return f"{sorted(rules.items())} {goal}"


def score(answer: str, problem: str) -> bool:
    """True if the answer is the variable's value; a leading zero is allowed, because the value has two digits."""
    rules, goal = parse(problem)
    return re.fullmatch(r"\d{1,2}", answer.strip()) is not None and int(answer) == _values(rules)[goal]


def trace(problem: str, rng: random.Random, habits: Habits) -> list[Piece]:
    rules, goal = parse(problem)
    values = _values(rules)
    path = [goal]
    while rules[path[-1]].source:
        path.append(rules[path[-1]].source)
    thought = Thought(rng, habits)
    thought.write("".join(path) + "\n")
    path.reverse()
    if rng.random() < habits.restate:
        thought.write("".join(path) + "\n")
    bad = rng.randrange(len(path)) if rng.random() < habits.mistaken else None
    for index, name in enumerate(path):
        rule = rules[name]
        if index == bad and rule.sign:
            thought.wrong_equation(values[rule.source], rule.sign, rule.number, name)
        _line(thought, rules, values, name)
        while thought.goes_on():
            thought.mark()
            _redundant(thought, rules, values, path, index)
    if rng.random() < habits.restate:
        _line(thought, rules, values, goal)
    return thought.closed(str(values[goal]))


def _redundant(thought: Thought, rules: dict[str, Rule], values: dict[str, int], path: list[str], index: int) -> None:
    act, rule = thought.act(ACTS), rules[path[index]]
    astray = [name for name, other in rules.items() if other.source in path[: index + 1] and name not in path]
    if act == "swap" and rule.sign:
        thought.equation(rule.number, rule.sign, values[rule.source])
        thought.write("\n")
    elif act == "astray" and astray:
        _line(thought, rules, values, thought.rng.choice(astray))
    elif act == "rest" and index + 1 < len(path):
        thought.write("left " + "".join(path[index + 1 :]) + "\n")
    elif act == "start" and 0 < index < 6:
        thought.write("from the start\n")
        for name in path[: index + 1]:
            _line(thought, rules, values, name)
    else:
        for name in path[max(index - (act == "back"), 0) : index + 1]:
            _line(thought, rules, values, name)


def _line(thought: Thought, rules: dict[str, Rule], values: dict[str, int], name: str) -> None:
    rule = rules[name]
    if rule.sign:
        thought.equation(values[rule.source], rule.sign, rule.number, name)
        thought.write("\n")
    else:
        thought.write(f"{name} = {values[name]}\n")


def _values(rules: dict[str, Rule]) -> dict[str, int]:
    values: dict[str, int] = {}

    def value(name: str) -> int:
        if name not in values:
            source, sign, number = rules[name]
            values[name] = number if not source else applied(value(source), sign, number) if sign else value(source)
        return values[name]

    for name in rules:
        value(name)
    return values
