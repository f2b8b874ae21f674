r"""Input filter of the judge: rejects answers without content before the judge sees them.

Generative judges accept text without content (One Token to Fool LLM-as-a-Judge, arXiv 2507.08794: ten "master keys").
`input_filter` is a pure function, linear in the length of the answer, and never raises on any string. It covers
known keys only: variants of them fool judges too; add those to `extra_keys`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MASTER_KEYS = (
    " ",
    ".",
    ",",
    ":",
    "Thought process:",
    "Let's solve this problem step by step.",
    "Solution",
    "解",
    "かいせつ",
    "Respuesta",
)
_WRAPPERS = re.compile(r"\\(?:boxed|fbox|textbf|text|mathrm|mathbf)(?![A-Za-z])")
_DIGIT = re.compile("[0-9]")
_ANSWER_SIGNS = frozenset("∞∅")


def fold(text: str) -> str:
    """Reduce a text to its letters and digits, in one case, and the signs ∞ and ∅, which are answers."""
    bare = _WRAPPERS.sub("", text).casefold()
    return "".join(char for char in bare if char.isalnum() or char in _ANSWER_SIGNS)


_FOLDED_KEYS = frozenset(filter(None, map(fold, MASTER_KEYS)))


def input_filter(
    answer: str | None, require_boxed: bool = False, response: str | None = None, extra_keys: Iterable[str] = ()
) -> str | None:
    """Return why a judge must not be asked about this answer; None if it may be asked.

    In this order: "empty", "no_alphanumeric" (nothing left after folding), "master_key" (the folded answer equals a
    folded key; containment would refuse "the solution is 5"), "no_box" (only with `require_boxed`).
    """
    if answer is None or not answer.strip():
        return "empty"
    if not require_boxed and not extra_keys and _DIGIT.search(answer):
        return None  # no known key holds a digit
    folded = fold(answer)
    if not folded:
        return "no_alphanumeric"
    if folded in _FOLDED_KEYS or folded in {fold(key) for key in extra_keys}:
        return "master_key"
    if require_boxed and "\\boxed{" not in (answer if response is None else response):
        return "no_box"
    return None
