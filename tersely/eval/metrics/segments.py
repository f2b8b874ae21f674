"""Splits the thinking of a completion into segments and names their kinds, with the words of SEAL (arXiv 2504.07986).

A segment is a stretch of text between two borders: empty lines, or line breaks where the thinking has no empty line. Blank
stretches are no segments. A text that never ends its thinking is all thinking.
Degenerate: empty text -> no segment; no line break -> one segment.
"""

from __future__ import annotations

from tersely.core.parse_completion import END_OF_THINKING

TRANSITION = ("alternatively", "think differently", *(
    f"another {word}" for word in ("way", "approach", "method", "solution", "strategy", "technique")
))  # fmt: skip
REFLECTION = (
    "wait", "verify", "make sure", "hold on", "think again", "'s correct", "'s incorrect", "let me check", "seems right",
)  # fmt: skip


def segments(text: str, border: str | None = None) -> list[tuple[int, str]]:
    """(first character, segment) of the thinking. border None: an empty line if the thinking has one, else a line break."""
    thinking = text.partition(END_OF_THINKING)[0]
    border = border or ("\n\n" if "\n\n" in thinking else "\n")
    found, start = [], 0
    for piece in thinking.split(border):
        if piece and not piece.isspace():
            found.append((start, piece))
        start += len(piece) + len(border)
    return found


def kind_of(segment: str) -> str:
    """Kind of a segment by its words: transition, reflection or execution."""
    text = segment.lower()
    for kind, words in (("transition", TRANSITION), ("reflection", REFLECTION)):
        for word in words:  # a plain loop: `any` costs twice as much
            if word in text:
                return kind
    return "execution"
