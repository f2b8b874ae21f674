r"""Rewrites an answer in the form of the reference answer: without conditions and asides, with its letters, in its unit.

conditions       "f(x) = 1 for all x" is "f(x) = 1"
asides           "6\sqrt{10} (about 18.9)" is "6\sqrt{10}"
free parameters  "n\pi" is "k\pi", "2c + 1" is "2C + 1"
angles           "30^\circ" is "\frac{\pi}{6}" (a degree sign on one side, \pi on the other)
orders           "b, a, c" is "b < a < c"
"""

from __future__ import annotations

import re
from fractions import Fraction
from string import ascii_letters

from tersely.configs.verifier import Policy
from tersely.rewards.verify.compare.numeric import probe
from tersely.rewards.verify.extract.split import split_top, strip_label
from tersely.rewards.verify.normalize.latex import squeeze

_CONDITION = re.compile(
    r"\s*[,;(]?\s*\(?\s*(?:(?:\\text\s*\{)?\s*(?:where|for|with)\s*\}?)?\s*\(?\s*(?P<name>[a-zA-Z])\s*\\in\s*"
    r"(?:\\mathbb\s*\{?\s*)?(?P<set>[ZNQR])\s*\}?(?:\s*\^\s*\{?[+*]\}?)?\s*\)?$"
)
_OPENS = re.compile(r"(?:\\text\s*\{\s*\(?|\\forall|(?<![A-Za-z\\])(?=(?:for|where|with) ))")
_TAIL_LIMIT = 120
_DOMAIN = frozenset(
    re.findall(
        r"\w+",
        "for all any every each some where with and is are an a in the of arbitrary fixed real integer integers number numbers "
        "constant constants natural positive complex rational value values forall mathbb text quad",
    )
)
_APPROXIMATE = re.compile(
    r"\s*[(,]\s*(?:\\text\s*\{\s*)?\(?(?:about|around|approx\w*|roughly|or about|\\approx)[^()]{0,40}\)?\s*\}?\s*\)?$"
)
_COMMAND = re.compile(r"\\[A-Za-z]+")
_ALPHABET = frozenset(ascii_letters)
_OLD = {letter: re.compile(rf"\\[A-Za-z]+|{letter}") for letter in ascii_letters}
_NAMED_TUPLE = re.compile(r"^\([^=()]*(?:\([^=()]*\)[^=()]*){0,4}\)\s*=\s*(?=\()")
_NAMED_FUNCTIONS = re.compile(r"^\((?:[^=(),]*\([^=(),]*\)\s*,?\s*){1,4}\)\s*=\s*(?=\()")
_PARAMETERS, _CONSTANTS = frozenset("kmnltz"), frozenset("cKk")
_TRANSPOSED = re.compile(
    r"(?P<row>[(\[][^()\[\]]+[)\]])\s*\^\s*\{?\s*(?:T|\\top|\\text\s*\{\s*T\s*\}|\\intercal)\s*\}?"
)
_JOINED, _WORDS = re.compile(r"\s*,\s*(?:and\b)?\s*|\s+and\s+"), re.compile(r"[a-z][a-z '\-]+")
_DEGREES = re.compile(r"(?P<value>-?\d+(?:\.\d+)?)\s*(?:\^\s*\\circ|(?:\\text\s*\{)?\s*degrees?\s*\}?)")


def split_condition(text: str) -> tuple[str, str]:
    r"""(formula, set) of a formula with an integer parameter: ("k\pi", "Z") of "k\pi, k \in \mathbb{Z}"."""
    match = _CONDITION.search(text)
    if match is None or not text[: match.start()].strip():
        return text, ""
    head, name = text[: match.start()].strip(), match.group("name")
    letter = re.compile(rf"(?<![A-Za-z\\]){name}(?![A-Za-z])")
    if name != "k" and not re.search(r"(?<![A-Za-z\\])k(?![A-Za-z])", head):
        head = letter.sub("k", head)  # for any name of the parameter
    return head, match.group("set")


def without_asides(text: str) -> str:
    """Remove a condition that only names the type of a letter, and the decimal after an exact value."""
    rounded = _APPROXIMATE.search(text, max(0, len(text) - _TAIL_LIMIT))
    if rounded and text[: rounded.start()].strip():
        text = text[: rounded.start()].strip()
    text = _NAMED_FUNCTIONS.sub("", text)
    if turned := _TRANSPOSED.fullmatch(text):
        text = turned.group("row")
    for opening in _OPENS.finditer(text, max(0, len(text) - _TAIL_LIMIT)):
        head, tail = text[: opening.start()].rstrip(" ,;("), text[opening.start() :]
        words = re.findall(r"[A-Za-z]+", tail)
        said = {word.lower() for word in words if len(word) > 1}
        if (
            head
            and said & {"for", "where", "with", "forall"}
            and said <= _DOMAIN
            and not re.search(r"[=<>]|\\[lgn]e(?![a-z])", tail)
        ):
            return head
    return text


def renamed(gold: str, answer: str, declared: bool) -> str | None:
    """The answer with its free parameter renamed to that of the reference answer; None without a free parameter.

    Free parameters: a letter that a condition declares, a factor of \\pi, and a constant if the reference has a C.
    """
    gold, answer = (_NAMED_TUPLE.sub("", strip_label(text)[1]) for text in (gold, answer))
    if "\\text" in gold or "\\text" in answer:
        return None
    letters = [set(_COMMAND.sub("", text)) & _ALPHABET for text in (gold, answer)]
    theirs, ours = letters[0] - letters[1], letters[1] - letters[0]
    if len(theirs) != 1 or len(ours) != 1:
        return None
    old, new = ours.pop(), theirs.pop()
    integers = {old, new} <= _PARAMETERS and "\\pi" in gold and "\\pi" in answer
    constants = new == "C" and old in _CONSTANTS and bool(re.search(r"[-+\d]", gold))
    if not (integers or constants or (declared and old not in "xyXYeidf")):
        return None
    return _OLD[old].sub(lambda match: new if match.group() == old else match.group(), answer)


def angle(gold: str, answer: str, policy: Policy) -> bool:
    r"""Whether degrees on one side equal a multiple of \pi on the other: 30^\circ is \frac{\pi}{6}."""
    if policy.angles != "convert":
        return False
    gold, answer = strip_label(gold)[1], strip_label(answer)[1]
    for one, other in ((gold, answer), (answer, gold)):
        degrees = _DEGREES.fullmatch(one)
        if degrees and "\\pi" in other and "\\circ" not in other:
            value = Fraction(degrees.group("value")) / 180
            other = re.sub(r"\s*\\text\s*\{\s*rad(?:ians?)?\s*\}$", "", other)
            turned = rf"\frac{{{abs(value.numerator)}\pi}}{{{value.denominator}}}"
            return probe(f"-{turned}" if value < 0 else turned, other) is True
    return False


def ordering(gold: str, answer: str, policy: Policy) -> bool:
    """Whether a chain of inequalities equals a list: b < a < c is b, a, c in this order."""
    for chain, listed in ((gold, answer), (answer, gold)):
        members = chain.split("<")
        if len(members) >= 3 and not re.search(r"[>=,]|\\[lgn]e(?![a-z])", chain):
            return [squeeze(member) for member in members] == [squeeze(part) for part in split_top(listed.strip("()"))]
    return False


def words(gold: str, answer: str, policy: Policy) -> bool:
    """Whether both are the same list of words, joined by commas or "and": "line, circle" and "line and circle"."""
    lists = [[part for part in _JOINED.split(squeeze(text).lower().strip(" .")) if part] for text in (gold, answer)]
    return len(lists[0]) > 1 and lists[0] == lists[1] and all(_WORDS.fullmatch(part) for part in lists[0])


def natural_log(gold: str, answer: str) -> str | None:
    r"""Replaces \log without a base by \ln if the reference answer has a \ln and no \log."""
    if "\\ln" not in gold or "\\log" in gold or not re.search(r"\\log(?![A-Za-z]|\s*_)", answer):
        return None
    return re.sub(r"\\log(?![A-Za-z]|\s*_)", r"\\ln", answer)
