"""The value that one plain sentence states: 12 of "Alice has 12 apples.", `\\frac14` of "The probability is $\\frac14$."."""

from __future__ import annotations

import re

from tersely.rewards.verify.extract.modifiers import changed_after, changed_before

NUMBER = re.compile(
    r"(?<![\w.\\])(?:[$€£¥₹]\s?)?[-−+]?(?:\\\$)?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+,\d{1,2}(?![\d,])|\d+(?:\.\d+)?(?:\s*/\s*\d+(?!\d|\.\d))?|\.\d+)"
    r"(?:\s*(?:\\?%|percent\b))?"
)
_FORMULA = re.compile(r"\\\((?P<a>[^$\n]+?)\\\)|(?<![\\$])\$(?P<b>(?:\\.|[^$\\\n])+?)\$(?!\$)")
_SYMBOL = re.compile(r"\s*(?:\\?[A-Za-z]+(?:_\{?\w+\}?)?|[a-z]\([a-z\d]\))\s*")
_LEAD = re.compile(r"(?:(?:so|thus|hence|therefore|then|finally|in total|altogether|in the end),?\s+)+", re.IGNORECASE)
_WORDS = re.compile(r"[A-Za-z][A-Za-z' \-]*")
_AFTER = re.compile(r"[A-Za-z' °²³/\-]*")
_LONGEST_BEFORE, _LONGEST_AFTER, _LIMIT = 12, 9, 160
_COPULA = frozenset(("is", "are", "was", "were", "equals", "be", "becomes"))
_IRREGULAR = frozenset(
    re.findall(
        r"\w+",
        "has have had make made take took get got give gave need spend spent cost pay paid sell sold buy bought ran ate left "
        "won lost wrote read drove drank found kept saw remain contain equal weigh earn sum grew built caught held met put",
    )
)
_REGULAR = re.compile(r"[a-z]{2,}(?:s|ed)")
_NO_VERBS = frozenset(
    re.findall(
        r"\w+",
        "this his its as us plus minus less times versus lacks misses skips avoids excludes differs rounds approaches tends "
        "wants hopes believes thinks guesses claims expects supposes assumes wished wanted hoped believed guessed claimed "
        "als mas menos moins dans alors "
        "expected supposed assumed estimated estimates started starts begins needed "
        "steps points parts lines pages rows",
    )
)
_FILLERS = re.compile(
    r"(?:\s+(?:a total of|exactly|precisely|only|just|now|still|also|therefore|thus|equal to|him|her|them|us|me|you"
    r"|(?:(?<=takes )|(?<=gives )|(?<=costs )|(?<=took )|(?<=cost )|(?<=gave ))[A-Z][a-z]+))+$"
)
_OTHER_SENTENCE = re.compile(
    r"(?:if|when|suppose|assume|let|does|do|did|is|are|was|were|can|could|should|would|will|has|have|how|what|which|who|where"
    r"|why|unless|whether|note|consider|maybe|perhaps|since|because|given|for|step|assuming|initially|originally)\b",
    re.IGNORECASE,
)
_WEAKENED = re.compile(
    r"\b(?:no|nobody|nothing|none|could|might|may|would|should|can|nearly|almost|about|approximately|approx|roughly|around"
    r"|initially|originally|first|started|starts|began|begins|wants|hopes|thinks|believes|guess\w*|claims|expects|if|whether"
    r"|unless|until|nor|neither|some|other|another|fewer|and|or|but|while|used to|supposed|estimated?s?"
    r"|digit|last|next|possible|impossible|likely|unlikely)\b",
    re.IGNORECASE,
)
_CHANGED = re.compile(
    r"\b(?:fewer|more|extra|additional|less|or|and|but|if|unless|while|whereas|than|though|before|until|short|times|not|never|no"
    r"|of each|apiece|(?:per|each|every|an?)\s+(?!day|week|month|year|hour|minute|second))\b",
    re.IGNORECASE,
)


def statement_value(text: str) -> str | None:
    """The number with its noun, or the formula, that a single sentence states; None for any other text.

    The sentence must be a subject, a verb, and directly after it one number, which no word denies, bounds or changes. Or
    it must end in "is" and one formula. A share ("12% of the apples") is not a statement.
    """
    text = text.strip(" \t\n*_")
    if not 5 <= len(text) <= _LIMIT or "\n" in text or text.endswith("?"):
        return None
    text = text.rstrip(".!")
    lead = _LEAD.match(text)
    if lead:
        text = text[lead.end() :]
    if _OTHER_SENTENCE.match(text):
        return None
    return _formula(text) if "\\(" in text or text.count("$") > 1 else _number(text)


def _number(text: str) -> str | None:
    numbers = list(NUMBER.finditer(text))
    if len(numbers) != 1 or re.search(r"\d", text[: numbers[0].start()] + text[numbers[0].end() :]):
        return None
    before, after = text[: numbers[0].start()].rstrip(), text[numbers[0].end() :]
    if not _asserts(before) or not _AFTER.fullmatch(after) or len(after.split()) > _LONGEST_AFTER:
        return None
    if re.match(r"[A-Za-z]", after) or _CHANGED.search(after) or changed_after(after):
        return None
    if ("%" in numbers[0].group() or "percent" in numbers[0].group()) and re.match(r"\s*of\b", after):
        return None
    sign = numbers[0].group()
    return f"\\{sign}{after}" if sign.startswith("$") else sign + after


def _formula(text: str) -> str | None:
    spans = list(_FORMULA.finditer(text))
    if not spans or not all(_SYMBOL.fullmatch(_body(span)) for span in spans[:-1]):
        return None
    value = spans[-1]
    after = text[value.end() :]
    if not re.fullmatch(r"\s*(?:%|[A-Za-z°²³/]{0,14})", after) or _CHANGED.search(after) or changed_after(after):
        return None
    before = _FORMULA.sub("X", text[: value.start()]).rstrip()
    if not _asserts(before) or before.split()[-1] not in _COPULA or re.search(r"\d", before):
        return None
    return _body(value) + (f"\\text{{ {after.strip()}}}" if after.strip(" %") else after.strip())


def _body(span: re.Match[str]) -> str:
    return next(group for group in span.groups() if group is not None)


def _asserts(before: str) -> bool:
    """Whether the words before a value are a subject and a verb that gives it the value."""
    if not _WORDS.fullmatch(before) or _WEAKENED.search(before) or changed_before(before):
        return False
    words = _FILLERS.sub("", before).split()
    if not 2 <= len(words) <= _LONGEST_BEFORE:
        return False
    verb = words[-1]
    return verb in _COPULA or verb in _IRREGULAR or (bool(_REGULAR.fullmatch(verb)) and verb not in _NO_VERBS)
