"""Three families of procedural problems whose solutions need thinking, each with levels, a scorer and written traces.

calculation   the length of a solution is known from the problem
search        it is decided by where the solution stands, and a cheap test can save steps
tracking      it is the number of hops, and none can be skipped
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from tersely.testbed.families import calculation, search, tracking

FAMILIES: dict[str, ModuleType] = {"calculation": calculation, "search": search, "tracking": tracking}
LEVELS = (1, 2, 3, 4, 5)
"""The levels that every family has."""
CAP = 448
"""Maximum new tokens of a completion, in the training of a base model and in its measurements."""


def score(answer: str, row: Mapping[str, Any]) -> bool:
    """Scorer of the data set `families`: the answer's text, by the rules of the row's family."""
    return bool(FAMILIES[row["family"]].score(answer, row["problem"]))
