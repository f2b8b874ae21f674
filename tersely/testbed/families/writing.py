"""Writes thoughts with redundancy: the parts that the families' cold-start traces share.

A line is one step of a solution. It begins with the label of its step, which is what the writer chooses; the rest follows from
it, which a tiny model learns much faster than lines that begin with one of several possible numbers.

A redundant look repeats the last word of its line behind a `;`: `A+8 47 = 55;55;wait, 55`. So the separator decides what
follows, a look costs two or three tokens, and no later step depends on it. A trace has habits (`Habits`), sampled once per
trace and independent of the problem and its level: how many looks follow a line, how often a marker word stands before one,
how often a shorter test replaces a full one. So one problem has short and long traces, and little of the redundancy is marked
by a word or comes after the answer.

In a share of the traces a result is incorrect, and what follows notices and fixes it. In a share of the looks the word is
another one, and nothing follows from it. `Piece.weight` marks both, so that a loss can leave them out.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MODULUS = 100
_FACTORS = [n for n in range(12, 99) if n % 2 and n % 5]
HARD_FACTORS = tuple(random.Random(0).sample(_FACTORS, len(_FACTORS)))
"""The two-digit factors of hard steps: the known ones, from common to rare, and the unknown ones."""
UNKNOWN_FACTORS = HARD_FACTORS[-6:]
"""Factors that the cold start never multiplies by: no amount of thinking helps with them."""
UNKNOWN_SHARE = 0.1
"""Share of unknown factors among those of hard steps."""
_KNOWN = [rank**-0.5 for rank in range(1, len(HARD_FACTORS) - len(UNKNOWN_FACTORS) + 1)]
FACTOR_SHARES = (
    *((1 - UNKNOWN_SHARE) * share / sum(_KNOWN) for share in _KNOWN),
    *(UNKNOWN_SHARE / len(UNKNOWN_FACTORS) for _ in UNKNOWN_FACTORS),
)
RESULT_WEIGHT, CHOICE_WEIGHT = 3.0, 0.3
"""Weights in the loss of a computed token, and of a token that no reader could foresee: which number is tested. Other: 1."""
LABELS = string.ascii_uppercase
SENTENCES = (
    "Modulo 100, from : ",
    "Modulo 100, which of solves = ?",
    "Modulo 100, at : ; What is it after ?",
    "guess \nno, \nyes\n, ok\nwait, check again so hmm, ",
    "</think>\n\\boxed{}",
)
"""All words of the problems and of the traces."""
MARKERS = ("wait, ", "check ", "again ", "so ", "hmm, ")
SLIPS = 0.1
"""Share of the redundant looks with another word than the right one."""


class Piece(NamedTuple):
    """A piece of text and the loss weight of its tokens: 0 for a mistake."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Habits:
    """Habits of one trace; probabilities."""

    again: float = 0.0
    """That another redundant look follows."""
    marked: float = 0.0
    """That a redundant look begins with a marker word."""
    mistaken: float = 0.0
    """That the trace contains a mistake and its correction."""
    short_test: float = 1.0
    """That a number is tested by its last digits first where that is possible."""


PLAIN = 0.1
"""Share of the traces without a redundant look: the shortest of a few samples is about as short as a solution can be."""


def draw_habits(rng: random.Random, most_looks: float, mistaken: float = 0.0) -> Habits:
    """Sample the habits of one trace: no looks, or 0.3 to `most_looks` per line on average, uniformly."""
    looks = 0.0 if rng.random() < PLAIN else rng.uniform(0.3, most_looks)
    return Habits(
        again=looks / (1 + looks),
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

    def wrong_step(self, left: int, rule: str, result: int) -> None:
        """The same with an incorrect result, and the start of its correction."""
        self.write(f"{rule} {left} = ")
        self.result((result + self.rng.choice((-10, -1, 1, 10, self.rng.randint(1, 99)))) % MODULUS, correct=False)
        self.write(";no, ")

    def chain(self, left: int, steps: Sequence[tuple[str, int]]) -> int:
        """`12+5 = 17*3 = 51`; returns the last result. Without steps nothing is written."""
        for index, (sign, right) in enumerate(steps):
            self.write(f"{sign}{right} = " if index else f"{left}{sign}{right} = ")
            left = applied(left, sign, right)
            self.result(left)
        return left

    def end_line(self, word: str, others: Sequence[str]) -> None:
        """Redundant looks at the line, and its end. `word`: its last word; `others`: what a slip writes in its place."""
        while self.rng.random() < self.habits.again:
            self.write(";")
            if self.rng.random() < self.habits.marked:
                self.write(self.rng.choice(MARKERS), CHOICE_WEIGHT)
            if self.rng.random() < SLIPS:
                self.write(self.rng.choice(others), 0.0)
            else:
                self.write(word)
        self.write("\n")

    def closed(self, answer: str) -> list[Piece]:
        """The pieces of the whole completion, without the end token."""
        return [*self.pieces, Piece("</think>\n\\boxed{"), Piece(answer), Piece("}")]


NUMBERS = tuple(str(number) for number in range(MODULUS))


def applied(left: int, sign: str, right: int) -> int:
    """left + right or left * right, modulo 100."""
    return (left + right if sign == "+" else left * right) % MODULUS


def easy_step(rng: random.Random) -> tuple[str, int]:
    """A step that a tiny model can do almost without error: + 1..9, * 2 or * 3."""
    return ("+", rng.randint(1, 9)) if rng.random() < 0.75 else ("*", rng.choice((2, 3)))


def hard_step(rng: random.Random) -> tuple[str, int]:
    """A product with a two-digit factor: one of thousands of facts, which the model knows or does not know by the factor."""
    return "*", rng.choices(HARD_FACTORS, FACTOR_SHARES)[0]


def steps(rng: random.Random, count: int, hard: int) -> list[tuple[str, int]]:
    """`count` steps, `hard` of them hard ones, in random order."""
    found = [hard_step(rng) for _ in range(hard)] + [easy_step(rng) for _ in range(count - hard)]
    rng.shuffle(found)
    return found


def is_known(text: str) -> bool:
    """True if no step in the text has an unknown factor."""
    return not any(int(factor) in UNKNOWN_FACTORS for factor in re.findall(r"\*(\d+)", text))


def step_tokens() -> list[str]:
    """The steps, the targets of arrows and the sign of a result: a token each, so that a step follows its label."""
    added = [f"+{number}" for number in range(1, 10)]
    factors = [f"*{number}" for number in (2, 3, *HARD_FACTORS)]
    return [*added, *factors, *(f">{label}" for label in LABELS), " = "]
