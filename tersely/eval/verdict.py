"""The verdict: one sentence for a comparison, and what "significant" means in it.

A loss of accuracy is significant when the 95 % interval of the paired difference lies below 0, or the paired permutation
test (Holm-adjusted over the benchmarks of the comparison) gives p < 0.05: "no significant loss" needs both to be silent.
A gain needs both to speak. So the doubtful cases count against the trained model, never for it.
One problem says nothing about others, so no verdict on accuracy rests on it alone.
"No significant loss" is not "no loss": the lower end of the interval is what the data cannot rule out.
"""

from __future__ import annotations

import math
from typing import Any

ALPHA = 0.05


def mark_significance(comparison: dict[str, Any]) -> None:
    """Sets accuracy_verdict (loss | gain | none | unknown) and tokens_verdict (fewer | more | none | unknown)."""
    low, high = comparison["accuracy_change_ci"]
    change, p = comparison["accuracy_change"], comparison["accuracy_p_holm"]
    if math.isnan(change) or comparison.get("problems") == 1:
        comparison["accuracy_verdict"] = "unknown"
    elif high < 0 or (p < ALPHA and change < 0):
        comparison["accuracy_verdict"] = "loss"
    else:
        comparison["accuracy_verdict"] = "gain" if low > 0 and p < ALPHA else "none"
    low, high = comparison["tokens_change_ci"]
    if math.isnan(low):
        comparison["tokens_verdict"] = "unknown"
    else:
        comparison["tokens_verdict"] = "fewer" if high < 0 else "more" if low > 0 else "none"


def sentence(comparison: dict[str, Any]) -> str:
    """ "-43 % tokens [-47, -39], accuracy -0.4 pt [-1.6, +0.8], no significant loss"."""
    tokens = interval_text(comparison["tokens_change"], comparison["tokens_change_ci"], " % tokens", 0)
    accuracy = interval_text(comparison["accuracy_change"], comparison["accuracy_change_ci"], " pt", 1)
    ending = {
        "loss": "a significant loss",
        "gain": "a significant gain",
        "none": "no significant loss",
        "unknown": "accuracy not comparable",
    }[comparison["accuracy_verdict"]]
    doubt = ", no significant change of tokens" if comparison["tokens_verdict"] == "none" else ""
    alone = ", from one problem, which has no interval" if comparison.get("problems") == 1 else ""
    return f"{tokens}, accuracy {accuracy}, {ending}{doubt}{alone}"


def problems_text(comparison: dict[str, Any]) -> str:
    """`500 problems`, or how many of each run's are shared."""
    shared, own, base = (comparison[key] for key in ("problems", "problems_run", "problems_base"))
    return (
        f"{shared} problems" if shared == own == base else f"{shared} problems shared, of {own} and the base's {base}"
    )


def interval_text(value: float | None, ends: list[float | None], unit: str, digits: int) -> str:
    """Fractions as signed percents: `-43 % tokens [-47, -39]`."""
    if value is None or math.isnan(value):
        return f"unknown{unit}"
    low, high = (signed(end, digits) for end in ends)
    return f"{signed(value, digits)}{unit} [{low}, {high}]"


def signed(value: float | None, digits: int) -> str:
    if value is None or math.isnan(value):
        return "?"
    text = f"{100 * value:+.{digits}f}"
    return text if float(text) != 0 else "+" + text[1:]
