r"""Conditions after a formula: "2^n for n \ge 1", "x + 1, x \ne 1", "2^n (n \in \mathbb{N}^*)"."""

from __future__ import annotations

import re

from tersely.rewards.verify.extract.split import split_relation, split_top, strip_label
from tersely.rewards.verify.normalize.latex import squeeze

_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_NAME = r"(?P<name>[A-Za-z])"
_NUMBER = r"[-+]?[\w./\\{}]{1,20}"
_SIGN = r"(?:\\(?:le|ge|ne)(?![A-Za-z])|<=|>=|!=|<|>)"
_TAIL = re.compile(
    r"(?P<head>.+?)\s*(?P<mark>[,;(]\s*\(?|(?<=\s)(?=\\forall)|(?<=\s)(?=(?:for|where|when|whenever|with)\s))\s*"
    r"(?:(?:for|where|when|whenever|with|and)\s+)?(?:(?:all|any|every|each)\s+|\\forall\s*)?"
    r"(?:(?:real|positive|natural|whole|integers?|numbers?|values?|of|integral)\s+)*"
    rf"(?P<condition>{_NAME}\s*{_SIGN}\s*{_NUMBER}|{_NUMBER}\s*(?:\\le(?![A-Za-z])|<)\s*(?P<between>[A-Za-z])\s*"
    rf"(?:\\le(?![A-Za-z])|<)\s*{_NUMBER}|(?P<member>[A-Za-z])\s*\\in\s*[^,;=<>]{{1,40}}"
    r"|(?P<counted>[A-Za-z])\s*=\s*\d+\s*,\s*\d+\s*,\s*(?:\d+\s*,\s*)*\\ldots)\s*\)?",
    re.DOTALL,
)
_RELATION = re.compile(r"[<>]|\\(?:le|ge|ne|in|cup|cap)(?![A-Za-z])")
_COUNTED = re.compile(
    r"\\mathbb\s*\{?\s*(?:N|Z\s*\}?\s*_?\^?\s*\{?\s*\+)|\\ldots|\\ge\s*[01]$|>\s*0$|^[A-Za-z]\s*\\in\s*N$"
)
_LIMIT = 300


def split_domain(text: str) -> tuple[str, str]:
    r"""(formula, condition), such as ("2^n", "n \ge 1"); (text, "") if no condition follows a single formula.

    The formula must contain the letter of the condition and must not be a relation: "x > 3, x \ne 5" is a set.
    """
    if "\\" not in text and "<" not in text and ">" not in text:
        return text, ""  # a cheap test that decides most cases
    if len(text) > _LIMIT or not (_RELATION.search(text) or "ldots" in text):
        return text, ""
    plain = " ".join(_TEXT.sub(r" \1 ", text).split())
    found = _TAIL.fullmatch(plain)
    if found is None:
        return text, ""
    head = found.group("head").rstrip(" ,;(")
    name = next(filter(None, map(found.group, ("name", "between", "member", "counted"))))
    label, value = strip_label(head)
    letter = re.compile(rf"(?<![A-Za-z\\]){name}(?![A-Za-z])")
    whole = (
        split_top(head) == [head] and not _RELATION.search(head) and ("=" not in head or (label and "=" not in value))
    )
    if not whole or not letter.search(re.sub(r"\\[A-Za-z]+", " ", head)) or head.count("(") != head.count(")"):
        return text, ""
    return head, found.group("condition").strip()


def same_domain(gold: str, answer: str) -> bool:
    """Whether two conditions are equal, or one is missing. "n \\ge 1" and natural numbers agree."""
    if not gold or not answer or squeeze(gold) == squeeze(answer):
        return True
    counted = [bool(_COUNTED.search(condition)) for condition in (gold, answer)]
    if any(counted):
        return all(counted)
    return split_relation(gold) is not None and split_relation(gold) == split_relation(answer)
