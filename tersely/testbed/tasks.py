"""The testbed's problems: chains of one-digit additions and subtractions, unlimited and reproducible.

A problem of level n has n operations, "What is 47 + 8 - 9?" is level 2, and every running total stays in 0..99, so
that every number of a problem, of its solution and of its answer is one token of the testbed's tokenizer.

Item = f(split, seed, index): a problem never depends on earlier problems. The splits are disjoint by construction: a
hash of the problem decides its split, and the hash ignores the order of the terms.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tersely.core.errors import require_choice
from tersely.core.seeds import stable_id

if TYPE_CHECKING:
    pass

LEVELS = (1, 2, 3, 4, 6, 8)
SPLITS = ("train", "validation", "test")
LARGEST = 99
PATIENCE = 100
"""Number of consecutive repeats after which a split counts as exhausted."""
_SHARES = {"test": range(10), "validation": range(10, 20), "train": range(20, 100)}


def terms_of(problem: str) -> list[int]:
    """The signed terms of a problem: "What is 47 + 8 - 9?" -> [47, 8, -9]."""
    return [int(term.replace(" ", "")) for term in re.findall(r"-? ?\d+", problem)]


def split_of(problem: str) -> str:
    """The split of a problem, by a hash of its signed terms in any order."""
    bucket = int(stable_id("testbed", *map(str, sorted(terms_of(problem)))), 16) % 100
    return next(split for split, share in _SHARES.items() if bucket in share)


def problem_at(split: str, seed: int, index: int, level: int) -> dict[str, object]:
    """One problem: {"problem": "What is 47 + 8 - 9?", "answer": "46", "level": 2, "id": 16 hex digits}.

    Raises ValueError for an unknown split or a level below 1.
    """
    require_choice("testbed.split", split, SPLITS)
    if level < 1:
        raise ValueError(f"testbed.level: got {level}; expected 1 or more (the number of operations)")
    rng = random.Random(f"testbed|{split}|{seed}|{index}|{level}")
    while True:
        total = rng.randint(10, LARGEST)
        text = str(total)
        for _ in range(level):
            term = _draw_term(rng, total)
            total += term
            text += f" {'+' if term > 0 else '-'} {abs(term)}"
        text = f"What is {text}?"
        if split_of(text) == split:
            return {"problem": text, "answer": str(total), "level": level, "id": stable_id("testbed", text)}


def distinct(count: int, item_at: Callable[[int, int], dict[str, object]]) -> list[dict[str, object]]:
    """The first `count` items with distinct ids; fewer if more than PATIENCE items in a row are repeats.

    item_at(index, place): the item of an index, for this place in the list.
    """
    found: list[dict[str, object]] = []
    seen: set[object] = set()
    repeats = 0
    for index in itertools.count():
        if len(found) == count or repeats > PATIENCE:
            break
        item = item_at(index, len(found))
        repeats = repeats + 1 if item["id"] in seen else 0
        if not repeats:
            seen.add(item["id"])
            found.append(item)
    return found


def problems(split: str, count: int, seed: int = 0, levels: Sequence[int] | None = None) -> list[dict[str, object]]:
    """`count` distinct problems of a split, alternating levels (default: all of LEVELS).

    Raises ValueError for an unknown or missing level, or if the split has fewer distinct problems of these levels.
    """
    levels = tuple(levels) if levels is not None else LEVELS
    if not levels or not {*levels} <= {*LEVELS}:
        raise ValueError(f"testbed.levels: got {list(levels)}; expected a list of {', '.join(map(str, LEVELS))}")
    found = distinct(count, lambda index, place: problem_at(split, seed, index, levels[place % len(levels)]))
    if len(found) < count:
        raise ValueError(
            f"testbed: got {len(found)} distinct problems of split {split!r} and levels {levels}; expected {count}"
        )
    return found


def stream(split: str, seed: int, levels: Sequence[int] | None = None) -> Iterator[dict[str, object]]:
    """Infinite iterator over problems, alternating levels; a problem can repeat after many thousands."""
    levels = tuple(levels) if levels is not None else LEVELS
    index = 0
    while True:
        yield problem_at(split, seed, index, levels[index % len(levels)])
        index += 1


def _draw_term(rng: random.Random, total: int) -> int:
    """A signed one-digit term that keeps the running total in 0..LARGEST."""
    room = {+1: min(LARGEST - total, 9), -1: min(total, 9)}
    sign = rng.choice((+1, -1))
    if not room[sign]:
        sign = -sign
    return sign * rng.randint(1, room[sign])
