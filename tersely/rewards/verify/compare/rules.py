r"""Rules for known false negatives and false positives of math-verify.

`ACCEPTING_RULES` accept answers that math-verify rejects. `refused` rejects answers that math-verify accepts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from tersely.configs.verifier import Policy
from tersely.rewards.verify.compare.compound_units import compound
from tersely.rewards.verify.compare.numbers import Quantity, read_quantity, same_quantity
from tersely.rewards.verify.compare.numeric import probe
from tersely.rewards.verify.compare.rewrites import angle, ordering, words
from tersely.rewards.verify.compare.times import clock, date, is_clock
from tersely.rewards.verify.extract.modifiers import changed_after
from tersely.rewards.verify.extract.split import parts_at, split_top
from tersely.rewards.verify.normalize.latex import squeeze
from tersely.rewards.verify.normalize.units import split_unit

_WORK = re.compile(r"\\(?:i{1,3}nt|oint|sum|prod|lim)(?![A-Za-z])")
_EQUALS = re.compile(r"(?<![<>!\\])=")
_NOTHING = re.compile(
    r"(?:\\text\s*\{)?\s*(?:there (?:is|are) )?no (?:real |such )?(?:integer )?(?:solutions?|roots?|values?)(?: exists?)?"
    r"\s*[.!]?\s*\}?"
    r"|\\emptyset|\\\{\s*\\\}|(?:\\text\s*\{)?\s*(?:the )?empty set\s*\}?|(?:\\text\s*\{)?\s*none\s*\}?",
    re.IGNORECASE,
)
_MISSING = re.compile(
    r"(?:\\text\s*\{)?\s*(?:it |the limit )?(?:does not exist|doesn't exist|d\.?n\.?e\.?)\s*\}?", re.IGNORECASE
)
_MANY = re.compile(
    r"(?:\\text\s*\{)?\s*(?:there are )?(?:infinitely many|an? infinite number of|infinite)"
    r"(?: (?:solutions?|values?|triples?|pairs?|zeros|roots|points))?\s*[.!]?\s*\}?|\\infty",
    re.IGNORECASE,
)
_TEXT_TAIL = re.compile(
    r"^(?P<head>.*?)\s*\\text\s*\{(?P<words>[^{}]*)\}\s*(?P<power>\^\s*\{?\s*[23]\s*\}?)?$", re.DOTALL
)
_ARC = re.compile(
    r"(?P<sign>-?)(?P<d>\d+(?:\.\d+)?)\s*(?:\^\s*\\circ|degrees?)\s*(?:(?P<m>\d+(?:\.\d+)?)\s*(?:'|\^\s*\{?\\prime\}?|minutes?)\s*)?"
    r"(?:(?P<s>\d+(?:\.\d+)?)\s*(?:''|\"|\^\s*\{?\\prime\\prime\}?|seconds?))?"
)
_CHOICE = re.compile(r"\(?\s*(?:\\text\s*\{\s*)?\(?\s*([A-Ha-h])\s*\)?\s*\}?\s*[).:]?")
_CHOSEN = re.compile(
    r"(?:\\text\s*\{\s*)?(?:(?:option|choice|answer)\s+\(?(?P<named>[A-H])\)?|\((?P<round>[A-H])\)|(?P<marked>[A-H])[).:])"
    r"\s*\}?\s*[.:,]?\s*(?P<content>.*?)\s*\}?",
    re.IGNORECASE | re.DOTALL,
)
_OTHER_CHOICE = re.compile(r"\b(?:or|and|not)\b|\([A-H]\)|[A-H][).:]")
_CUT_OFF = re.compile(r"-?\d+\s*\\ldots\s*")
_BESIDE = re.compile(
    r"(?:^|[-+=(,<>*/])\s*\d(?:[\d.]|,\d{3})*\s+(?!\d{3}(?!\d))\d"
)  # "1,000 2": math-verify reads a tuple
_CAPITALS = re.compile(r"[A-Z]{2,}")
_NAME = re.compile(r"(?<![A-Za-z])[A-Z][a-z]{2,}(?![A-Za-z])")
_OPPOSITES = (("even", "odd"), ("yes", "no"), ("true", "false"), ("positive", "negative"), ("increasing", "decreasing"))
_SENTENCE_WORDS = 4
_CHOICE_LIMIT = 80
_CHAIN_LIMIT = 400
_INEQUALITY = re.compile(r"[<>]|\\(?:le|ge|ne)(?![A-Za-z])")
_CONNECTIVE = re.compile(r"(?<![A-Za-z\\])(and|or)(?![A-Za-z])", re.IGNORECASE)


def gold_spellings(gold: str, answer_is_number: bool) -> list[str]:
    """Return the gold and its other forms; for "exact ≈ decimal" also the decimal, if the answer is a number."""
    parts = re.split(r"\\approx(?![A-Za-z])", gold)
    if len(parts) == 2 and all(part.strip() for part in parts) and "," not in gold:
        return [part.strip() for part in parts[: 2 if answer_is_number else 1]]
    gold = re.sub(r"\^\s*(?:\{\s*\})?$", "", gold).strip()
    modulo = re.fullmatch(r"(.+?)\s*\\pmod\{\w+\}", gold)
    if modulo and answer_is_number:
        return [gold, modulo.group(1)]  # the modulus may be omitted
    made = chosen(gold)
    return [gold, made[1]] if made and made[1] else [gold]


def answer_spellings(gold: str, answer: str) -> list[str]:
    """Return the answer, and for a gold without a letter also the text after an option's letter."""
    made = chosen(answer)
    return [answer, made[1]] if made and made[1] and chosen(gold) is None else [answer]


def refused(gold: str, answer: str, policy: Policy) -> str | None:
    """Return why the answer is incorrect even if math-verify accepts it; None if no rule applies."""
    sides = ((gold, answer), (answer, gold))
    worked = not policy.unevaluated and _WORK.search(answer) and not _WORK.search(gold)
    if worked and _WORK.search(last_member(answer) or answer):
        return "unevaluated"
    if gold != answer and _CAPITALS.fullmatch(gold) and _CAPITALS.fullmatch(answer):
        return "word"  # BCA is a sequence, not a product
    if _anagram(gold, answer):
        return "word"
    if is_clock(gold) and is_clock(answer) and not clock(gold, answer, policy):
        return "time"
    if answer != gold and _CUT_OFF.fullmatch(answer):
        return "cut off"
    if "=" not in gold and _false_chain(answer, policy):
        return "false chain"
    if _other_connective(gold, answer):
        return "and, or"
    if _BESIDE.search(answer) and "\\begin" not in answer and read_quantity(answer) is None:
        return "two numbers"
    if _other_ratio(gold, answer):
        return "ratio"
    if any("\\circ" in one and re.search(r"\d\s*'", other) and "\\circ" not in other for one, other in sides):
        return "minutes"
    if policy.case and gold != answer and gold.casefold() == answer.casefold():
        return "case"
    if policy.case and _words_alone(gold) and _words_alone(answer) and squeeze(gold) != squeeze(answer):
        return "case"
    if policy.units != "drop" and _tails_differ(gold, answer):
        return "units"
    if policy.bases != "drop" and _bases_differ(gold, answer, policy):
        return "bases"
    return None


def _false_chain(answer: str, policy: Policy) -> bool:
    """Whether a chain of equalities is false: its members are numbers that differ by more than rounding ("3 = 4 = 5")."""
    if "=" not in answer or len(answer) > _CHAIN_LIMIT or "\\text" in answer or split_top(answer) != [answer]:
        return False
    members = [member for member in parts_at(answer, _EQUALS) if re.search(r"\d", member)]
    numbers = [read_quantity(member) for member in members]
    for left, right, one, other in zip(members, members[1:], numbers, numbers[1:], strict=False):
        if one is not None and other is not None:
            if not same_quantity(one, other, policy) and not same_quantity(other, one, policy):
                return True
        elif not re.search(r"(?<![\\A-Za-z])[A-Za-z]", left + right) and probe(f"({left})", f"({right})") is False:
            return True
    return False


def _other_connective(gold: str, answer: str) -> bool:
    """Whether one side joins relations by "and" and the other by "or". Lists of values may use either word."""
    if not any(_INEQUALITY.search(text) for text in (gold, answer)):
        return False
    words = [{word.lower() for word in _CONNECTIVE.findall(text)} for text in (gold, answer)]
    return len(words[0]) == len(words[1]) == 1 and words[0] != words[1]


def _anagram(gold: str, answer: str) -> bool:
    """Whether both are words and differ, such as "act" and "cat", which math-verify reads as products. Letters in alphabetical
    order ("xyz") and letters without a vowel are products."""
    left, right = squeeze(gold), squeeze(answer)
    if left == right or not (left.isalpha() and right.isalpha()) or min(len(left), len(right)) < 3:
        return False
    return list(left) != sorted(left) and bool(set("aeiou") & set(left.lower()))


def _words_alone(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z][A-Za-z ]+", squeeze(text)))


def _tails_differ(gold: str, answer: str) -> bool:
    """Whether known units differ. After an answer that is not a plain number: whether the words differ."""
    if "\\text" not in gold or "\\text" not in answer:
        return False
    left, right = _TEXT_TAIL.match(gold), _TEXT_TAIL.match(answer)
    if not left or not right or not left.group("head").strip() or not right.group("head").strip():
        return False
    if any("\\text" in match.group("head") for match in (left, right)):
        return False  # several units: see `compound_units`
    units = [split_unit(f"\\text{{{match.group('words')}}}{match.group('power') or ''}") for match in (left, right)]
    if units[0] and units[1]:
        return units[0] != units[1]
    plain = [re.fullmatch(r"[-\d.,\s]+", match.group("head")) for match in (left, right)]
    words = [match.group("words").strip().casefold() for match in (left, right)]
    return not any(plain) and not any(units) and words[0] != words[1]


_BASED = re.compile(r"(-?[\dA-F]+)_\{?(\d{1,2})\}?")


def _bases_differ(gold: str, answer: str, policy: Policy) -> bool:
    if "_" not in gold and "_" not in answer:
        return False
    left, right = [_BASED.fullmatch(text.replace(" ", "")) for text in (gold, answer)]
    if left and right:
        return left.groups() != right.groups()
    if left and not right:
        return policy.bases == "required"
    return bool(right) and right.group(2) != "10"  # type: ignore[union-attr]


def last_member(answer: str) -> str:
    """The last member of a chain of equalities, which math-verify compares; empty for a list of chains."""
    if split_top(answer) != [answer]:
        return ""
    return parts_at(answer, _EQUALS)[-1].strip()


def ratio(gold: str, answer: str, policy: Policy) -> bool:
    """Whether two ratios are equal: 2:1 is 2 and 4:2, and 20:3 is 6.67 if decimals may be rounded."""
    left, right = _terms(gold), _terms(answer)
    if left is None and right is None:
        return False
    if left is not None and right is not None and len(left) == len(right):
        return all(a * right[0] == b * left[0] for a, b in zip(left, right, strict=True))
    values = []
    for terms, text in ((left, gold), (right, answer)):
        if terms is not None:
            if len(terms) != 2 or terms[1] == 0:
                return False
            values.append(Quantity(terms[0] / terms[1], None, 0, False, "", ""))
        else:
            values.append(read_quantity(text))  # type: ignore[arg-type]
    if values[0] is None or values[1] is None or any(value.percent or value.base for value in values):
        return False
    return same_quantity(values[0], values[1], policy)


def _other_ratio(gold: str, answer: str) -> bool:
    """Whether two ratios differ, also in their order, such as 3:5:4 and 3:4:5, which math-verify reads as sets."""
    if ":" not in gold or ":" not in answer:
        return False
    left, right = _terms(gold), _terms(answer)
    if left is None or right is None:
        return False
    return len(left) != len(right) or any(a * right[0] != b * left[0] for a, b in zip(left, right, strict=True))


def _terms(text: str) -> list[Fraction] | None:
    parts = re.split(r"\s*(?::|\\colon|\\text\s*\{\s*to\s*\}|(?<=\d)\s+to\s+(?=\d))\s*", text.strip())
    if not 2 <= len(parts) <= 5:
        return None
    terms = []
    for part in parts:
        inner = part.strip()
        if inner.startswith("(") and inner.endswith(")"):
            inner = inner[1:-1]
        number = read_quantity(inner)
        if number is None or number.percent or number.unit or number.base or number.value == 0:
            return None
        terms.append(number.value)
    return terms


def arc(gold: str, answer: str, policy: Policy) -> bool:
    """Whether an angle in degrees and minutes equals the other side: 45°30' is 45.5° and 45.5."""
    values = [_arc_value(text) for text in (gold, answer)]
    return None not in values and values[0] == values[1]


def _arc_value(text: str) -> Fraction | None:
    match = _ARC.fullmatch(text.replace("\\ ", " ").strip())
    if not match:
        number = read_quantity(text)
        return number.value if number and not number.percent and not number.base else None
    value = Fraction(match.group("d"))
    value += Fraction(match.group("m") or 0) / 60 + Fraction(match.group("s") or 0) / 3600
    return -value if match.group("sign") else value


def choice(gold: str, answer: str, policy: Policy) -> bool:
    r"""Whether both sides are the same choice: (C), C), \text{C} and c are C."""
    left, right = chosen(gold), chosen(answer)
    if left is None or right is None or left[0].islower():
        return False
    return left[0] == (right[0] if policy.case else right[0].upper())


def chosen(text: str) -> tuple[str, str] | None:
    """(letter, text), such as ("B", "12") of "(B) 12"; None unless the text makes exactly one choice."""
    alone = _CHOICE.fullmatch(text)
    if alone:
        return alone.group(1), ""
    made = _CHOSEN.fullmatch(text)
    if made is None or len(text) > _CHOICE_LIMIT:
        return None
    if _OTHER_CHOICE.search(made.group("content")) or changed_after(made.group("content")):
        return None
    if re.match(r"\s*\^", made.group("content")):
        return None  # the complement of B
    return (made.group("named") or made.group("round") or made.group("marked")), made.group("content")


def sentence(gold: str, answer: str, policy: Policy) -> bool:
    """Compares a gold that is a plain sentence with the only name, or the one of two opposites, that it states."""
    words = squeeze(gold)
    name = squeeze(answer).strip(" .")
    plain = re.fullmatch(r"[A-Za-z ,.'\-]+", words)
    if not plain or len(words.split()) < _SENTENCE_WORDS or not re.fullmatch(r"[A-Za-z]+", name):
        return False
    lowered = re.findall(r"[a-z]+", words.lower())
    if {"not", "never", "neither", "nor", "cannot", "isn", "doesn", "or", "if", "unless", "except"} & set(lowered):
        return False
    for pair in _OPPOSITES:
        if name.lower() in pair:
            other = pair[1 - pair.index(name.lower())]
            return name.lower() in lowered and other not in lowered
    names = [found for found in _NAME.findall(words) if found.lower() not in _COMMON]
    return names == [name]


_COMMON = frozenset(
    re.findall(
        r"\w+",
        "the this that there they these those then thus all any each every for from with when where which who what one "
        "two three four five both only yes its it his her our your their such some many most first second no",
    )
)


def nothing(gold: str, answer: str, policy: Policy) -> bool:
    """Whether both state that nothing exists: no solution, the empty set, or a limit that does not exist."""
    return any(kind.fullmatch(gold) and kind.fullmatch(answer) for kind in (_NOTHING, _MISSING, _MANY))


def choices(gold: str, answer: str, policy: Policy) -> bool:
    """Whether both are the same set of choices: ACE is A, C and E."""
    left, right = (re.sub(r"\band\b|[\s,;&()]", "", squeeze(text).replace("and", " and ")) for text in (gold, answer))
    return left == right and bool(re.fullmatch(r"[A-H]{2,8}", left)) and list(left) == sorted(set(left))


ACCEPTING_RULES: dict[str, Callable[[str, str, Policy], bool]] = {
    "ratio": ratio,
    "arc": arc,
    "choice": choice,
    "choices": choices,
    "clock": clock,
    "date": date,
    "compound": compound,
    "sentence": sentence,
    "angle": angle,
    "ordering": ordering,
    "words": words,
    "nothing": nothing,
}
