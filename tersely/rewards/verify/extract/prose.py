"""Extracts an answer from the prose around it: sentences, formulas and numbers."""

from __future__ import annotations

import re

from tersely.rewards.verify.extract.languages import is_foreign_prose, stated
from tersely.rewards.verify.extract.modifiers import changed_after, changed_before
from tersely.rewards.verify.extract.number_words import value_of
from tersely.rewards.verify.extract.statements import NUMBER, statement_value
from tersely.rewards.verify.normalize.latex import cut_off
from tersely.rewards.verify.normalize.units import KNOWN, counts

_SENTENCE_END = re.compile(
    r"\n|[.!?](?=\s|$|[*_\"')\]]+(?:\s|$))|[。！？؟।]|<\||<(?:/?(?:answer|s|p|br|eoa|eoe)\b)|I hope it is"
)
_MATH = re.compile(
    r"\$\$(?P<a>.+?)\$\$|\\\[(?P<b>.+?)\\\]|\\\((?P<c>.+?)\\\)|(?<!\\)\$(?P<d>(?:\\.|[^$\\])+?)(?<!\\)\$", re.DOTALL
)
_JOINED = re.compile(r"[\s,;&]*(?:\b(?:and|or)\b)?[\s,;&]*")
_AFTER_MATH = re.compile(r"\s*(?:\\?%|percent\b|pct\b|percentage\b)")
_UNIT_AFTER = re.compile(r"\s*(?P<unit>[A-Za-z]+(?:/[A-Za-z]+)?)(?:\^[23]|[²³])?(?=[\s.,;)]|$)")
_NO_UNIT_AFTER = frozenset(("in", "left", "right", "even", "odd", "positive", "negative"))
_COPULA = re.compile(r"\b(?:is|are|was|were|equals?|becomes?|to be)\b(?!\s+(?:not|never)\b)[\s:]*|[:：]\s+")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_COMMAND = re.compile(r"\\[A-Za-z]+|\\.")
_NEGATED = re.compile(r"(?:not|\bnever|n't)\s+(?:\w+\s+)?$")
_SPACING = re.compile(r"(?:\\[,;:! ]|\\q?quad|(?<!\\)\\)+$")
_REASON = re.compile(
    r",?\s+(?:because|since|and (?:we|so|this|it)|as (?:we|it|this))\b|,\s+(?:which|so|as)\b", re.IGNORECASE
)
_SIGNED = re.compile(r"\b(?:minus|negative)$", re.IGNORECASE)
_TORN = re.compile(r"[ \t]*\n.*\n[ \t]*", re.DOTALL)
_STARRED = re.compile(r"(?<=[\^_])\*\s*$")
_INDEXED = re.compile(r"_\{?\w+\}?\s*[A-Z]")
_DOLLARS = re.compile(r"\$\s?\d[\d,]*(?:\.\d+)?")
_EMPTY_SET = re.compile(r"\\\{\s*\\\}|\\left\\\{\s*\\right\\\}")
_ASIDE = re.compile(r"(?<=[\w})%$])\s+\([^()]*[A-Za-z]{3,}[^()]*\)?$")
_BOLD = re.compile(r"(?<!\*)\*\*([^*\n]{1,60})\*\*(?!\*)")
_BOLD_LETTERS = 12
_OPTION = re.compile(
    r"[\s*(（]*(?P<letter>[A-H])[)）]?[.:,]?\*{0,2}[\s,]*(?:it |that |and )?(?:is |can ?|could )?(?:not|n't|'t|non|nicht|pas|no"
    r"|instead of|rather than)(?: be| is)?(?: option)?\s*(?:[(（]?[A-H][)）]?(?:\s*(?:,|or|nor|and|o|ou|oder)\s*"
    r"[(（]?[A-H][)）]?)*)[\s.*]*$"
)
_OPTION_LIMIT = 120
_LABEL_STARTS = frozenset("(ABCDEFGH")
_CHOSEN = re.compile(r"(?:\([A-H]\)|[A-H][.)])\*{0,2}\s+\S")
_IN_PARTS = re.compile(r"\((?:a|i|1)\)[^()]{1,60}?[\s,;]\((?:b|ii|2)\)\s*\S")
_WHERE = re.compile(r",?\s*(?:for|where|when|whenever)(?:\s+(?:all|any|every|each|integers?|real|positive))*\s*")
_DOMAIN = re.compile(r"\s*[A-Za-z]\s*(?:\\(?:geq?|leq?|neq?|in|geqslant|leqslant)(?![A-Za-z])|[<>≥≤≠∈])")
_RELATION = re.compile(r"[<>≥≤]|\\(?:geq?|leq?|neq?|in)(?![A-Za-z])")
_MARKS = " \t\r\n*_`"
_CLEAN_LIMIT = 10_000
_FORMULA_REACH = 6400
_SENTENCE_LIMIT = 1500
_LABELLED = re.compile(r"[^\W\d_][^\W\d_ ]*(?: [^\W\d_]+){0,3}\s*:\s*(?=[\d$€£-])")
_PRICED = re.compile(r"\s*(?:[$€£¥₹]\s*)?[A-Za-z]{0,12}[.\s]*")
_BARE_LIMIT = 300
_BARE_WORDS = 6
_PROSE = frozenset(
    re.findall(
        r"\w+",
        "the is are was were which that this so thus it its we you not of to for in be has have can will would since "
        "because therefore hence then there let answer solution problem try first second",
    )
)


def sentence_answer(text: str) -> str | None:
    """The answer in the text after an answer phrase: its first sentence, reduced to its statement."""
    text = text[:_SENTENCE_LIMIT].lstrip(" \t\r\n*_:>")
    display = _display(text)
    if display is not None:
        return display
    sentence = _without_reason(_first_sentence(text))
    if not sentence.strip(" \t*_"):
        return None
    if sentence[0] in _LABEL_STARTS and (_CHOSEN.match(sentence) or _IN_PARTS.match(sentence)):
        return sentence.strip(" \t*_")
    spans = list(_MATH.finditer(sentence))
    if spans:
        return _with_domain(sentence, spans) or _from_formulas(sentence, spans)
    parts = _COPULA.split(sentence)
    if len(parts) > 1 and parts[-1].strip(" .*_"):
        sentence = parts[-1]
    sentence = _ASIDE.sub("", sentence.strip(" \t*_"))
    return _only_number(sentence) or stated(sentence) or sentence


def _with_domain(sentence: str, spans: list[re.Match[str]]) -> str | None:
    r"""`2^n \text{ for } n \ge 1` of "$2^n$ for $n \ge 1$": the second formula only says where the first one holds."""
    if len(spans) < 2 or not _WHERE.fullmatch(sentence[spans[-2].end() : spans[-1].start()]):
        return None
    formula, domain = _body(spans[-2]), _body(spans[-1])
    if not _DOMAIN.match(domain) or _RELATION.search(formula):
        return None
    return rf"{formula} \text{{ for }} {domain}"


def option_answer(text: str) -> str | None:
    """The letter of a short text that chooses one option and excludes others: "D. it can't be A", "C, not A"."""
    chosen = _OPTION.match(text.strip().split("\n", 1)[0][:_OPTION_LIMIT])
    return chosen.group("letter") if chosen else None


def bold_answer(text: str) -> str | None:
    """The only value in bold of the last line: "so the chance is **25%**."."""
    line = text.strip()[-_BARE_LIMIT:].rsplit("\n", 1)[-1]
    spans = [span for span in _BOLD.finditer(line) if re.search(r"\d", span.group(1))]
    if len(spans) != 1:
        return None
    before, after = line[: spans[0].start()], line[spans[0].end() :]
    if changed_before(before) or changed_after(after):
        return None
    inner = spans[0].group(1)
    return inner if sum(map(str.isalpha, inner)) <= _BOLD_LETTERS else _only_number(inner)


def bare_answer(text: str) -> str | None:
    """The text itself if it is only an answer: one short line with almost no prose."""
    text = text.strip()
    if not text or len(text) > _BARE_LIMIT or "\n" in text:
        return None
    if value := stated(text) or statement_value(text):
        return value
    if is_foreign_prose(text):
        return None
    spans = list(_MATH.finditer(text))
    outside = _MATH.sub(" ", text) if spans else text
    words = _WORD.findall(_COMMAND.sub(" ", outside))
    if len(words) > _BARE_WORDS or _PROSE.intersection(word.lower() for word in words):
        return None
    if len(text.split()) > 1 and not re.search(r"[\d=+*/^_\\$<>%]", text) and value_of(text.lower()) is None:
        return None  # several words are prose; one word may be an answer
    if text.startswith("[") and text.endswith("]") and "," not in text:
        text = text[1:-1]
    labelled = None if spans else _LABELLED.match(text)
    if labelled:
        number = NUMBER.match(text, labelled.end())
        return number.group() if number and _PRICED.fullmatch(text, number.end()) else text
    if spans and not re.search(r"\d", outside) and len(spans) == 1:
        return _from_formulas(text, spans)
    return text


def last_formula(text: str) -> str | None:
    """The last formula or number of the text, unless it is negated ("the answer is not 70").

    Read in windows that grow from the end, so that the cost is linear however far away the last number is.
    """
    width = 400
    while True:
        start = max(0, len(text) - width)
        window = text[start:]
        if text.count("$", 0, start) % 2:  # the window begins inside a formula
            window = window.partition("$")[2]
        found = _last_in(window, formulas=width <= _FORMULA_REACH)
        if found is not None or width >= len(text):
            return found
        width *= 4


def clean_find(found: str) -> str:
    """The text without the marks around it: math delimiters, Markdown, a final full stop."""
    found = found.strip()
    if found.isascii() and found.isalnum():
        return found
    found = cut_off(found.replace("\x00", "").strip())
    if found.startswith("\\") and _EMPTY_SET.fullmatch(found):
        return "\\emptyset"
    if found.startswith("$") and _DOLLARS.fullmatch(found):
        return f"\\{found}"  # a dollar sign that opens no formula is a currency sign
    if found.endswith("*"):
        found = _STARRED.sub("{*}", found)
    index = "_" if _INDEXED.match(found) else ""
    if len(found) > _CLEAN_LIMIT:
        return found
    previous = None
    while previous != found:
        previous = found
        found = _SPACING.sub("", found.strip(_MARKS)).rstrip(".,;: \t\n").lstrip("$")
        if found.endswith("$") and not found.endswith("\\$"):
            found = found.rstrip("$")
        if found.startswith(("\\[", "\\(")):
            found = found[2:]
        if found.endswith(("\\]", "\\)")):
            found = found[:-2]
    return index + found


def _display(text: str) -> str | None:
    """The value of a text that begins with a formula, which may have several lines; None for another text."""
    match = _MATH.match(text)
    if match is None or "\n\n" in match.group() or _torn(match):
        return None
    sentence = text[: match.end()] + _first_sentence(text[match.end() :])
    spans = list(_MATH.finditer(sentence))
    return _with_domain(sentence, spans) or _from_formulas(sentence, spans)


def _first_sentence(text: str) -> str:
    end = _SENTENCE_END.search(text)
    while end is not None and end.group() == "." and _inside_math(text, end.start()):
        end = _SENTENCE_END.search(text, end.end())
    return text if end is None else text[: end.start()]


def _without_reason(sentence: str) -> str:
    """The text before a reason: 42 of "42, because 6 times 7 is 42"; "the number which is largest" is no statement."""
    reason = _REASON.search(sentence)
    if reason is None or _inside_math(sentence, reason.start()):
        return sentence
    said = sentence[: reason.start()]
    return said if re.search(r"[\d$\\]", said) or len(said.split()) <= 2 else sentence


def _inside_math(text: str, position: int) -> bool:
    return any(match.start() < position < match.end() for match in _MATH.finditer(text[:_SENTENCE_LIMIT]))


def _torn(match: re.Match[str]) -> bool:
    """Whether $ or \\( is on its own line. Markdown, Pandoc and math-verify read a formula there only in display marks."""
    body = match["c"] or match["d"]
    return bool(body) and bool(_TORN.fullmatch(body))


def _body(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group is not None)


def _from_formulas(sentence: str, spans: list[re.Match[str]]) -> str:
    """The last run of formulas that only commas and "and" separate, with the percent sign that follows it."""
    run = [spans[-1]]
    for span in reversed(spans[:-1]):
        if not _JOINED.fullmatch(sentence[span.end() : run[0].start()]):
            break
        run.insert(0, span)
    tail = sentence[run[-1].end() :]
    after = _AFTER_MATH.match(tail)
    if not after and _COPULA.search(tail):  # "the largest $n$ is 34"
        said = _COPULA.split(tail)[-1].strip(" .*_")
        number = _only_number(said) or (said if NUMBER.fullmatch(said) else None)
        if number:
            return number
    if not after and len(run) == 1 and re.fullmatch(r"[-\d.,\s]+", _body(run[0])):
        unit = _UNIT_AFTER.match(tail)
        if unit and unit["unit"] in KNOWN and unit["unit"] not in _NO_UNIT_AFTER:
            return f"{_body(run[0])}\\text{{ {unit.group().strip()}}}"
    return ", ".join(_body(span) for span in run) + (after.group() if after else "")


def _only_number(text: str) -> str | None:
    """The number of a phrase with exactly one number: "18 apples" is 18. Lists and formulas stay as they are."""
    if "\\" in text or not _WORD.search(text):
        return None
    numbers = list(NUMBER.finditer(text))
    if len(numbers) != 1 or re.search(r"\d", text[: numbers[0].start()] + text[numbers[0].end() :]):
        return None
    before = text[: numbers[0].start()].strip()
    after = text[numbers[0].end() :].lstrip()
    if changed_before(before) or changed_after(after):
        return None
    if before.endswith(("=", "+", "-", "*", "/", "^")) or after[:1] in tuple("=+-*/^(["):
        return None
    if re.match(r"[A-Za-z]", text[numbers[0].end() :]) and not counts(re.split(r"[^A-Za-z/]", after)[0], False, False):
        return None  # 4ac - b^2
    if _SIGNED.search(before):
        return f"-{numbers[0].group()}"
    return text[numbers[0].start() :] if re.match(r"[A-Za-z°²³%/ ]*$", after) else numbers[0].group()


def _last_in(window: str, formulas: bool) -> str | None:
    found = list(_MATH.finditer(window)) if formulas else []
    spans, torn = [span for span in found if not _torn(span)], [span for span in found if _torn(span)]
    number = None
    for match in reversed(list(NUMBER.finditer(window))):
        if any(span.start() <= match.start() < span.end() for span in torn):
            continue
        if not _NEGATED.search(window, max(0, match.start() - 24), match.start()):
            number = match
            break
    if spans and (number is None or spans[-1].end() >= number.end()):
        return _from_formulas(window[: spans[-1].end() + 24], spans)
    return number.group() if number else None
