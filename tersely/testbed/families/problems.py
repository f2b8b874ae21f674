"""The problems of the families: five levels each, reproducible, and endless except at the easiest levels.

Item = f(split, seed, index, level, family): a problem never depends on earlier problems. The splits are disjoint by
construction: a hash of the problem decides its split, and the hash ignores orders that do not matter.
Every number of a problem, of its solution and of its answer is 0..99.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from tersely.core.errors import require_choice
from tersely.core.seeds import stable_id
from tersely.testbed.families import FAMILIES, LEVELS

SPLITS = ("train", "validation", "test")
PATIENCE = 100
"""Number of consecutive repeats after which a split counts as exhausted."""
_SHARES = {"test": range(10), "validation": range(10, 20), "train": range(20, 100)}

Cell = tuple[int, str]
"""(level, family)."""


def split_of(family: str, problem: str) -> str:
    """The split of a problem, by a hash of its family's key."""
    bucket = int(_id(family, problem), 16) % 100
    return next(split for split, share in _SHARES.items() if bucket in share)


def _id(family: str, problem: str) -> str:
    return stable_id("families", family, FAMILIES[family].key(problem))


def problem_at(split: str, seed: int, index: int, level: int, family: str) -> dict[str, object]:
    """One problem: {"problem": text, "answer": one correct answer, "level": 1..5, "family": name, "id": 16 hex digits}.

    Raises ValueError for an unknown split, family or level.
    """
    require_choice("testbed.split", split, SPLITS)
    require_choice("testbed.family", family, tuple(FAMILIES))
    if level not in LEVELS:
        raise ValueError(f"testbed.level: got {level}; expected one of {', '.join(map(str, LEVELS))}")
    rng = random.Random(f"families|{split}|{seed}|{index}|{level}|{family}")
    while True:
        text, answer = FAMILIES[family].draw(rng, level)
        if split_of(family, text) == split:
            return {"problem": text, "answer": answer, "level": level, "family": family, "id": _id(family, text)}


def cells(levels: Sequence[int] | None = None, families: Sequence[str] | None = None) -> list[Cell]:
    """All (level, family) in the order in which problems alternate; default: all levels and families.

    Raises ValueError for an unknown or missing level or family.
    """
    levels = LEVELS if levels is None else levels
    families = tuple(FAMILIES) if families is None else families
    for name, given, known in (("levels", levels, LEVELS), ("families", families, FAMILIES)):
        if not given or not {*given} <= {*known}:
            raise ValueError(f"testbed.{name}: got {list(given)}; expected a list of {', '.join(map(str, known))}")
    return [(level, family) for level in levels for family in families]


def problems(
    split: str,
    count: int,
    seed: int = 0,
    levels: Sequence[int] | None = None,
    families: Sequence[str] | None = None,
) -> list[dict[str, object]]:
    """`count` distinct problems of a split, alternating families and levels.

    Raises ValueError if the split has fewer distinct problems of these levels and families.
    """
    order = cells(levels, families)
    found: list[dict[str, object]] = []
    seen: set[object] = set()
    repeats = 0
    for index in itertools.count():
        if len(found) == count or repeats > PATIENCE:
            break
        item = problem_at(split, seed, index, *order[len(found) % len(order)])
        repeats = repeats + 1 if item["id"] in seen else 0
        if not repeats:
            seen.add(item["id"])
            found.append(item)
    if len(found) < count:
        raise ValueError(f"testbed: got {len(found)} distinct problems of split {split!r}, {order}; expected {count}")
    return found
