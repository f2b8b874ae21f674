"""Words that deny or change a value: "not 42", "less than 42", "twice 42", "5 is wrong", "7 below zero"."""

from __future__ import annotations

import re

_PART = "half|one|two|three|four|five|six|seven|eight|nine|halves|thirds?|quarters?|fifths?|tenths?|hundredths?"
_DENIED_VALUE = (
    r"not|never|neither|nor|cannot|hardly|barely|scarcely|anything but|rather than|instead of|unlike|unequal|wrong|incorrect"
    r"|false|invalid|mistaken|impossible|ruled out|\w+n't|no longer|far from"
)
_DENIES = rf"{_DENIED_VALUE}|nothing but|other than|except|excluding|without|different (?:from|to|than)|differs?"
_BOUNDS = (
    r"less|more|fewer|greater|smaller|larger|bigger|lower|higher|under|over|above|below|between|beyond|beneath|within"
    r"|at least|at most|up to|no more|no less|exceeds?|exceeding|than|before|after|past|short of|close to|near"
)
_COMPUTES = (
    r"twice|thrice|double|doubled|triple|tripled|half of|half|times|squared?|cubed?|root|inverse|reciprocal|opposite"
    r"|multiples?|multiplied|divisible|divides|divided|divisors?|factors?|factorial|plus|minus|modulo|mod|remainder"
    r"|added|subtracted|increased|decreased|raised|to the power|choose"
)
_EXAMPLES = (
    r"such as|for example|for instance|e\.g|like|maybe|perhaps|possibly|might|could be|may be|either|if|unless|whether"
    r"|suppose|unknown|unclear"
)
_BEFORE = re.compile(
    rf"\b(?:{_DENIES})\b|\b(?:{_BOUNDS}|{_COMPUTES}|{_EXAMPLES})(?:\s+\w+){{0,2}}[\s$(:*]*$", re.IGNORECASE
)
_AFTER = re.compile(
    rf"\b(?:{_DENIES}|but|or|if|unless|guess|negated|opposite|inverse|reciprocal|factorial|doubled|tripled|plus"
    rf"|minus|modulo|mod|remainder|multiplied|divided|added|subtracted|increased|decreased|raised|to the power|choose)\b"
    rf"|\band (?:an? )?(?:{_PART})\b|\btoo (?:many|few|much|little|high|low|small|large|big)\b"
    r"|\bless than|\bmore than|\bbelow zero|^\s*(?:over|under|above|below|short|off)\b|\bpercent of the (?:answer|result)\b",
    re.IGNORECASE,
)
_DIRECTLY = re.compile(
    rf"\b(?:{_DENIED_VALUE}|such as|e\.g|either|else|otherwise|unless)\b"
    r"(?:\s+(?:a|an|the|be|is|equals?|equal|to|really|simply|just|answer|value|number|option))*[\s:,$*_(\\\[]*$",
    re.IGNORECASE,
)
_CALLED = re.compile(
    rf"\b(?:{_DENIED_VALUE})\s+(?:final\s+|possible\s+)?(?:answer|result|value|solution|option|choice)s?\b[^.\n]*$",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"[\s.,;:!$)\]}\\*_-]*(?:(?:but |and |so |which |that |this |it )*(?:is|was|would be|seems|looks)(?:\s+(?:clearly"
    r"|obviously|definitely|certainly|also|just|simply))?(?:\s+not|n't|\s+never)?\s+(?:\w+\s+)?(?:wrong|incorrect|false|correct|right|"
    r"mistaken|invalid|the answer)\b|is not\b|isn't\b)",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\bnot\b|n't\b|\bnever\b|\bwrong\b|\bincorrect\b|\bfalse\b|\bmistaken\b|\binvalid\b", re.IGNORECASE
)
_TURN = re.compile(
    r"\b(?:actually|wait|correction|mistake|sorry|oops|scratch that|on second thought|not (?:correct|right)|incorrect|wrong"
    r"|instead)\b|\bno,",
    re.IGNORECASE,
)
_HINTS = frozenset(  # one word of each alternative of `_DIRECTLY` and `_CALLED`
    re.findall(
        r"\S+",
        "not never neither nor cannot hardly barely scarcely anything rather instead unlike unequal wrong incorrect false "
        "invalid mistaken impossible ruled no far such e.g e.g. either else else, otherwise otherwise, unless isn't can't "
        "doesn't don't aren't wasn't won't couldn't wouldn't shouldn't didn't hasn't haven't weren't mustn't needn't",
    )
)
_CLAUSE_END = re.compile(r"[\n.;!?]\s")
_REACH = 120


def changed_before(words: str) -> bool:
    """Whether the words before a value deny it, bound it, compute with it, or give it as an example."""
    return bool(_BEFORE.search(words[-_REACH:]))


def changed_after(words: str) -> bool:
    """Whether the words after a value deny or change it. Units and nouns do not."""
    return bool(_AFTER.search(words[:_REACH]))


def denied_before(text: str) -> bool:
    """Whether the text that leads to a box denies its content, bounds it, or makes it one of several cases."""
    text = text[-_REACH:]
    if _HINTS.isdisjoint(text.lower().split()):
        return False  # a cheap test that decides most cases
    clause = _CLAUSE_END.split(text)[-1]
    return bool(_DIRECTLY.search(clause) or _CALLED.search(clause))


def denied_after(text: str) -> bool:
    """Whether the text directly after a box says that its content is not correct."""
    found = _TAKEN_BACK.match(text[:_REACH]) if len(text) > 4 else None
    return found is not None and bool(_DENIED.search(found.group()))


def turns(text: str) -> bool:
    """Whether a text retracts the text before it: "Actually no", "wait", "that is wrong"."""
    return bool(_TURN.search(text))
