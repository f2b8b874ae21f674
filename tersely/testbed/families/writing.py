"""Writes thoughts with redundancy: the parts that the families' cold-start traces share.

A trace has habits (`Habits`), sampled once per trace and independent of the problem and its level: how often a line that
is done is gone over again, how often a marker word stands before that, how often a shorter test replaces a full one.
So one problem has short and long traces, and little of the redundancy is marked by a word or comes after the answer.

In a share of the traces a result is incorrect, and what follows notices and fixes it. `Piece.weight` marks such a result, so
that a loss can leave it out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

MODULUS = 100
MARKERS = ("wait, ", "check ", "again ", "so ", "hmm, ")


class Piece(NamedTuple):
    """A piece of text and the loss weight of its tokens: 0 for a mistake."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Habits:
    """Habits of one trace; probabilities."""

    again: float = 0.0
    """That another redundant line follows a line."""
    marked: float = 0.0
    """That a redundant line begins with a marker word."""
    mistaken: float = 0.0
    """That the trace contains a mistake and its correction."""
    short_test: float = 1.0
    """That a candidate is rejected by a short test where that is possible."""
    restate: float = 0.0
    """That the thought begins by restating the problem, and ends by repeating its last line."""


def draw_habits(rng: random.Random, most_lines: float, mistaken: float = 0.0) -> Habits:
    """Sample the habits of one trace; it has 1 to `most_lines` lines per needed line on average, uniformly."""
    lines = rng.uniform(1.0, most_lines)
    return Habits(
        again=1 - 1 / lines,
        marked=rng.choice((0.0, 0.2, 0.5)),
        mistaken=mistaken,
        short_test=rng.random(),
        restate=rng.choice((0.0, 0.0, 1.0)),
    )


@dataclass
class Thought:
    """A thought that is being written."""

    rng: random.Random
    habits: Habits
    pieces: list[Piece] = field(default_factory=list)

    def write(self, text: str, weight: float = 1.0) -> None:
        self.pieces.append(Piece(text, weight))

    def result(self, value: int, *, correct: bool = True) -> None:
        self.pieces.append(Piece(str(value), 1.0 if correct else 0.0))

    def equation(self, left: int, sign: str, right: int, name: str = "") -> None:
        """`B = 12 + 5 = 17`, without the end of the line."""
        self.write(f"{name} = " * bool(name) + f"{left} {sign} {right} = ")
        self.result(applied(left, sign, right))

    def wrong_equation(self, left: int, sign: str, right: int, name: str = "") -> None:
        """The same with an incorrect result, and the start of its correction."""
        self.write(f"{name} = " * bool(name) + f"{left} {sign} {right} = ")
        value = applied(left, sign, right)
        self.result((value + self.rng.choice((-10, -1, 1, 10, self.rng.randint(1, 99)))) % MODULUS, correct=False)
        self.write("\nno, ")

    def mark(self) -> None:
        if self.rng.random() < self.habits.marked:
            self.write(self.rng.choice(MARKERS))

    def goes_on(self) -> bool:
        """True if another redundant line follows."""
        return self.rng.random() < self.habits.again

    def act(self, weights: dict[str, float]) -> str:
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def closed(self, answer: str) -> list[Piece]:
        """The pieces of the whole completion, without the end token."""
        return [*self.pieces, Piece("</think>\n\\boxed{"), Piece(answer), Piece("}")]


def applied(left: int, sign: str, right: int) -> int:
    """left + right or left * right, modulo 100."""
    return (left + right if sign == "+" else left * right) % MODULUS


def easy_step(rng: random.Random) -> tuple[str, int]:
    """A step that a tiny model can do almost without error: + 1..30, * 2 or * 3."""
    return ("+", rng.randint(1, 30)) if rng.random() < 0.75 else ("*", rng.choice((2, 3)))


def hard_step(rng: random.Random) -> tuple[str, int]:
    """A product with a two-digit factor: one of thousands of facts, of which a tiny model knows a part."""
    return "*", rng.choice([n for n in range(12, 99) if n % 10])


def steps(rng: random.Random, count: int, hard: int) -> list[tuple[str, int]]:
    """`count` steps, `hard` of them hard ones, in random order."""
    found = [hard_step(rng) for _ in range(hard)] + [easy_step(rng) for _ in range(count - hard)]
    rng.shuffle(found)
    return found
