"""Whether a reference answer can be verified against at all.

A gold that does not parse makes every rollout wrong or undecided, silently; it is found here, before training.
"""

from __future__ import annotations

import re
from functools import lru_cache

_PLAIN = re.compile(r"-?(?:\d{1,15})(?:\.\d{1,15})?(?:/[1-9]\d{0,14})?")


@lru_cache(maxsize=65536)
def gold_fault(gold: str) -> str | None:
    """What is wrong with a gold, None where it parses. Integers, decimals and fractions need no parser."""
    if not gold.strip():
        return "it is empty"
    if _PLAIN.fullmatch(gold.strip()):
        return None
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    found = parse(f"\\boxed{{{gold}}}", extraction_config=[LatexExtractionConfig(), ExprExtractionConfig()])
    return None if found else "math-verify cannot parse it"
