"""What a cold start is made of: a right attempt, and the spans of text that an example trains on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Count = Callable[[str], int]


class Span(NamedTuple):
    text: str
    weight: float = 1.0
    """0 keeps the span out of the loss; another weight multiplies its tokens' loss."""
    exempt: bool = False
    """A loss that weighs tokens by their probability (`talr`) leaves these at weight 1."""


class Attempt(NamedTuple):
    """A right, whole rollout."""

    turn: str
    """What the template opened, and the completion."""
    text: str
    length: int
    """Sampled tokens, the end token counted."""


class Example(NamedTuple):
    kind: str
    spans: list[Span]
