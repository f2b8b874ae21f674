"""Checks that a reference answer can be parsed, in the same way as the verifier parses it.

A gold that does not parse makes every rollout wrong or undecided, silently; it is found before training.
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
"""What a missing or broken number becomes as text. `\\infty` is an answer, and so is `Na`."""
WRAPPED = re.compile(
    r"(\$+)(?P<a>[^$]*)\1|\\\((?P<b>.*)\\\)|\\\[(?P<c>.*)\\\]|\*+(?P<d>[^*]*)\*+|([\"'`])(?P<e>.*)\6|\((?P<g>[^()]*)\)"
    r"|\\(?:text|textbf|textit|mathrm|mathbf|operatorname|boxed|fbox)\s*\{(?P<f>.*)\}"
)
"""What may stand around a value: dollars, LaTeX's brackets and fonts, Markdown's asterisks, quotes."""


def bare(gold: str) -> str:
    """The value without what stands around it."""
    text = gold.strip()
    while found := WRAPPED.fullmatch(text):
        text = next(part for part in found.groupdict().values() if part is not None).strip()
    return text


def gold_fault(gold: str) -> str | None:
    """What is wrong with a gold, None where the verifier can use it."""
    if NO_VALUE.fullmatch(bare(gold)):
        return "it is a placeholder, or a missing or infinite number written as text, not an answer"
    return {"empty": "it is empty", "unreadable": "math-verify cannot parse it"}.get(reading(gold))


def text_only(gold: str) -> bool:
    """The verifier can only compare this gold as text: an answer that is written another way is never right.

    That is so for what it would not evaluate (a factorial of an expression, a huge power) and for what math-verify
    reads as a string.
    """
    return reading(gold) == "text"


@lru_cache(maxsize=65536)
def reading(gold: str) -> str:
    """`number` (decided without sympy), `expression`, `text`, `unreadable` or `empty`."""
    from tersely.rewards.verify.compare.cost_limits import bomb
    from tersely.rewards.verify.compare.quick import gold_text, prepare

    text = gold_text(gold)
    if not text:
        return "empty"
    tidied, number = prepare(text)
    if number is not None:
        return "number"
    if bomb(text):
        return "text"
    found = _parsed(tidied)
    if not found:
        return "unreadable"
    return "text" if all(isinstance(item, str) for item in found) else "expression"


def _parsed(text: str) -> list[object]:
    """math-verify's reading of a boxed gold, without its alarm: that resets whatever timer the process has set."""
    from math_verify import LatexExtractionConfig, parse

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it warns of every call without an alarm
    boxed = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]
    return parse(f"\\boxed{{{text}}}", boxed, parsing_timeout=None)
