"""Checks that a reference answer can be parsed, in the same way as by the verifier.

A reference answer that does not parse would silently make every rollout incorrect or undecided.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache

NO_VALUE = re.compile(
    r"[+-]?(nan|inf|infinity|null|none|<na>|#?n/a|n\.\s?a|#(div/0|value|ref|num|name)[!?]|(?-i:NA|NaT|TODO|TBD))\.?"
    r"|[\s?.…_–—/-]+",
    re.IGNORECASE,
)
"""Texts of a missing or broken number. `\\infty` is an answer, and so is `Na`."""
WRAPPED = re.compile(
    r"(\$+)(?P<a>[^$]*)\1|\\\((?P<b>.*)\\\)|\\\[(?P<c>.*)\\\]|\*+(?P<d>[^*]*)\*+|([\"'`])(?P<e>.*)\6|\((?P<g>[^()]*)\)"
    r"|\\(?:text|textbf|textit|mathrm|mathbf|operatorname|boxed|fbox)\s*\{(?P<f>.*)\}"
)
"""Markup around a value: dollars, LaTeX brackets and fonts, Markdown asterisks, quotes."""


def bare(gold: str) -> str:
    """The value without the markup around it."""
    text = gold.strip()
    while found := WRAPPED.fullmatch(text):
        text = next(part for part in found.groupdict().values() if part is not None).strip()
    return text


def gold_fault(gold: str) -> str | None:
    """Error text for a reference answer; None if the verifier can use it."""
    if NO_VALUE.fullmatch(bare(gold)):
        return "expected an answer, not a placeholder or a missing or infinite number written as text"
    return {"empty": "expected an answer", "unreadable": "math-verify cannot parse it"}.get(reading(gold))


def text_only(gold: str) -> bool:
    """True if the verifier can compare this reference answer only as text: a different spelling is never correct.

    This holds for expressions that it does not evaluate (a factorial of an expression, a huge power) and for what
    math-verify reads as a string.
    """
    return reading(gold) == "text"


@lru_cache(maxsize=65536)
def reading(gold: str) -> str:
    """Kind of a reference answer: `number` (decided without sympy), `expression`, `text`, `unreadable` or `empty`."""
    from tersely.rewards.verify.compare.cost_limits import exceeded_limit
    from tersely.rewards.verify.compare.quick import gold_text, prepare

    text = gold_text(gold)
    if not text:
        return "empty"
    tidied, number = prepare(text)
    if number is not None:
        return "number"
    if exceeded_limit(text):
        return "text"
    found = _parsed(tidied)
    if not found:
        return "unreadable"
    return "text" if all(isinstance(item, str) for item in found) else "expression"


def _parsed(text: str) -> list[object]:
    """math-verify's parse of a boxed reference answer, without its alarm, which would reset the process's timer."""
    from math_verify import LatexExtractionConfig, parse

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it warns on every call without an alarm
    boxed = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]
    return parse(f"\\boxed{{{text}}}", boxed, parsing_timeout=None)
