"""Writes thoughts with redundancy: the parts that the families' cold-start traces share.

A trace has habits (`Habits`), sampled once per trace and independent of the problem and its level: how often a line that
is done is gone over again, how often a marker word stands before that, how often a shorter test replaces a full one.
So one problem has short and long traces, and little of the redundancy is marked by a word or comes after the answer.

A line begins with the label of its step. The label is what the writer chooses; the rest follows from it, which a tiny model
learns much faster than lines that begin with one of several possible numbers.

In a share of the traces a result is incorrect, and what follows notices and fixes it. `Piece.weight` marks such a result, so
that a loss can leave it out.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MODULUS = 100
_FACTORS = [n for n in range(12, 99) if n % 2 and n % 5]
HARD_FACTORS = tuple(random.Random(0).sample(_FACTORS, len(_FACTORS)))
FACTOR_SHARES = tuple(1 / rank for rank in range(1, len(HARD_FACTORS) + 1))
"""Shares of the factors: the first ones are common, and the last ones so rare that a tiny model hardly learns them."""
RESULT_WEIGHT, CHOICE_WEIGHT = 3.0, 0.3
"""Weights in the loss of a computed token, and of a token that no reader could foresee: which line comes next. Other: 1."""
LABELS = string.ascii_uppercase
SENTENCES = (
    "Modulo 100, from : ",
    "Modulo 100, which of solves = ?",
    "Modulo 100, at : ; What is it after ?",
    "once more\nguess \nno, \nyes\n, ok\nwait, check again so hmm, ",
    "</think>\n\\boxed{}",
)
"""All words of the problems and of the traces."""
STEP_ACTS = {"repeat": 5.0, "back": 3.0, "start": 0.7}
"""Weights of where another look at steps begins: at the last step, at the one before it, at the first of up to 6 steps."""
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
    """That a number is tested by its last digits first where that is possible."""


PLAIN = 0.2
"""Share of the traces without a redundant line: the shortest of a few samples is about as short as a solution can be."""


def draw_habits(rng: random.Random, most_lines: float, mistaken: float = 0.0) -> Habits:
    """Sample the habits of one trace: 1 line per needed line, or 1.3 to `most_lines` on average, uniformly."""
    lines = 1.0 if rng.random() < PLAIN else rng.uniform(1.3, most_lines)
    return Habits(
        again=1 - 1 / lines,
        marked=rng.choice((0.0, 0.2, 0.5)),
        mistaken=mistaken,
        short_test=rng.random(),
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
        self.pieces.append(Piece(str(value), RESULT_WEIGHT if correct else 0.0))

    def step(self, left: int, rule: str, result: int) -> None:
        """`B*3 55 = 65`: the step as the problem has it, the number that goes in, and the number that comes out."""
        self.write(f"{rule} {left} = ")
        self.result(result)
        self.write("\n")

    def wrong_step(self, left: int, rule: str, result: int) -> None:
        """The same with an incorrect result, and the start of its correction."""
        self.write(f"{rule} {left} = ")
        self.result((result + self.rng.choice((-10, -1, 1, 10, self.rng.randint(1, 99)))) % MODULUS, correct=False)
        self.write("\nno, ")

    def chain(self, left: int, steps: Sequence[tuple[str, int]]) -> int:
        """`12+5 = 17*3 = 51`; returns the last result. Without steps nothing is written."""
        for index, (sign, right) in enumerate(steps):
            self.write(f"{sign}{right} = " if index else f"{left}{sign}{right} = ")
            left = applied(left, sign, right)
            self.result(left)
        return left

    def mark(self) -> None:
        if self.rng.random() < self.habits.marked:
            self.write(self.rng.choice(MARKERS), CHOICE_WEIGHT)

    def goes_on(self) -> bool:
        """True if another redundant line follows."""
        return self.rng.random() < self.habits.again

    def look_again(self, done: Sequence[tuple[int, str, int]]) -> None:
        """Redundant looks at steps that are done. Each ends with the last of them, so that the next step is always known."""
        while self.goes_on():
            self.mark()
            act = self.act(STEP_ACTS)
            first = 0 if act == "start" and len(done) < 7 else max(len(done) - 1 - (act == "back"), 0)
            for step in done[first:]:
                self.step(*step)

    def act(self, weights: dict[str, float]) -> str:
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def closed(self, answer: str) -> list[Piece]:
        """The pieces of the whole completion, without the end token."""
        return [*self.pieces, Piece("</think>\n\\boxed{"), Piece(answer), Piece("}")]


def applied(left: int, sign: str, right: int) -> int:
    """left + right or left * right, modulo 100."""
    return (left + right if sign == "+" else left * right) % MODULUS


def easy_step(rng: random.Random) -> tuple[str, int]:
    """A step that a tiny model can do almost without error: + 1..9, * 2 or * 3."""
    return ("+", rng.randint(1, 9)) if rng.random() < 0.75 else ("*", rng.choice((2, 3)))


def hard_step(rng: random.Random) -> tuple[str, int]:
    """A product with a two-digit factor: one of thousands of facts; a tiny model learns those of common factors."""
    return "*", rng.choices(HARD_FACTORS, FACTOR_SHARES)[0]


def steps(rng: random.Random, count: int, hard: int) -> list[tuple[str, int]]:
    """`count` steps, `hard` of them hard ones, in random order."""
    found = [hard_step(rng) for _ in range(hard)] + [easy_step(rng) for _ in range(count - hard)]
    rng.shuffle(found)
    return found


def step_tokens() -> list[str]:
    """The steps, the targets of arrows and the sign of a result: a token each, so that a step follows its label."""
    added = [f"+{number}" for number in range(1, 10)]
    factors = [f"*{number}" for number in (2, 3, *HARD_FACTORS)]
    return [*added, *factors, *(f">{label}" for label in LABELS), " = "]
