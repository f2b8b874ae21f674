"""Conclusions of comparisons as sentences, and the rules for them.

Every conclusion needs p < 0.05 after Holm's correction over all comparisons of the report:
- tokens "fewer" or "more": the paired permutation test, and the interval excludes 0. With fewer than 6 differing
  problems the permutation test cannot reach p < 0.05, so there is no conclusion.
- accuracy "better" or "worse": the paired permutation test, and the sign must not depend on undecided samples.
- accuracy "not worse by more than the margin": a non-inferiority test (eval/stats/margin.py) that counts undecided samples
  against the run. "No significant loss" alone is no evidence.
- otherwise "undecided", with the number of additional problems that would give a conclusion at this mean and spread.
With several seeds of a run, the same must hold over seeds and problems (eval/stats/seeds.py).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tersely.core.errors import ConfigError
from tersely.eval import stats

ALPHA = 0.05
MARGIN = 0.01  # one point
LEAST = 6  # differing problems: 2 / 2^6 < 0.05


def margin_of(points: float) -> float:
    """`--margin` in points -> fraction. Raises `ConfigError` outside (0, 100)."""
    if not 0 < points < 100:
        raise ConfigError(f"--margin: got {points:g}; expected points of accuracy above 0 and below 100, for example 1")
    return points / 100


def conclude(comparisons: list[dict[str, Any]], margin: float = MARGIN) -> None:
    """Set Holm-adjusted p-values, conclusions and sentences of all these comparisons.

    Needs accuracy_p, tokens_p, not_worse_p, the intervals, accuracy_change_bounds (undecided samples counted against and for
    the run) and `gaps`, the per-problem differences of accuracy, which are removed.
    """
    for kind in ("accuracy_p", "tokens_p", "not_worse_p"):
        for comparison, p in zip(comparisons, stats.holm([c[kind] for c in comparisons]), strict=True):
            comparison[f"{kind}_holm"] = float(p)
    for c in comparisons:
        gaps = c.pop("gaps")
        c["margin"], c["more_problems"], c["more_seeds"] = margin, None, False
        c["accuracy_conclusion"], c["tokens_conclusion"] = accuracy_conclusion(c), tokens_conclusion(c)
        if c["accuracy_conclusion"] == "undecided":
            c["more_problems"] = _more(gaps, margin, ALPHA / len(comparisons))
            c["more_seeds"] = c["more_problems"] == 0 and max(c.get("seeds_run", 1), c.get("seeds_base", 1)) > 1
        c["verdict"] = sentence(c)


def accuracy_conclusion(c: dict[str, Any]) -> str:
    """better | worse | not_worse | undecided | unknown."""
    change, p = c["accuracy_change"], c["accuracy_p_holm"]
    worst, best = c["accuracy_change_bounds"]
    if math.isnan(change) or c["problems"] < 2:
        return "unknown"
    if p < ALPHA and change < 0 and best < 0:
        return "worse"
    if p < ALPHA and change > 0 and worst > 0:
        return "better"
    return "not_worse" if c["not_worse_p_holm"] < ALPHA else "undecided"


def tokens_conclusion(c: dict[str, Any]) -> str:
    """fewer | more | none | too_few | unknown."""
    low, high = c["tokens_change_ci"]
    if math.isnan(low):
        return "unknown"
    if c["tokens_p_holm"] < ALPHA and (high < 0 or low > 0):
        return "fewer" if high < 0 else "more"
    return "too_few" if 0 < c["tokens_differing"] < LEAST else "none"


def _more(gaps: np.ndarray, margin: float, level: float) -> int | None:
    """Additional problems needed, rounded up to two digits; 0 if more problems alone would not help."""
    wanted = stats.problems_to_decide(gaps, margin, level)
    if wanted is None:
        return None
    more = max(0, wanted - int((~np.isnan(gaps)).sum()))
    unit = 10 ** max(0, len(str(more)) - 2)
    return -(-more // unit) * unit


def sentence(c: dict[str, Any]) -> str:
    """ "-43 % tokens [-47, -39], accuracy -0.2 pt [-0.6, +0.2], not worse by more than 1 pt (95 %)"."""
    tokens = interval_text(c["tokens_change"], c["tokens_change_ci"], " % tokens", 0)
    accuracy = interval_text(c["accuracy_change"], c["accuracy_change_ci"], " pt", 1)
    doubt = {
        "none": ", no significant change of tokens",
        "too_few": f", too few problems whose tokens differ for a conclusion (at least {LEAST})",
    }.get(c["tokens_conclusion"], "")
    return f"{tokens}, accuracy {accuracy}, {accuracy_text(c)}{doubt}"


def accuracy_text(c: dict[str, Any]) -> str:
    """Text of the conclusion on accuracy."""
    margin = f"{100 * c['margin']:g} pt"
    if c["accuracy_conclusion"] == "worse":
        return "worse" + (f", by no more than {margin} (95 %)" if c["not_worse_p_holm"] < ALPHA else "")
    if c["accuracy_conclusion"] == "undecided":
        if c["more_seeds"]:
            return "undecided: the seeds differ too much, more of them would decide"
        if c["more_problems"] is None:
            return "undecided: at this difference and spread, more problems alone would not decide"
        more = str(c["more_problems"] or "a few")  # 0: the estimate is at the threshold
        return f"undecided: {more} more problem{'s' * (more != '1')} would decide"
    alone = ", from one problem, which has no interval" if c["problems"] == 1 else ""
    return {
        "better": "better",
        "not_worse": f"not worse by more than {margin} (95 %)",
        "unknown": f"accuracy not comparable{alone}",
    }[c["accuracy_conclusion"]]


def settings_notes(c: dict[str, Any]) -> list[str]:
    """Notes on the settings of both runs; empty if they are recorded and equal."""
    notes = [f"sampled with different settings: {difference}" for difference in c["different_settings"]]
    if sides := c["settings_unrecorded"]:
        whose = "either" if len(sides) == 2 else f"the {sides[0]}"
        notes.append(f"settings not compared: they are not in the run.json of {whose}")
    return notes


def problems_text(comparison: dict[str, Any]) -> str:
    """`500 problems`, or the number of common problems out of each run's."""
    shared, in_run, base = (comparison[key] for key in ("problems", "problems_run", "problems_base"))
    return (
        f"{shared} problems"
        if shared == in_run == base
        else f"{shared} common problems, of {in_run} and the base's {base}"
    )


def ended_text(c: dict[str, Any]) -> str:
    """Note on correct answers in truncated completions, with the change if they do not count; "" without any."""
    run, base = c["not_ended"]
    if not run and not base:
        return ""
    return (
        f"{100 * (run or 0):.1f} % of the samples of {c['run']} and {100 * (base or 0):.1f} % of {c['base']} are correct but "
        f"truncated. They count here; accuracy changes by {signed(c['accuracy_ended_change'], 1)} pt if they do not"
    )


def interval_text(value: float | None, ends: list[float | None], unit: str, digits: int) -> str:
    """Fraction and interval as signed percent: `-43 % tokens [-47, -39]`."""
    if value is None or math.isnan(value):
        return f"unknown{unit}"
    low, high = (signed(end, digits) for end in ends)
    return f"{signed(value, digits)}{unit} [{low}, {high}]"


def signed(value: float | None, digits: int) -> str:
    if value is None or math.isnan(value):
        return "?"
    text = f"{100 * value:+.{digits}f}"
    return text if float(text) != 0 else "+" + text[1:]
