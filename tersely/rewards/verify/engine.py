"""math-verify inside a worker: both sides boxed, and its verdict held against the policy."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from tersely.rewards.verify.fast import decide_fast, prepare
from tersely.rewards.verify.policy import Policy


class Engine:
    """Decides what the fast path could not. Only ever lives in a process that may be killed."""

    def __init__(self, policy: Policy | dict | None = None):
        self.policy = Policy.of(policy)
        logging.getLogger("math_verify").setLevel(logging.CRITICAL)

    def compare(self, gold: str, answer: str) -> tuple[str, str]:
        """(status, path)."""
        fast = decide_fast(gold, answer, self.policy)
        if fast is not None:
            return ("right" if fast[0] else "wrong"), fast[1]
        right = math_verify_says(prepare(gold)[0], prepare(answer)[0])
        return ("right" if right else "wrong"), "engine"


def math_verify_says(gold: str, answer: str) -> bool:
    """math-verify's verdict, in this order: it is not symmetric."""
    from math_verify import verify

    golds, answers = parsed(gold), parsed(answer)
    if not golds or not answers:
        return False
    return bool(verify(list(golds), list(answers), timeout_seconds=None))


@lru_cache(maxsize=512)
def parsed(text: str) -> tuple[Any, ...]:
    """math-verify's reading of one boxed answer."""
    from math_verify import LatexExtractionConfig, parse

    boxed = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]
    return tuple(parse(f"\\boxed{{{text}}}", boxed, extraction_mode="first_match", parsing_timeout=None))


_WARM = (
    (r"\frac{1}{2}+\sqrt{3}", r"x^2+2x+1"),
    (r"(1,2)", r"\{1,2\}"),
    (r"[0,1) \cup (2,\infty)", r"x \le 3"),
    (r"x=\frac{\pi}{6}", r"\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}"),
    (r"2\sin(x)\cos(x)", r"\sin(2x)"),
    (r"1 \pm \sqrt{19}", r"\log_2 8 + e^{x}"),
)


def warm_up(engine: Engine) -> None:
    """Fill the parser's tables once, before the workers are forked: they are the slow part of the first parses."""
    for gold, answer in _WARM:
        engine.compare(gold, answer)
