"""Scorers of a data set of one's own, well-behaved and not."""

from __future__ import annotations

import sys
import time


def factor(answer, row):
    """Any non-trivial divisor of the row's number."""
    try:
        value = int(answer)
    except ValueError:
        return 0.0
    return 1 < value < row["number"] and row["number"] % value == 0


def share(answer, row):
    """The share of the row's words that the answer has."""
    return sum(word in answer.split() for word in row["words"]) / len(row["words"])


def hostile(answer, row):
    """What goes wrong is the answer."""
    if answer == "hang":
        time.sleep(1000)
    if answer == "spin":
        while True:
            pass
    if answer == "exit":
        sys.exit(0)
    if answer == "memory":
        return len(bytearray(1 << 40))
    return {"raise": lambda: 1 / 0, "nan": lambda: float("nan"), "none": lambda: None, "text": lambda: "correct"}.get(
        answer, lambda: answer == "fine"
    )()


not_a_function = 3
